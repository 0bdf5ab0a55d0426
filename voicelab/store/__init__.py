"""Where records are kept; the only place that imports tinydb."""

from voicelab.store.base import Query, Store, Term
from voicelab.store.table import JournalDB
from voicelab.store.tiny import TinyStore

__all__ = ["JournalDB", "Query", "Store", "Term", "TinyStore"]
