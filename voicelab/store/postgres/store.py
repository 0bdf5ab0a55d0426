"""A record store on PostgreSQL, for several replicas of the app.

All documents are in one table of JSONB, with indexes for the most frequent queries. A batch is one
transaction with an exclusive lock: it waits for the batches and changes of all replicas.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from psycopg.pq import TransactionStatus
from sqlalchemy import (
    URL,
    Connection,
    Engine,
    Text,
    any_,
    bindparam,
    create_engine,
    delete,
    func,
    inspect,
    make_url,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from voicelab.errors import Conflict, StorageError, StoreCorrupt, StoreFull
from voicelab.store.postgres.sql import (
    DOCUMENTS,
    WORDS,
    conditions,
    dump_json,
    escaped,
    escaped_document,
    field,
    folded,
    group,
    load_json,
    numeric,
    ordering,
    unescaped,
)
from voicelab.store.protocol import Document, Part, Query, patchable

__all__ = ["PostgresStore"]

SCHEMA = 1
META = "_meta"
EXCLUSIVE_LOCK = text("SELECT pg_advisory_xact_lock('voicelab_documents'::regclass::oid::bigint)")
SHARED_LOCK = text(
    "SELECT pg_advisory_xact_lock_shared('voicelab_documents'::regclass::oid::bigint)"
)
SETUP_LOCK = text("SELECT pg_advisory_xact_lock(8602401)")
"""Lock for the creation of the table, in case two replicas start at once."""

TIMEOUTS = "-c lock_timeout=60s -c idle_in_transaction_session_timeout=900s"
"""Timeouts, so that a hanging replica does not block the others."""

BUSY = {"55P03", "40P01", "40001", "25P03", "53300"}
UNREACHABLE = "The database cannot be reached, or refuses the login: nothing can be read or saved."


class PostgresStore:
    """The store on a PostgreSQL database (14 or newer, UTF8), for any number of processes.

    Args:
        url: postgresql://user:password@host:port/database; it never appears in a message.

    Raises:
        StorageError: from every method: the database is unreachable, or reports an error. The
            change is then not saved, unless the connection was lost during the commit.
        StoreCorrupt: its records were written by a newer version.
    """

    shared = True

    def __init__(self, url: str):
        self._engine = _engine(_parse_url(url))
        self._reads = self._engine.execution_options(isolation_level="AUTOCOMMIT")
        self._batch = threading.local()
        try:
            with _translated_errors(), self._engine.begin() as connection:
                _set_up(connection)
        except BaseException:
            self._engine.dispose()
            raise

    def get(self, table: str, id: str) -> Document | None:
        """See `Store.get`."""
        with self._reading() as connection:
            return connection.scalar(select(DOCUMENTS.c.document).where(_with_id(table, id)))

    def get_many(self, table: str, ids: Sequence[str]) -> list[Document]:
        """See `Store.get_many`."""
        rows = select(DOCUMENTS.c.document).where(_with_ids(table, ids))
        with self._reading() as connection:
            found = {document["id"]: document for document in connection.scalars(rows)}
        return [found[id] for id in ids if id in found]

    def insert(self, table: str, document: Document) -> None:
        """See `Store.insert`."""
        row = {"table_name": escaped(table), "id": escaped(document["id"]), **_row(document)}
        with self._changing() as connection:
            statement = insert(DOCUMENTS).values(row).on_conflict_do_nothing()
            if connection.scalar(statement.returning(DOCUMENTS.c.id)) is None:
                raise Conflict(f"The id {document['id'][:40]} is taken in {table}.")

    def patch(
        self,
        table: str,
        id: str,
        fields: Mapping[str, Any],
        expected: Mapping[str, Any] | None = None,
    ) -> Document:
        """See `Store.patch`."""
        with self._changing() as connection:
            row = select(DOCUMENTS.c.document).where(_with_id(table, id)).with_for_update()
            before = patchable(table, id, connection.scalar(row), fields, expected)
            stored = _row({**before, **fields})
            connection.execute(update(DOCUMENTS).where(_with_id(table, id)).values(stored))
        return load_json(dump_json(stored["document"]))

    def delete(self, table: str, id: str) -> bool:
        """See `Store.delete`."""
        return self.delete_many(table, (id,)) == 1

    def delete_many(self, table: str, ids: Collection[str]) -> int:
        """See `Store.delete_many`."""
        with self._changing() as connection:
            return connection.execute(delete(DOCUMENTS).where(_with_ids(table, ids))).rowcount

    def page(
        self, table: str, query: Query, *, limit: int | None = None, offset: int = 0
    ) -> tuple[list[Document], int]:
        """See `Store.page`."""
        chosen = conditions(table, query)
        rows = select(DOCUMENTS.c.document).where(chosen).order_by(*ordering(query))
        with self._reading() as connection:
            found = list(connection.scalars(rows.limit(limit).offset(offset or None)))
            is_last = limit is None or len(found) < limit
            if is_last and (found or not offset):  # else the offset may be beyond the last
                return found, offset + len(found)
            return found, connection.scalar(select(func.count()).where(chosen)) or 0

    def values(
        self, table: str, fields: Sequence[str], query: Query | None = None
    ) -> list[tuple[Any, ...]]:
        """See `Store.values`."""
        picked = func.jsonb_build_array(*map(field, fields), type_=DOCUMENTS.c.document.type)
        rows = select(picked).where(conditions(table, query or Query()))
        with self._reading() as connection:
            return [tuple(row) for row in connection.scalars(rows)]

    def count(self, table: str, query: Query | None = None) -> int:
        """See `Store.count`."""
        rows = select(func.count()).where(conditions(table, query or Query()))
        with self._reading() as connection:
            return connection.scalar(rows) or 0

    def tally(
        self,
        table: str,
        by: Sequence[Part] = (),
        sums: Sequence[str] = (),
        query: Query | None = None,
    ) -> list[tuple[Any, ...]]:
        """See `Store.tally`."""
        groups, count = list(map(group, by)), func.count()
        totals = [func.coalesce(func.sum(numeric(name)), 0) for name in sums]
        rows = select(*groups, count, *totals).where(conditions(table, query or Query()))
        with self._reading() as connection:
            found = connection.execute(rows.group_by(*groups).having(count > 0)).all()
        at = len(groups)
        return [
            (*(each and unescaped(each) for each in row[:at]), row[at], *map(float, row[at + 1 :]))
            for row in found
        ]

    def tables(self) -> list[str]:
        """See `Store.tables`."""
        names = select(DOCUMENTS.c.table_name).distinct().where(DOCUMENTS.c.table_name != META)
        with self._reading() as connection:
            return sorted(map(unescaped, connection.scalars(names)))

    @contextlib.contextmanager
    def batch(self, frees: bool = False) -> Iterator[None]:
        """See `Store.batch`; a nested batch is a savepoint."""
        outer = self._batch_connection()
        with _translated_errors():
            if outer is not None:
                with outer.begin_nested():
                    yield
                return
            with self._engine.begin() as connection:
                connection.execute(EXCLUSIVE_LOCK)
                self._batch.connection = connection
                try:
                    yield
                finally:
                    self._batch.connection = None
                _check_not_failed(connection)

    def check(self) -> None:
        """See `Store.check`."""

    def shortage(self) -> str | None:
        """See `Store.shortage`."""

    def close(self) -> None:
        """See `Store.close`."""
        self._engine.dispose()

    def _batch_connection(self) -> Connection | None:
        """The connection of this thread's batch; None outside of one."""
        return getattr(self._batch, "connection", None)

    @contextlib.contextmanager
    def _reading(self) -> Iterator[Connection]:
        batch_connection = self._batch_connection()
        with (
            _translated_errors(),
            contextlib.nullcontext(batch_connection)
            if batch_connection
            else self._reads.connect() as connection,
        ):
            yield connection

    @contextlib.contextmanager
    def _changing(self) -> Iterator[Connection]:
        with _translated_errors():
            if batch_connection := self._batch_connection():
                yield batch_connection
                return
            with self._engine.begin() as connection:
                connection.execute(SHARED_LOCK)
                yield connection


def _parse_url(url: str) -> URL:
    try:
        parsed = make_url(url)
    except (SQLAlchemyError, ValueError):
        parsed = None
    if parsed is None or parsed.drivername.split("+")[0] not in ("postgresql", "postgres"):
        # It may have a password, so that no part of it is in the message.
        raise StorageError(
            "The database's URL is not one of PostgreSQL: postgresql://user:password@host/name."
        ) from None
    return parsed.set(drivername="postgresql+psycopg")


def _engine(url: URL) -> Engine:
    arguments: dict[str, Any] = {"connect_timeout": 10, "application_name": "voicelab"}
    arguments |= {"keepalives_idle": 30, "options": TIMEOUTS}
    return create_engine(
        url,
        connect_args={key: value for key, value in arguments.items() if key not in url.query},
        pool_pre_ping=True,  # reconnects after the server was unreachable
        hide_parameters=True,
        json_serializer=dump_json,
        json_deserializer=load_json,
    )


def _set_up(connection: Connection) -> None:
    """Create the table unless it exists; raises StoreCorrupt for a newer schema."""
    connection.execute(SETUP_LOCK)
    if connection.scalar(text("SHOW server_encoding")) != "UTF8":
        raise StorageError("The database must be made with the encoding UTF8.")
    if not inspect(connection).has_table(DOCUMENTS.name):
        DOCUMENTS.create(connection)
        note = {"id": "store", "schema": SCHEMA}
        row = {"table_name": META, "id": note["id"], **_row(note)}
        connection.execute(insert(DOCUMENTS).values(row))
        _index_words(connection)
    note = connection.scalar(select(DOCUMENTS.c.document).where(_with_id(META, "store")))
    if note is None or note["schema"] > SCHEMA:
        raise StoreCorrupt("The database's records were made by a newer VoiceLab; update this one.")


def _index_words(connection: Connection) -> None:
    """Create the search index; without the extension searches are slower."""
    with contextlib.suppress(DBAPIError), connection.begin_nested():
        connection.execute(text("CREATE EXTENSION IF NOT EXISTS pg_trgm"))
        connection.execute(text(WORDS))


def _row(document: Document) -> dict[str, Any]:
    return {"document": escaped_document(document), "folded": folded(document)}


def _with_id(table: str, id: str) -> Any:
    return (DOCUMENTS.c.table_name == escaped(table)) & (DOCUMENTS.c.id == escaped(id))


def _with_ids(table: str, ids: Collection[str]) -> Any:
    """Rows with one of the ids; an array parameter has no length limit."""
    chosen = bindparam(None, [escaped(id) for id in ids], ARRAY(Text))
    return (DOCUMENTS.c.table_name == escaped(table)) & (DOCUMENTS.c.id == any_(chosen))


@contextlib.contextmanager
def _translated_errors() -> Iterator[None]:
    """Translates the database's errors to ours; the messages never contain the URL."""
    try:
        yield
    except PoolTimeout as error:
        raise StorageError("The database is busy: nothing was saved. Try again.") from error
    except DBAPIError as error:
        state = getattr(error.orig, "sqlstate", None)
        if error.connection_invalidated or state is None or state[:2] in ("08", "28", "57", "3D"):
            raise StorageError(UNREACHABLE) from None  # libpq names host and user
        raise _storage_error_of(state) from error


def _storage_error_of(state: str) -> StorageError:
    if state == "53100":
        return StoreFull(
            "The database's disk is full: nothing was saved. Free some space and try again."
        )
    if state in BUSY:
        return StorageError("The database is busy: nothing was saved. Try again.")
    return StorageError(f"The database refused: nothing was saved (SQLSTATE {state}).")


def _check_not_failed(connection: Connection) -> None:
    """Raise when a statement failed and its error was ignored: the commit would be a rollback."""
    driver = connection.connection.driver_connection
    if driver is not None and driver.info.transaction_status == TransactionStatus.INERROR:
        raise StorageError("A change of this batch failed: nothing of it was saved.")
