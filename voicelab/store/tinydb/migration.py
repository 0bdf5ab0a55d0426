"""Versions of the document schema, and the steps from older ones to the current one."""

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
    """The schemas that this version of the program supports.

    Attributes:
        schema: the one that it writes.
        min_reader: lowest schema whose programs can read what it writes.
        steps: schema -> a pure function from its tables to those of the next schema.
    """

    schema: int = SCHEMA
    min_reader: int = MIN_READER
    steps: Mapping[int, Callable[[Tables], Tables]] = field(default_factory=dict)

    def new_meta(self) -> Meta:
        """Meta of a new store; plain TinyDB files count as the current schema."""
        return Meta(uuid4().hex, schema=self.schema, min_reader=self.min_reader)

    def check(self, path: Path, meta: Meta, read_only: bool) -> None:
        """Raise StorageError when this program cannot open a file with that meta."""
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
        """The tables converted to this program's schema; the arguments are not changed."""
        for schema in range(meta.schema, self.schema):
            tables = self.steps[schema](tables)
        return tables
