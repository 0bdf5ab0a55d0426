"""What only a database server does: it goes away, it is full, it refuses, it is shared."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import psycopg
import pytest
from sqlalchemy import event

from tests.store.conftest import fill
from tests.store.server import PASSWORD, Server
from tests.threads import at_once
from voicelab.errors import Conflict, StorageError, StoreCorrupt, StoreFull
from voicelab.store import Query, Store, Term, open_store
from voicelab.store.postgres.store import PostgresStore


@pytest.fixture
def store(database: str) -> Iterator[Store]:
    store = open_store(database)
    yield store
    store.close()


def test_what_was_inserted_is_there_for_another_process(store: Store, database: str) -> None:
    fill(store)
    other = open_store(database)
    assert other.count("t") == 5
    other.patch("t", "i1", {"n": 7})
    assert store.get("t", "i1")["n"] == 7
    with pytest.raises(Conflict):
        store.patch("t", "i1", {"n": 8}, expected={"n": 1})
    other.close()


@pytest.mark.parametrize(
    ("limit", "offset", "counts"),
    [(6, 0, 0), (None, 3, 0), (3, 3, 0), (5, 0, 1), (2, 1, 1), (0, 0, 1), (2, 9, 1), (None, 9, 1)],
)
def test_only_what_a_page_does_not_tell_is_counted(
    store: PostgresStore, limit: int | None, offset: int, counts: int
) -> None:
    fill(store)
    statements: list[str] = []
    event.listen(store._engine, "before_cursor_execute", lambda *told: statements.append(told[2]))
    rows, total = store.page("t", Query(order="id", descending=False), limit=limit, offset=offset)
    end = None if limit is None else offset + limit
    assert [row["n"] for row in rows] == list(range(5))[offset:end] and total == 5
    assert sum("count(" in statement for statement in statements) == counts


def test_a_server_that_was_away_is_met_again(store: Store, server: Server) -> None:
    fill(store)
    server.stop()
    for action in (lambda: store.get("t", "i1"), lambda: store.insert("t", {"id": "new"})):
        with pytest.raises(StorageError, match="cannot be reached") as caught:
            action()
        assert PASSWORD not in caught.getrepr(style="long").__str__()
    server.start()
    assert store.get("t", "i1")["n"] == 1 and store.count("t") == 5


def test_a_server_that_goes_away_within_a_batch_leaves_nothing_of_it(
    store: Store, server: Server
) -> None:
    fill(store)
    with pytest.raises(StorageError, match="cannot be reached"), store.batch():
        store.delete("t", "i1")
        server.stop()
        server.start()
        store.delete("t", "i2")
    assert store.count("t") == 5
    with pytest.raises(StorageError, match="cannot be reached"), store.batch():
        store.delete("t", "i1")
        server.run(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE application_name = 'voicelab'"
        )
    assert store.count("t") == 5
    with store.batch():
        store.delete("t", "i1")
    assert store.count("t") == 4


def refuse(server: Server, state: str) -> None:
    """From now on the server answers every new document as if `state` had happened."""
    server.run(
        "CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN RAISE EXCEPTION 'refused' USING ERRCODE = '{state}'; END $$"
    )
    server.run(
        "CREATE OR REPLACE TRIGGER refuse BEFORE INSERT ON voicelab_documents "
        "FOR EACH ROW EXECUTE FUNCTION refuse()"
    )


@pytest.mark.parametrize(
    ("state", "kind", "words"),
    [
        ("53100", StoreFull, "disk is full"),
        ("40P01", StorageError, "busy"),
        ("42501", StorageError, "42501"),
    ],
)
def test_what_the_server_refuses_is_one_sentence_and_the_store_goes_on(
    store: Store, server: Server, state: str, kind: type[StorageError], words: str
) -> None:
    fill(store)
    refuse(server, state)
    with pytest.raises(kind, match=words):
        store.insert("t", {"id": "new", "text": "A private sentence."})
    server.run("DROP TRIGGER refuse ON voicelab_documents")
    store.insert("t", {"id": "new"})
    assert store.count("t") == 6


def test_an_error_passed_over_within_a_batch_is_not_a_success(store: Store, server: Server) -> None:
    fill(store)
    refuse(server, "53100")
    with pytest.raises(StorageError, match="nothing of it was saved"), store.batch():
        store.delete("t", "i1")
        with pytest.raises(StoreFull):
            store.insert("t", {"id": "new"})
    assert store.count("t") == 5


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://lab:{0}@127.0.0.1:1/postgres",
        "postgresql://lab:{0}/x@127.0.0.1/postgres",
        "postgresql://lab:{0}@nowhere.invalid/postgres",
        "mysql://lab:{0}@127.0.0.1/postgres",
        "://{0}",
    ],
)
def test_no_error_tells_the_password(url: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with pytest.raises(StorageError) as caught:
        open_store(url.format(PASSWORD))
    assert PASSWORD not in caught.value.message + caplog.text
    assert PASSWORD not in repr(caught.value.__cause__)


def test_a_wrong_password_is_one_sentence(server: Server) -> None:
    with pytest.raises(StorageError, match="refuses the login") as caught:
        open_store(server.url.replace(PASSWORD, "another"))
    assert "another" not in caught.value.message


def test_a_store_does_not_show_its_password(store: Store) -> None:
    assert PASSWORD not in repr(store) + repr(vars(store))


def test_records_of_a_newer_version_are_refused(store: Store, server: Server) -> None:
    server.run("""UPDATE voicelab_documents SET document = document || '{"schema": 2}'""")
    with pytest.raises(StoreCorrupt, match="newer"):
        open_store(server.url)


def test_replicas_may_start_at_once(database: str) -> None:
    found = at_once(*[lambda: open_store(database)] * 6)
    assert not [error for error in found if isinstance(error, Exception)]
    for store in found:
        store.close()


def test_search_works_without_the_extension(database: str, server: Server) -> None:
    server.run("DROP EXTENSION IF EXISTS pg_trgm CASCADE")
    server.run("DROP ROLE IF EXISTS guest")
    server.run("CREATE ROLE guest LOGIN PASSWORD 'guest'")
    server.run("GRANT CREATE ON SCHEMA public TO guest")
    store = open_store(server.url.replace(f"lab:{PASSWORD}", "guest:guest"))
    fill(store)
    assert store.count("t", Query(terms=[Term("ext 3", ("text",))])) == 1
    store.close()
    server.run("DROP OWNED BY guest CASCADE")


def test_what_is_asked_most_has_an_index(store: Store, server: Server) -> None:
    filler = "The fjord was quiet, and the boats lay still. " * 10
    with store.batch():
        for n in range(3000):
            row = {"id": f"{n}", "created_at": f"2026-{n:05}", "profile_id": f"p{n % 50}"}
            store.insert(
                "generations", {**row, "text": f"word{n} {filler}", "generation_id": f"{n}"}
            )
    server.run("ANALYZE voicelab_documents")
    by_word = Query(terms=[Term("word2999", ("text", "tags", "instruct", "label"))])
    plans = {
        "voicelab_newest": lambda: store.page("generations", Query(), limit=20),
        "voicelab_profile_id": lambda: store.page(
            "generations", Query(where={"profile_id": "p7"}), limit=20
        ),
        "voicelab_generation_id": lambda: store.page(
            "generations", Query(where={"generation_id": "77"}, descending=False)
        ),
        "voicelab_words": lambda: store.count("generations", by_word),
    }
    for name, action in plans.items():
        before = scans(server, name)
        for _ in range(8):  # more than the driver's threshold for prepared statements
            action()
        assert scans(server, name) >= before + 8, name


def scans(server: Server, index: str) -> int:
    """How often an index was used; every connection has told by then."""
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE application_name = 'voicelab'"
        )
        for _ in range(50):
            connection.execute("SELECT pg_sleep(0.02)")
            left = connection.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'voicelab'"
            ).fetchone()
            if left == (0,):
                break
        connection.execute("SELECT pg_stat_clear_snapshot()")
        row = connection.execute(
            "SELECT idx_scan FROM pg_stat_user_indexes WHERE indexrelname = %s", (index,)
        ).fetchone()
    assert row
    return row[0]
