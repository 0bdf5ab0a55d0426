"""Fetches weights from the Hugging Face hub: measured, resumable, each failure in one sentence."""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import re
import shutil
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from filelock import FileLock, Timeout

from voicelab.engines.base import LoadProgress, Transfer
from voicelab.engines.chatterbox.checkpoints import (
    FILES,
    ONE_T3,
    SHARED,
    VOICE,
    cache_folder,
    cached_folders,
    damaged_files,
    names_in,
)
from voicelab.engines.chatterbox.suppression import patched
from voicelab.engines.chatterbox.weights import offline
from voicelab.errors import EngineUnavailable

__all__ = ["fetch"]

log = logging.getLogger(__name__)

SMALL_FILES = ("*.json", "*.txt", VOICE)
"""Besides the weights: tokenizers, whose files differ from model to model, and the voice."""

ETAG = re.compile(r"[0-9A-Za-z_-]{1,128}")
"""What may be the name of a file in the cache; a hub may send anything."""

CHUNK_BYTES = 1 << 18
"""Read at once: how finely progress moves, and how soon a stop is seen."""

REPORT_S = 0.25
LOG_S = 5.0
RATE_S = 10.0
"""Seconds over which the speed is measured."""

ATTEMPTS = 3
RETRY_S = 2.0
SPARE_BYTES = 64 << 20
"""Left free on the disk beside what is fetched."""


class Stopped(EngineUnavailable):
    """The process ends: what was fetched stays, and is used next time."""


def fetch(
    name: str, progress: LoadProgress, stop: threading.Event | None = None
) -> tuple[Path, ...]:
    """Bring a checkpoint's files into the Hugging Face cache; the folders with them.

    What is there is not fetched again; a file that was cut off goes on where it ended.

    Args:
        name: of the checkpoint, see `checkpoints`.
        progress: told the bytes several times a second, with a `Transfer`.
        stop: set to end it.

    Raises:
        EngineUnavailable: the hub refuses or fails, or there is no room; it may be tried again.
    """
    if offline():
        raise EngineUnavailable("its weights are not here, and HF_HUB_OFFLINE is set.")
    own = FILES[name][0]
    with _sentences(own), _silent_bars():
        for path in damaged_files(name, *cached_folders(name)):
            path.resolve().unlink(missing_ok=True)
            path.unlink(missing_ok=True)
        missing = list(_missing(name))
        bytes_total = sum(info.file_size or 0 for _, info in missing if info.will_download)
        _check_room(bytes_total)
        meter = _Meter(own, bytes_total, progress, stop or threading.Event())
        for repository, info in missing:
            _download(repository, info.filename, meter)
        meter.close()
    folders = cached_folders(name)
    if not folders:
        raise EngineUnavailable(f"the hub's {own} lacks a file that is needed, perhaps {VOICE}.")
    return folders


def _missing(name: str) -> Iterator[tuple[str, Any]]:
    """(repository, name and size as the hub tells them) of each file that is not in the cache."""
    from huggingface_hub import HfApi, hf_hub_download  # of the extra chatterbox

    token = _token()
    for repository, files in (FILES[name], *([SHARED[name]] if name in SHARED else [])):
        siblings = HfApi(token=token).model_info(repository).siblings or []
        for file in _wanted(name, repository, files, [each.rfilename for each in siblings]):
            info: Any = hf_hub_download(repository, file, dry_run=True, token=token)
            # The content may be here without its name: a stop came in between.
            if info.will_download or not Path(info.local_path).exists():
                yield repository, info


def _wanted(
    name: str, repository: str, files: tuple[str, ...], listing: Sequence[str]
) -> list[str]:
    """The files of a repository that a checkpoint needs, and the small ones beside them."""
    found = [names_in(name, file, listing) for file in files]
    lacking = [file for file, names in zip(files, found, strict=True) if len(names) != 1]
    if lacking:
        there = ", ".join(each for each in listing if each.endswith((".safetensors", ".pt")))
        verb = "has not exactly one" if ONE_T3 in lacking else "lacks"
        raise EngineUnavailable(
            f"its repository {repository} {verb} {' and '.join(lacking)}; "
            f"it has {there[:200] or 'no weights'}."
        )
    needed = [names[0] for names in found]
    small = (each for each in listing if any(fnmatch(each, end) for end in SMALL_FILES))
    return [*needed, *(each for each in small if each not in needed)]


def _check_room(bytes_total: int) -> None:
    folder = cache_folder()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if bytes_total + SPARE_BYTES > free:
        raise EngineUnavailable(
            f"there is no room on the disk for its weights: {_size(bytes_total)} are needed, "
            f"{_size(free)} are free."
        )


def _download(repository: str, file: str, meter: _Meter) -> None:
    """One file into the cache, from where an earlier download of it ended.

    huggingface_hub itself keeps no part of a file, so the bytes come here by its `http_get`, and
    it only links the whole file. Xet, which fails on some networks, is not used.

    Raises:
        OSError: the content is not what the hub says it is; nothing of it is kept.
        Exception: whatever huggingface_hub raises.
    """
    from huggingface_hub import (  # of the extra chatterbox
        get_hf_file_metadata,
        hf_hub_download,
        hf_hub_url,
    )

    token = _token()
    known = get_hf_file_metadata(hf_hub_url(repository, file), token=token)
    if known.etag and not ETAG.fullmatch(known.etag):
        raise EngineUnavailable(f"the hub's answer for {file} cannot be used.")
    if known.etag is None or known.size is None:
        hf_hub_download(repository, file, tqdm_class=meter.bar_class(), token=token)
        return
    blobs = cache_folder() / f"models--{repository.replace('/', '--')}" / "blobs"
    blobs.mkdir(parents=True, exist_ok=True)
    blob, part = blobs / known.etag, blobs / f"{known.etag}.voicelab.incomplete"
    with FileLock(f"{part}.lock", timeout=0):
        if not blob.exists():
            _fill(part, known, meter)
            part.replace(blob)
    hf_hub_download(repository, file, token=token)


def _fill(part: Path, known: Any, meter: _Meter) -> None:
    """Fetch what a part lacks, and compare the whole with the hub's hash."""
    from huggingface_hub import constants, file_download  # of the extra chatterbox
    from huggingface_hub.utils import build_hf_headers  # of the extra chatterbox

    # An address on another host carries its own signature; the token is not for that host.
    foreign = urlsplit(known.location).netloc != urlsplit(constants.ENDPOINT).netloc
    headers = build_hf_headers(token=False if foreign else _token())
    for attempt in range(1, ATTEMPTS + 1):
        with part.open("ab") as file, patched(constants, "DOWNLOAD_CHUNK_SIZE", CHUNK_BYTES):
            if file.tell() > known.size:
                file.truncate(0)
            start = file.tell()
            try:
                file_download.http_get(
                    known.location,
                    file,
                    resume_size=start,
                    headers=headers,
                    expected_size=known.size,
                    tqdm_class=meter.bar_class(),
                )
                break
            except Exception as error:
                if meter.stopped() or attempt == ATTEMPTS or not _may_succeed(error):
                    raise
                log.info("%s: trying again (%s)", part.name[:12], type(error).__name__)
                meter.wait(RETRY_S)
    if not _is_genuine(part, known.etag):
        part.unlink()
        raise OSError("Consistency check failed: another hash")


def _is_genuine(path: Path, etag: str) -> bool:
    """Whether a file has the SHA-256 that is the ETag of large files; small ones have another."""
    if not re.fullmatch(r"[0-9a-f]{64}", etag):
        return True
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == etag


def _token() -> str | None:
    return os.environ.get("HF_TOKEN") or None


class _Meter:
    """Counts the bytes of all files, and reports them."""

    def __init__(
        self, repository: str, bytes_total: int, progress: LoadProgress, stop: threading.Event
    ):
        from tqdm import tqdm  # start-up time: 30 ms

        self._repository, self._total = repository, bytes_total
        self._progress, self._stop = progress, stop
        self._lock = threading.Lock()
        self._done = 0
        self._reported = self._logged = 0.0
        self._marks = [(time.monotonic(), 0)]
        # In a terminal; where there is none the log has a line now and then.
        self._bar = tqdm(
            total=bytes_total, desc=repository, unit="B", unit_scale=True, disable=None
        )

    def stopped(self) -> bool:
        """Whether the process ends."""
        return self._stop.is_set()

    def wait(self, seconds: float) -> None:
        """Sleep; raises Stopped when the process ends meanwhile."""
        if self._stop.wait(seconds):
            raise Stopped("the app is closing.")

    def close(self) -> None:
        """Remove the bar of the terminal."""
        self._bar.close()

    def bar_class(self) -> Any:
        """A progress bar for the hub's library that draws nothing and counts here."""
        from tqdm import tqdm  # start-up time: 30 ms

        meter = self

        class Bar(tqdm):
            def __init__(self, *args: Any, **options: Any):
                super().__init__(*args, **{**options, "disable": True})
                self.update(options.get("initial") or 0)

            def update(self, n: float | None = 1) -> bool | None:
                meter.add(int(n or 0))
                return None

        return Bar

    def add(self, count: int) -> None:
        """Count bytes, fewer again where a file begins anew; raises Stopped."""
        if self.stopped():
            raise Stopped("the app is closing.")
        with self._lock:
            self._done += count
            now = time.monotonic()
            if now - self._reported < REPORT_S and self._done < self._total:
                return
            self._reported = now
            transfer = self._transfer(now)
        self._bar.update(transfer.bytes_done - self._bar.n)
        line = f"fetching {transfer}"
        self._progress(0.4 * transfer.fraction, line, transfer)
        if now - self._logged > LOG_S:
            self._logged = now
            log.info("%s: %s", self._repository, line)

    def _transfer(self, now: float) -> Transfer:
        self._marks = [(at, done) for at, done in self._marks if now - at < RATE_S] or [
            self._marks[-1]
        ]
        self._marks.append((now, self._done))
        began, before = self._marks[0]
        rate = max(0.0, (self._done - before) / max(now - began, 1e-3))
        return Transfer(min(self._done, self._total), self._total, rate)


@contextmanager
def _silent_bars() -> Iterator[None]:
    """The library's own bars for listings stay away; ours are not of its class."""
    from huggingface_hub.utils import (  # of the extra chatterbox
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
    )

    shown = not are_progress_bars_disabled()
    disable_progress_bars()
    try:
        yield
    finally:
        if shown:
            enable_progress_bars()


@contextmanager
def _sentences(repository: str) -> Iterator[None]:
    """Whatever goes wrong as EngineUnavailable; texts of errors hold addresses and tokens."""
    try:
        yield
    except EngineUnavailable:
        raise
    except Exception as error:
        log.info("fetching %s failed", repository, exc_info=log.isEnabledFor(logging.DEBUG))
        raise EngineUnavailable(_sentence(repository, error)) from error


def _sentence(repository: str, error: Exception) -> str:
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return "there is no room on the disk for its weights."
    if isinstance(error, Timeout):
        return "another process is fetching its weights; try again when that is done."
    if "another hash" in str(error):
        return "what the hub sent is damaged; nothing of it was kept. Try again."
    status = _status(error)
    if status in (401, 403):
        return (
            f"the hub does not give {repository} to strangers ({status}): accept its terms there, "
            "and set HF_TOKEN."
        )
    if status == 404:
        return f"the hub has no {repository} with its files (404)."
    if status == 429:
        return f"the hub asks to wait (429){_delay(error)}."
    if status is not None:
        return f"the hub failed ({status})."
    if _is_http(error):
        return "the hub cannot be reached, or the connection broke."
    if isinstance(error, ValueError):
        return "what answers is not the hub: perhaps a proxy, or a page that asks for a login."
    return f"its weights cannot be fetched from the Hugging Face hub ({type(error).__name__})."


def _delay(error: Exception) -> str:
    seconds = error.response.headers.get("Retry-After", "")  # type: ignore[attr-defined]
    return f" for {int(seconds):,} seconds" if seconds.isdigit() and len(seconds) < 7 else ""


def _status(error: BaseException | None) -> int | None:
    """The HTTP status of an error, or of what caused it."""
    for _ in range(5):
        status = getattr(getattr(error, "response", None), "status_code", None)
        if isinstance(status, int):
            return status
        error = error.__cause__ if error is not None else None
    return None


def _is_http(error: BaseException | None) -> bool:
    """Whether the network or the hub failed, not Xet or the disk."""
    for _ in range(5):
        module = type(error).__module__.partition(".")[0]
        if module.startswith(("httpx", "httpcore", "requests", "urllib3", "socket", "ssl")):
            return True
        if isinstance(error, ConnectionError | TimeoutError) or _status(error) is not None:
            return True
        if isinstance(error, OSError) and "Consistency check" in str(error):
            return True
        error = error.__cause__ or error.__context__ if error is not None else None
    return False


def _may_succeed(error: Exception) -> bool:
    """Whether trying again may help: not where the hub refuses, or the disk is full."""
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return False
    return _status(error) is None  # the library has tried again at 5xx


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"
