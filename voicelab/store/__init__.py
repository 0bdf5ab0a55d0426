"""Where records are kept; the only place that imports tinydb and sqlalchemy."""

from voicelab.store.base import Query, Store, Term
from voicelab.store.memory import MemoryStore
from voicelab.store.places import RESERVE_BYTES, open_store
from voicelab.store.table import JournalDB
from voicelab.store.tiny import TinyStore

__all__ = [
    "RESERVE_BYTES",
    "JournalDB",
    "MemoryStore",
    "Query",
    "Store",
    "Term",
    "TinyStore",
    "open_store",
]
