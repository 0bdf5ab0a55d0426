"""Documents as rows of PostgreSQL, and queries as SQL, with the same results as in memory.

Texts are compared by code point (collation "C") and searched by casefolded substring, for which
the casefolded texts of a document have a column of their own. PostgreSQL can store neither NUL nor
lone surrogates: `escaped` replaces them such that equality, order and substrings are preserved.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import orjson
from sqlalchemy import (
    Column,
    ColumnElement,
    Index,
    Integer,
    MetaData,
    Numeric,
    Table,
    Text,
    and_,
    bindparam,
    case,
    cast,
    false,
    func,
    literal,
    or_,
    text,
    true,
)
from sqlalchemy.dialects.postgresql import JSONB

from voicelab.store.document import encoded, has_large_integers, loads
from voicelab.store.protocol import Document, Part, Query, Term

__all__ = [
    "DOCUMENTS",
    "WORDS",
    "conditions",
    "dump_json",
    "escaped",
    "field",
    "folded",
    "group",
    "load_json",
    "numeric",
    "ordering",
    "unescaped",
    "escaped_document",
]

FILTERED = ("profile_id", "is_favorited", "status", "generation_id", "story_id")
"""Fields with an index: queries for takes, versions and items, the newest first."""

DATES = ("created_at",)
"""Fields that are always texts, so that one index has their order."""

NEWEST = "((document ->> 'created_at') COLLATE \"C\") DESC NULLS LAST, id DESC"

WORDS = "CREATE INDEX voicelab_words ON voicelab_documents USING gin ({}) WITH ({})".format(
    ", ".join(
        f"((folded ->> '{name}') COLLATE \"C\") gin_trgm_ops"
        for name in ("text", "tags", "instruct", "label")
    ),
    "fastupdate = off",  # every search would read its list of pending entries
)
"""Index for substring searches; created separately, because it needs pg_trgm."""

TEXT_SEPARATOR = "\x01\x01"
"""Separates the casefolded texts of a list; no escaped text contains it."""

BITS = str.maketrans("01", "\x02\x03")
ESCAPES = {number: "\x01\x02" + f"{number:02b}".translate(BITS) for number in range(4)} | {
    number: "\x01\x03" + f"{number - 0xD800:011b}".translate(BITS)
    for number in range(0xD800, 0xE000)
}
"""Escapes of NUL, of surrogates, and of the characters that the escapes consist of."""

UNESCAPED = {code: chr(number) for number, code in ESCAPES.items()}
ESCAPE = re.compile("\x01(?:\x02[\x02\x03]{2}|\x03[\x02\x03]{11})")
WILDCARDS = re.compile(r"[%_\\]")

DOCUMENTS = Table(
    "voicelab_documents",
    MetaData(),
    Column("table_name", Text(collation="C"), primary_key=True),
    Column("id", Text(collation="C"), primary_key=True),
    Column("document", JSONB, nullable=False),
    Column("folded", JSONB, nullable=False),
    Index("voicelab_newest", "table_name", text(NEWEST)),
    *(
        Index(f"voicelab_{name}", "table_name", text(f"(document -> '{name}'), {NEWEST}"))
        for name in FILTERED
    ),
)


def escaped(value: str) -> str:
    """The text with the characters that PostgreSQL cannot store escaped."""
    return value.translate(ESCAPES)


def unescaped(value: str) -> str:
    """The inverse of `escaped`."""
    return ESCAPE.sub(lambda match: UNESCAPED[match[0]], value)


def dump_json(value: Any) -> str:
    """JSON of a value whose texts are escaped."""
    try:
        return orjson.dumps(value).decode()
    except TypeError:  # an integer over 64 bits
        return json.dumps(value)


def load_json(content: str | bytes) -> Any:
    """Decode JSON from the database, and unescape its texts."""
    raw = content.encode() if isinstance(content, str) else content
    value = loads(raw, quick=not has_large_integers(raw))
    return _map_texts(value, unescaped) if b"\\u0001" in raw else value


def escaped_document(document: Document) -> Document:
    """The document with its texts escaped; raises InvalidInput when it is not JSON."""
    raw, plain, _ = encoded(document)
    return _map_texts(plain, escaped) if b"\\u000" in raw or b"\\ud" in raw else plain


def folded(document: Document) -> dict[str, str]:
    """Field -> its text or texts, casefolded, escaped and joined; other fields are omitted."""
    found: dict[str, str] = {}
    for key, value in document.items():
        texts = value if isinstance(value, list) else [value]
        if texts and all(isinstance(each, str) for each in texts):
            found[escaped(key)] = TEXT_SEPARATOR.join(escaped(each.casefold()) for each in texts)
    return found


def field(key: str) -> ColumnElement[Any]:
    """A top-level field as JSONB; NULL where it is missing."""
    return DOCUMENTS.c.document.op("->", return_type=JSONB())(_name(key))


def group(part: Part) -> ColumnElement[Any]:
    """Grouping key of a tally, escaped; NULL where there is no text."""
    if isinstance(part, str):
        return _text(part)
    size = bindparam(None, part[1], Integer, literal_execute=True)
    return func.left(_text(part[0]), size)


def conditions(table: str, query: Query) -> ColumnElement[bool]:
    """The WHERE condition of a query."""
    return and_(DOCUMENTS.c.table_name == escaped(table), *_conditions(query))


def ordering(query: Query) -> list[ColumnElement[Any]]:
    """The ORDER BY of a query: nulls are smallest, ties are broken by id."""
    keys = _sort_keys(query.order)
    if query.descending:
        return [*(key.desc().nulls_last() for key in keys), DOCUMENTS.c.id.desc()]
    return [*(key.asc().nulls_first() for key in keys), DOCUMENTS.c.id.asc()]


def _sort_keys(order: str) -> list[ColumnElement[Any]]:
    if order == "text":
        return [_folded(order)]
    if order in DATES:
        return [_text(order)]
    is_text = func.jsonb_typeof(field(order)) == "string"
    words, number = case((is_text, _text(order))), numeric(order)
    rank = case((is_text, 2), (number.is_not(None), 1))
    return [rank, number, words]


def _conditions(query: Query) -> Iterator[ColumnElement[bool]]:
    for key, value in query.where.items():
        yield _equals(key, value)
    for key, value in query.has.items():
        yield DOCUMENTS.c.document.contains({escaped(key): [escaped(value)]})
    for key, bounds in query.ranges.items():
        yield _text(key).is_not(None)
        for bound, compare in zip(bounds, ("__ge__", "__le__"), strict=True):
            if bound is not None:
                yield _compared(key, compare, bound)
    for term in query.terms:
        yield _contains(term)


def _equals(key: str, value: Any) -> ColumnElement[bool]:
    if value is None:
        return _text(key).is_(None)  # of JSON's null, too
    return field(key) == literal(_map_texts(value, escaped), JSONB)


def _compared(key: str, compare: str, bound: Any) -> ColumnElement[bool]:
    if isinstance(bound, str):
        return getattr(_text(key), compare)(escaped(bound))
    if math.isnan(bound):
        return false()
    return getattr(numeric(key), compare)(literal(Decimal(repr(bound)), Numeric))


def _contains(term: Term) -> ColumnElement[bool]:
    if term.fields and not term.text:
        return true()
    pattern = "%" + WILDCARDS.sub(r"\\\g<0>", escaped(term.text)) + "%"
    words = [_folded(key).like(pattern) for key in term.fields]
    also = [_equals(key, value) for key, values in term.also.items() for value in sorted(values)]
    return or_(false(), *words, *also)


def _text(key: str) -> ColumnElement[Any]:
    return DOCUMENTS.c.document.op("->>", return_type=Text())(_name(key)).collate("C")


def _folded(key: str) -> ColumnElement[Any]:
    return DOCUMENTS.c.folded.op("->>", return_type=Text())(_name(key)).collate("C")


def numeric(key: str) -> ColumnElement[Any]:
    """The field as a number, true as 1; NULL for other types."""
    kind = func.jsonb_typeof(field(key))
    return case(
        (kind == "number", cast(_text(key), Numeric)),
        (field(key) == literal(True, JSONB), 1),
        (field(key) == literal(False, JSONB), 0),
    )


def _name(key: str) -> Any:
    """The field's name as a literal, so that the planner can choose the field's index."""
    return bindparam(None, escaped(key), Text, literal_execute=True)


def _map_texts(value: Any, change: Callable[[str], str]) -> Any:
    """Apply a function to all texts of a JSON value."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {change(key): _map_texts(each, change) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_map_texts(each, change) for each in value]
    return value
