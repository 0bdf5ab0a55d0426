"""A hundred clients at once: `python tests/benchmarks/load.py`.

Starts the app in a process of its own and asks it over loopback: of a hundred clients 40 poll
/status/progress, 15 list the history, 20 speak, 10 start takes in the background and wait for
them, 15 ask for a long take and hang up after its first bytes. Each goes on as soon as it has its
answer. The last line is JSON: median and 95th percentile of each kind in milliseconds, how many
answers were had, errors, CPU seconds and memory of the server.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import contextlib
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

ROOT = Path(__file__).parents[2]
# A script's own folder comes first on the path, and there http.py hides the library's `http`.
sys.path[0] = str(ROOT)

import psutil  # noqa: E402

from tests.benchmarks.http import free_port, wait_until_up  # noqa: E402

MIX = {"progress": 40, "history": 15, "speech": 20, "background": 10, "hang_up": 15}
"""Kind of client -> how many of a hundred."""

SHORT = "The fjord was quiet, and a boat drew a line across it. Then even that was gone."
LONG = SHORT * 60
FIRST_BYTES = 4096
SAMPLE_S = 0.1


class Connection:
    """One kept-alive HTTP/1.1 connection, as lean as can be: the server is measured, not this."""

    def __init__(self, port: int):
        self._port = port
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def ask(self, method: str, path: str, body: object = None) -> tuple[int, bytes]:
        """Status and body."""
        status, parts = await self.begin(method, path, body)
        return status, b"".join([part async for part in parts])

    async def begin(
        self, method: str, path: str, body: object = None
    ) -> tuple[int, AsyncIterator[bytes]]:
        """Status, and the body as it comes."""
        if self._reader is None or self._writer is None:
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        content = b"" if body is None else json.dumps(body).encode()
        head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{self._port}\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
        self._writer.write(head.encode() + content)
        lines = (await self._reader.readuntil(b"\r\n\r\n")).lower().split(b"\r\n")
        fields = dict(line.split(b": ", 1) for line in lines[1:] if line)
        length = fields.get(b"content-length")
        parts = self._chunks() if length is None else self._counted(int(length))
        return int(lines[0].split()[1]), parts

    def hang_up(self) -> None:
        """Close it without a word; the next request opens another."""
        if self._writer is not None:
            self._writer.transport.abort()
        self._reader = self._writer = None

    async def _counted(self, size: int) -> AsyncIterator[bytes]:
        assert self._reader is not None
        while size and (part := await self._reader.read(min(size, 1 << 16))):
            size -= len(part)
            yield part
        if size:
            raise ConnectionError("the answer was cut off")

    async def _chunks(self) -> AsyncIterator[bytes]:
        assert self._reader is not None
        while size := int(await self._reader.readuntil(b"\r\n"), 16):
            yield await self._reader.readexactly(size)
            await self._reader.readexactly(2)
        await self._reader.readexactly(2)


class Load:
    """The clients and what they saw.

    Args:
        port: of the server.
        clients: how many.
        seconds: for how long.
    """

    def __init__(self, port: int, clients: int, seconds: float):
        self._port = port
        self._end = time.monotonic() + seconds
        self.taken_ms: dict[str, list[float]] = collections.defaultdict(list)
        self.errors: collections.Counter[str] = collections.Counter()
        self._kinds = [kind for kind, share in MIX.items() for _ in range(share)]
        random.Random(0).shuffle(self._kinds)
        self._kinds = (self._kinds * (clients // 100 + 1))[:clients]

    async def run(self) -> None:
        """Until the time is over."""
        await asyncio.gather(*(self._client(kind) for kind in self._kinds))

    async def _client(self, kind: str) -> None:
        action: Callable[[Connection], Awaitable[None]] = getattr(self, f"_{kind}")
        connection = Connection(self._port)
        while time.monotonic() < self._end:
            began = time.perf_counter()
            try:
                await action(connection)
            except (OSError, EOFError, ValueError, AssertionError) as error:
                self.errors[f"{kind}: {error or type(error).__name__}"] += 1
                connection.hang_up()
                await asyncio.sleep(0.1)
            else:
                self.taken_ms[kind].append(1000 * (time.perf_counter() - began))
        connection.hang_up()

    async def _progress(self, connection: Connection) -> None:
        status, body = await connection.ask("GET", "/status/progress")
        assert status == 200 and b"is_processing" in body, status

    async def _history(self, connection: Connection) -> None:
        status, body = await connection.ask("GET", "/history?limit=20")
        assert status == 200 and b"items" in body, status

    async def _speech(self, connection: Connection) -> None:
        status, body = await connection.ask("POST", "/v1/audio/speech", {"input": SHORT})
        assert status == 200 and body[:4] == b"RIFF", status

    async def _background(self, connection: Connection) -> None:
        status, body = await connection.ask("POST", "/generate", {"text": SHORT})
        assert status == 200, status
        path = f"/generate/{json.loads(body)['id']}/status"
        status, body = await connection.ask("GET", path)
        assert status == 200 and b'"status":"completed"' in body, status

    async def _hang_up(self, connection: Connection) -> None:
        status, parts = await connection.begin("POST", "/v1/audio/speech", {"input": LONG})
        assert status == 200, status
        async with contextlib.aclosing(parts):  # pyright: ignore[reportArgumentType]
            size = 0
            async for part in parts:
                size += len(part)
                if size >= FIRST_BYTES:
                    break
        connection.hang_up()


async def watch(server: psutil.Process, peak: list[int]) -> None:
    """The most memory the server has at any time, in bytes."""
    while True:
        peak[0] = max(peak[0], server.memory_info().rss)
        await asyncio.sleep(SAMPLE_S)


async def measured(port: int, process: int, clients: int, seconds: float) -> dict[str, object]:
    """The figures of one run."""
    server = psutil.Process(process)
    await Connection(port).ask("POST", "/v1/audio/speech", {"input": SHORT})  # imports are over
    idle, before = server.memory_info().rss, server.cpu_times()
    peak = [idle]
    watching = asyncio.create_task(watch(server, peak))
    load = Load(port, clients, seconds)
    await load.run()
    watching.cancel()
    after = server.cpu_times()
    figures: dict[str, object] = {}
    for kind in MIX:
        taken = sorted(load.taken_ms[kind])
        figures[f"{kind}_count"] = len(taken)
        for part in (50, 95):
            figures[f"{kind}_p{part}_ms"] = (
                round(taken[len(taken) * part // 100], 1) if taken else None
            )
    cpu_s = after.user + after.system - before.user - before.system
    return figures | {
        "errors": sum(load.errors.values()),
        "error_kinds": dict(load.errors.most_common(5)),
        "server_cpu_s": round(cpu_s, 1),
        "rss_idle_mb": round(idle / 1e6),
        "rss_peak_mb": round(peak[0] / 1e6),
        "rss_end_mb": round(server.memory_info().rss / 1e6),
    }


def main() -> None:
    """Measure, print a line each, then the JSON."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seconds", type=float, default=45)
    options.add_argument("--clients", type=int, default=100)
    options.add_argument("--engine", default="espeak")
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        url = f"http://127.0.0.1:{(port := free_port())}"
        environment = {**os.environ, "VOICELAB_DATA_DIR": folder, "VOICELAB_PORT": str(port)}
        command = [sys.executable, "app.py", "--engine", chosen.engine]
        with subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as server:
            try:
                wait_until_up(url)
                run = measured(port, server.pid, chosen.clients, chosen.seconds)
                figures = asyncio.run(run)
            finally:
                server.terminate()
    figures |= {"clients": chosen.clients, "seconds": chosen.seconds, "engine": chosen.engine}
    for name, value in figures.items():
        print(f"{name:28} {value}")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
