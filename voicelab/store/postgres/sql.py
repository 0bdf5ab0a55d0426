"""Documents as rows of PostgreSQL, and queries as its conditions: the same answers as in memory.

Texts are compared by code point and found by casefolded substring: they are compared in the
collation "C", and the folded texts of a document stand beside it. PostgreSQL keeps neither NUL
nor half a surrogate pair: `escaped` writes them with other characters, so that texts are equal,
sorted and found within each other as they were before.
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
    "dumped",
    "escaped",
    "field",
    "folded",
    "group",
    "loaded",
    "numeric",
    "ordering",
    "unescaped",
    "written",
]

FILTERED = ("profile_id", "is_favorited", "status", "generation_id", "story_id")
"""Fields that takes, versions and items are asked for by, the newest first."""

DATES = ("created_at",)
"""Fields that are texts wherever they stand, so that one index gives their order."""

NEWEST = "((document ->> 'created_at') COLLATE \"C\") DESC NULLS LAST, id DESC"

WORDS = "CREATE INDEX voicelab_words ON voicelab_documents USING gin ({}) WITH ({})".format(
    ", ".join(
        f"((folded ->> '{name}') COLLATE \"C\") gin_trgm_ops"
        for name in ("text", "tags", "instruct", "label")
    ),
    "fastupdate = off",  # its list of late entries would be read by every search
)
"""For substrings of what a search looks into; made apart, because it needs pg_trgm."""

BETWEEN = "\x01\x01"
"""Stands between the folded texts of a list; no escaped text has it inside."""

BITS = str.maketrans("01", "\x02\x03")
CODES = {number: "\x01\x02" + f"{number:02b}".translate(BITS) for number in range(4)} | {
    number: "\x01\x03" + f"{number - 0xD800:011b}".translate(BITS)
    for number in range(0xD800, 0xE000)
}
"""For NUL and the halves of surrogate pairs, and for the characters that codes are made of."""

DECODED = {code: chr(number) for number, code in CODES.items()}
CODED = re.compile("\x01(?:\x02[\x02\x03]{2}|\x03[\x02\x03]{11})")
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
    """The text without the characters that PostgreSQL refuses."""
    return value.translate(CODES)


def unescaped(value: str) -> str:
    """What `escaped` was given."""
    return CODED.sub(lambda match: DECODED[match[0]], value)


def dumped(value: Any) -> str:
    """JSON of what is escaped already."""
    try:
        return orjson.dumps(value).decode()
    except TypeError:  # an integer over 64 bits
        return json.dumps(value)


def loaded(content: str | bytes) -> Any:
    """What JSON from the database says, unescaped."""
    raw = content.encode() if isinstance(content, str) else content
    value = loads(raw, quick=not has_large_integers(raw))
    return _walked(value, unescaped) if b"\\u0001" in raw else value


def written(document: Document) -> Document:
    """The document as it is stored; raises InvalidInput when it is not JSON."""
    raw, plain, _ = encoded(document)
    return _walked(plain, escaped) if b"\\u000" in raw or b"\\ud" in raw else plain


def folded(document: Document) -> dict[str, str]:
    """Of each field that holds a text or texts: casefolded, escaped, one behind the other."""
    found: dict[str, str] = {}
    for key, value in document.items():
        texts = value if isinstance(value, list) else [value]
        if texts and all(isinstance(each, str) for each in texts):
            found[escaped(key)] = BETWEEN.join(escaped(each.casefold()) for each in texts)
    return found


def field(key: str) -> ColumnElement[Any]:
    """A top-level field as JSONB; SQL's null where it is missing."""
    return DOCUMENTS.c.document.op("->", return_type=JSONB())(_name(key))


def group(part: Part) -> ColumnElement[Any]:
    """What rows are told apart by, escaped; SQL's null where there is no text."""
    if isinstance(part, str):
        return _text(part)
    size = bindparam(None, part[1], Integer, literal_execute=True)
    return func.left(_text(part[0]), size)


def conditions(table: str, query: Query) -> ColumnElement[bool]:
    """Which rows a query means."""
    return and_(DOCUMENTS.c.table_name == escaped(table), *_conditions(query))


def ordering(query: Query) -> list[ColumnElement[Any]]:
    """How a query's rows are sorted: nulls below everything, ties broken by id."""
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
    for key, ends in query.ranges.items():
        yield _text(key).is_not(None)
        for end, compare in zip(ends, ("__ge__", "__le__"), strict=True):
            if end is not None:
                yield _compared(key, compare, end)
    for term in query.terms:
        yield _contains(term)


def _equals(key: str, value: Any) -> ColumnElement[bool]:
    if value is None:
        return _text(key).is_(None)  # of JSON's null, too
    return field(key) == literal(_walked(value, escaped), JSONB)


def _compared(key: str, compare: str, end: Any) -> ColumnElement[bool]:
    if isinstance(end, str):
        return getattr(_text(key), compare)(escaped(end))
    if math.isnan(end):
        return false()
    return getattr(numeric(key), compare)(literal(Decimal(repr(end)), Numeric))


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
    """A number, true as 1; null where the field is something else."""
    kind = func.jsonb_typeof(field(key))
    return case(
        (kind == "number", cast(_text(key), Numeric)),
        (field(key) == literal(True, JSONB), 1),
        (field(key) == literal(False, JSONB), 0),
    )


def _name(key: str) -> Any:
    """It stands in the statement itself, for the planner to know the index of the field by."""
    return bindparam(None, escaped(key), Text, literal_execute=True)


def _walked(value: Any, change: Callable[[str], str]) -> Any:
    """The JSON with all its texts changed."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {change(key): _walked(each, change) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_walked(each, change) for each in value]
    return value
