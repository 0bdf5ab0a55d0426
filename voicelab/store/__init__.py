"""Record stores; the only room that imports tinydb and sqlalchemy."""

from voicelab.store.address import RESERVE_BYTES, open_store
from voicelab.store.copying import copy, count_documents
from voicelab.store.journal.backup import (
    backup,
    backups,
    outdated,
    put_aside,
    read_backup,
    replaced,
    stamp,
)
from voicelab.store.journal.lock import ProcessLock
from voicelab.store.journal.recovery import segments
from voicelab.store.journal.salvage import Salvaged, salvage
from voicelab.store.journal.snapshot import Meta, Snapshot
from voicelab.store.journal.system import System
from voicelab.store.journal.traces import advice, traces
from voicelab.store.memory import MemoryStore
from voicelab.store.protocol import Query, Store, Term
from voicelab.store.tinydb.storage import Durability
from voicelab.store.tinydb.store import TinyStore
from voicelab.store.tinydb.table import JournalDB

__all__ = [
    "Durability",
    "JournalDB",
    "MemoryStore",
    "Meta",
    "ProcessLock",
    "Query",
    "RESERVE_BYTES",
    "Salvaged",
    "Snapshot",
    "Store",
    "System",
    "Term",
    "TinyStore",
    "advice",
    "backup",
    "backups",
    "copy",
    "open_store",
    "outdated",
    "put_aside",
    "read_backup",
    "replaced",
    "salvage",
    "segments",
    "stamp",
    "traces",
    "count_documents",
]
