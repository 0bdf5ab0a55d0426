"""Where records are kept; the only place that imports tinydb."""

from voicelab.store.base import Query, Store, Term
from voicelab.store.tiny import TinyStore

__all__ = ["Query", "Store", "Term", "TinyStore"]
