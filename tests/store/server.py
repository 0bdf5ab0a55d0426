"""A PostgreSQL server of the tests' own."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import psycopg
import pytest

__all__ = ["PASSWORD", "Server", "programs"]

PASSWORD = "rather-secret"


class Server:
    """Debian's PostgreSQL over a folder of its own, on a free port of loopback.

    Its collation is ICU's English, so that nothing is sorted by code point by accident.
    """

    def __init__(self, programs: Path):
        self.folder = Path(tempfile.mkdtemp(prefix="voicelab-postgres-"))
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self._programs = programs
        # The server refuses to run as root.
        self._user = {"user": "postgres", "extra_groups": []} if os.getuid() == 0 else {}
        if self._user:
            shutil.chown(self.folder, "postgres")
        self._process: subprocess.Popen[bytes] | None = None
        secret = self.folder / "password"
        secret.write_text(PASSWORD)
        secret.chmod(0o644)
        self._run(
            *("initdb", "--pgdata", self.folder / "data", "--auth=scram-sha-256", "--no-sync"),
            *("--username=lab", f"--pwfile={secret}", "--encoding=UTF8", "--locale=C.UTF-8"),
            *("--locale-provider=icu", "--icu-locale=en-US"),
        )

    @property
    def url(self) -> str:
        return f"postgresql://lab:{PASSWORD}@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        settings = (
            "listen_addresses=127.0.0.1",
            "fsync=off",
            f"unix_socket_directories={self.folder}",
        )
        options = [part for setting in settings for part in ("-c", setting)]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    self._programs / "postgres",
                    "-D",
                    self.folder / "data",
                    f"-p{self.port}",
                    *options,
                ],
                cwd=self.folder,
                stderr=log,
                stdout=log,
                **self._user,
            )
        end = time.monotonic() + 30
        while True:
            try:
                psycopg.connect(self.url).close()
                return
            except psycopg.OperationalError:
                if time.monotonic() > end or self._process.poll() is not None:
                    raise AssertionError((self.folder / "log").read_text()) from None
                time.sleep(0.05)

    def stop(self) -> None:
        """At once, with every connection cut, as a server that crashes does."""
        if self._process:
            self._run("pg_ctl", "stop", "-D", self.folder / "data", "-m", "immediate", "-w")
            self._process.wait(30)
            self._process = None

    def run(self, sql: str) -> None:
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(sql)  # type: ignore[arg-type]

    def clear(self) -> None:
        self.run("DROP TABLE IF EXISTS voicelab_documents")

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _run(self, program: str, *arguments: str | Path) -> None:
        done = subprocess.run(
            [self._programs / program, *arguments],
            capture_output=True,
            cwd=self.folder,
            check=False,
            **self._user,
        )
        assert done.returncode == 0, done.stderr.decode()


def programs() -> Path:
    """Where Debian, or somebody else, has put the server."""
    if found := shutil.which("postgres"):
        return Path(found).resolve().parent
    if found := sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres")):
        return found[-1].parent
    if shutil.which("apt-get"):
        pytest.fail("PostgreSQL is missing: apt install postgresql (.ci/run does it)")
    pytest.skip("neither PostgreSQL nor apt is here")
