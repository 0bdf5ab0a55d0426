"""Schemas of the documents: which can be read, which written, and how older ones become ours."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

from voicelab.errors import StorageError
from voicelab.store.journal.snapshot import MIN_READER, SCHEMA, Meta, Tables

__all__ = ["Migration"]


@dataclass(frozen=True)
class Migration:
    """What this version of the program understands.

    Attributes:
        schema: that it writes.
        min_reader: lowest schema whose programs can read what it writes.
        steps: schema -> a pure function that makes its tables those of the next schema.
    """

    schema: int = SCHEMA
    min_reader: int = MIN_READER
    steps: Mapping[int, Callable[[Tables], Tables]] = field(default_factory=dict)

    def fresh(self) -> Meta:
        """Of a new store; a plain TinyDB file is taken for one of today's."""
        return Meta(uuid4().hex, schema=self.schema, min_reader=self.min_reader)

    def check(self, path: Path, meta: Meta, read_only: bool) -> None:
        """Raise StorageError when this program must not open such a file."""
        if meta.min_reader > self.schema:
            raise StorageError(
                f"{path} was written by a newer version (schema {meta.schema}; this one knows "
                f"{self.schema}). Install that version, or choose another --data-dir."
            )
        if meta.schema > self.schema and not read_only:
            raise StorageError(
                f"{path} was written by a newer version (schema {meta.schema}; this one writes "
                f"{self.schema}): it can only be opened for reading here."
            )

    def is_due(self, meta: Meta) -> bool:
        """Whether the documents are of an older schema."""
        return meta.schema < self.schema

    def apply(self, tables: Tables, meta: Meta) -> Tables:
        """The documents in this program's schema; those given are not changed."""
        for schema in range(meta.schema, self.schema):
            tables = self.steps[schema](tables)
        return tables
