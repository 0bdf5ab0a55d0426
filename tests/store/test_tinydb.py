"""TinyDB's own tests, of the version that is installed, with the journal in the storage's place.

The source archive they come with is fetched when this runs. What cannot pass is `EXCEPT`.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
VERSION = importlib.metadata.version("tinydb")
FILES = ("test_operations.py", "test_queries.py", "test_tables.py", "test_tinydb.py")
"""The others test TinyDB's own storages and middlewares, and classes that touch no storage."""

EXCEPT = {
    "test_tables.py::test_table_repr[full]": "wants the name of one of TinyDB's storages",
    "test_tables.py::test_table_repr[normal]": "wants the name of one of TinyDB's storages",
    "test_tinydb.py::test_access_storage": "wants an object of one of TinyDB's storages",
    "test_tinydb.py::test_storage_access": "wants an object of one of TinyDB's storages",
    "test_tinydb.py::test_insert_invalid_dict": "wants a TypeError; here it is an InvalidInput",
}

CONFTEST = '''
import itertools
from pathlib import Path

import pytest
import tinydb
from tinydb.storages import JSONStorage, MemoryStorage
from voicelab.store.tinydb.table import JournalDB


class TinyDB(JournalDB):
    """Where a test asks for one of TinyDB's storages it gets the journal."""

    numbers = itertools.count()
    folder = Path(__file__).parent / "unnamed"

    def __new__(cls, *args, storage=JSONStorage, **options):
        if storage in (JSONStorage, MemoryStorage):
            return super().__new__(cls)
        return Plain(*args, storage=storage, **options)  # a storage of the test's own

    def __init__(self, path=None, storage=None, **options):
        super().__init__(path or self.folder / f"{next(self.numbers)}" / "db.json")


Plain, tinydb.TinyDB = tinydb.TinyDB, TinyDB


@pytest.fixture(params=["full", "normal"])
def db(request, tmp_path):
    db = JournalDB(tmp_path / "test.db", durability=request.param, compact_after_bytes=2_000)
    db.__class__ = type("TinyDB", (JournalDB,), {})
    db.drop_tables()
    db.insert_multiple({"int": 1, "char": c} for c in "abc")
    yield db
    db.close()
'''


def pip() -> list[str]:
    """The pip there is: this Python's, one on the path, or the one that uv runs."""
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-m", "pip"]
    if shutil.which("pip"):
        return ["pip"]
    return ["uv", "tool", "run", "--quiet", "pip"]


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """TinyDB's source archive, unpacked."""
    folder = tmp_path_factory.mktemp("tinydb")
    options = ["--no-binary", "tinydb", "--no-deps", "--disable-pip-version-check"]
    command = [*pip(), "download", "--quiet", *options, "--dest", str(folder), f"tinydb=={VERSION}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    archives = list(folder.glob("tinydb-*.tar.gz"))
    assert archives, (
        f"TinyDB's tests come with its source archive, and `{' '.join(command)}` brought none: "
        f"{done.stderr[-500:]}"
    )
    with tarfile.open(archives[0]) as archive:
        archive.extractall(folder, filter="data")
    return folder / f"tinydb-{VERSION}"


def test_tinydbs_own_tests_pass(sources: Path) -> None:
    (sources / "tests" / "conftest.py").write_text(CONFTEST, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--tb=short"]
    done = subprocess.run(
        [*command, *(f"tests/{name}" for name in FILES)],
        capture_output=True,
        text=True,
        check=False,
        cwd=sources,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
    )
    failed = re.findall(r"^(?:FAILED|ERROR) tests/(\S+)", done.stdout, re.M)
    assert sorted(failed) == sorted(EXCEPT), done.stdout[-5000:] + done.stderr[-500:]
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed and int(passed[1]) > 150, done.stdout[-500:]
