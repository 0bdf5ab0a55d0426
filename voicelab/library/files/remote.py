"""Audio files shared by several replicas: any file system of fsspec, with local copies.

A file is written locally, then uploaded, and only then a record refers to it. Files that are read
are downloaded once; a file never changes under its name, so that a copy is never outdated.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import time
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname
from uuid import uuid4

from voicelab.audio import half_written
from voicelab.errors import NotFound, StorageError, storage_error
from voicelab.library.files.local import CLIPS, GONE, TAKES, AudioFile, Files, by_folder

__all__ = ["RemoteFiles", "open_files"]

log = logging.getLogger(__name__)

COPIES = "audio"
"""Folder of the local copies in the data folder."""

IN_USE_S = 3600
"""Copies used within so many seconds are not pruned, as they may be about to be opened."""

ATOMIC = frozenset(("s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "memory"))
"""Protocols whose uploads are atomic."""

INCOMPLETE_URL = re.compile("[a-z0-9]{2,}:")
"""A URL that lacks its slashes; neither a folder nor a drive."""

TEMPORARY = re.compile(r"/\.[^/]+\.tmp$")

UNREACHABLE = "The audio store cannot be reached, or refuses: nothing was saved there. Try again."


def open_files(
    data_dir: Path, url: str | None = None, min_free_mb: int = 0, cache_mb: int = 500
) -> Files:
    """The audio files of a lab.

    Args:
        data_dir: the data folder.
        url: where audio is: a folder, file://, s3:// or another of fsspec's; the data folder
            when None. A folder is used as it is, without copies.
        min_free_mb: see `Files`.
        cache_mb: limit of the local copies that are not in use, in MiB.

    Raises:
        StorageError: it cannot be used; the message does not have the URL.
    """
    if url is None:
        return Files(data_dir, min_free_mb)
    if "://" not in url and not INCOMPLETE_URL.match(url):
        return Files(Path(url), min_free_mb, data_dir)
    if url.startswith(("file://", "local://")):
        return Files(Path(url2pathname(urlsplit(url).path)), min_free_mb, data_dir)
    return RemoteFiles(url, data_dir, min_free_mb, cache_mb << 20)


class RemoteFiles(Files):
    """Takes and voice clips in a file system of fsspec.

    Args:
        url: of their folder, such as s3://bucket/folder.
        home: the data folder, for the copies.
        min_free_mb: takes are refused when less is free on its disk, in MiB.
        max_bytes: limit of the copies that are not in use.

    Raises:
        StorageError: from every method: the file system is unreachable; from the constructor also
            when the package for its protocol is not installed.
    """

    _elsewhere = "--data-dir"
    """The local copies are in the data folder."""

    def __init__(self, url: str, home: Path, min_free_mb: int = 0, max_bytes: int = 0):
        super().__init__(home / COPIES, min_free_mb, home)
        from fsspec.core import url_to_fs  # start-up time: 60 ms, and only remote files need it

        try:
            if not urlsplit(url).netloc:
                raise ValueError("it names no place")
            self._system, self._base = url_to_fs(url)
        except Exception:  # of some forty libraries; the URL, and their words, may hold a password
            raise StorageError(
                f"Audio at {url.partition(':')[0][:20]}:// cannot be used: check the URL, and what "
                "it needs (s3:// the extra 's3')."
            ) from None
        self._is_whole = url.partition(":")[0] in ATOMIC
        self._max_bytes = max_bytes

    def path(self, relative: str) -> Path:
        """See `Files.path`: the copy, fetched when there is none."""
        path = (self.root / relative).resolve()
        if not relative or not path.is_relative_to(self.root):
            raise NotFound(GONE)
        try:
            os.utime(path)  # used now: not to be pruned
        except FileNotFoundError:
            self._download(relative, path)
        return path

    def publish(self, relative: str) -> None:
        """See `Files.publish`."""
        path, remote = self.target(relative), self._remote_path(relative)
        try:
            with _translated_errors():
                self._upload(path, remote)
                if self._info(remote)["size"] != path.stat().st_size:
                    raise StorageError("The audio store did not keep the whole file. Try again.")
        except BaseException:
            path.unlink(missing_ok=True)
            raise

    def refresh(self, relative: str) -> bool:
        """See `Files.refresh`: object stores know no other way than to write it again."""
        return False

    def delete(self, relative: str | None) -> int:
        """See `Files.delete`."""
        if not relative:
            return 0
        super().delete(relative)
        try:
            remote = self._remote_path(relative)
            size = self._info(remote)["size"]
            self._system.rm_file(remote)
        except FileNotFoundError:
            return 0
        except Exception:  # the record is gone, so the sweep will take it
            log.warning("%s could not be removed", relative, exc_info=True)
            return 0
        return size

    def exists(self, relative: str | None) -> bool:
        """See `Files.exists`; what cannot be asked is not said to be gone."""
        if not relative:
            return False
        try:
            with _translated_errors():
                return self._info(self._remote_path(relative))["type"] == "file"
        except NotFound:
            return False

    def folder_bytes(self, audio: Iterable[AudioFile]) -> dict[str, int]:
        """See `Files.folder_bytes`; the copies count as cache."""
        found = {"": 0, "cache": 0, "profiles": 0}
        for folder, _, names in os.walk(self._home):
            top = "cache" if Path(folder) != self._home else ""
            for name in names:
                with contextlib.suppress(OSError):
                    found[top] += os.lstat(Path(folder, name)).st_size
        found |= by_folder(audio)
        for _, info in self._listed("profiles"):
            found["profiles"] += info["size"]
        return found

    def audio_files(self, folders: Sequence[str] = (TAKES, CLIPS)) -> Iterator[AudioFile]:
        """See `Files.audio_files`."""
        for folder in folders:
            for name, info in self._listed(folder):
                if not PurePosixPath(name).name.startswith("."):
                    yield f"{folder}/{name}", info["size"], _changed(info)

    def sweep_temporary(self, min_age_s: float = 0) -> int:
        """See `Files.sweep_temporary`; there, what is younger than an hour is left alone."""
        swept = super().sweep_temporary(min_age_s)
        if self._is_whole:
            return swept
        limit = time.time() - max(min_age_s, IN_USE_S)
        for name, info in self._listed(""):
            if TEMPORARY.search(name) and _changed(info) < limit:
                with _translated_errors():
                    self._system.rm_file(self._remote_path(name))
                swept += 1
        return swept

    def prune(self) -> None:
        """Remove copies, the least recently used first, down to the limit."""
        copies = []
        for path in self.root.rglob("*"):
            with contextlib.suppress(OSError):
                if path.is_file():
                    copies.append((path.stat().st_mtime, path.stat().st_size, path))
        total, limit = sum(size for _, size, _ in copies), time.time() - IN_USE_S
        for used, size, path in sorted(copies):
            if total <= self._max_bytes or used > limit:
                return
            with contextlib.suppress(OSError):
                path.unlink()
                total -= size

    def _download(self, relative: str, path: Path) -> None:
        temporary = half_written(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with _translated_errors():
                self._system.get_file(self._remote_path(relative), str(temporary))
            temporary.replace(path)
        except OSError as error:
            raise storage_error(error) from error
        finally:
            temporary.unlink(missing_ok=True)

    def _upload(self, path: Path, remote: str) -> None:
        if self._is_whole:
            self._system.put_file(str(path), remote)
            return
        folder, name = remote.rsplit("/", 1)
        temporary = f"{folder}/.{name}.{uuid4().hex}.tmp"
        self._system.makedirs(folder, exist_ok=True)
        try:
            self._system.put_file(str(path), temporary)
            self._system.mv(temporary, remote)
        except BaseException:
            with contextlib.suppress(Exception):  # what cannot be reached now, the sweep will take
                self._system.rm_file(temporary)
            raise

    def _remote_path(self, relative: str) -> str:
        if ".." in PurePosixPath(relative).parts or relative.startswith("/"):
            raise NotFound(GONE)
        return f"{self._base.rstrip('/')}/{relative}"

    def _info(self, remote: str) -> dict[str, Any]:
        self._system.invalidate_cache()  # other replicas change what is there
        return self._system.info(remote)

    def _listed(self, folder: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """(path below `folder`, facts) of each file."""
        location = f"{self._base.rstrip('/')}/{folder}".rstrip("/")
        try:
            with _translated_errors():
                self._system.invalidate_cache()
                found: dict[str, Any] = self._system.find(location, detail=True)  # type: ignore
        except NotFound:
            return
        for name, info in found.items():
            yield name.removeprefix(location).lstrip("/"), info


@contextlib.contextmanager
def _translated_errors() -> Iterator[None]:
    """Translates the errors of the file system's library to ours."""
    try:
        yield
    except StorageError:
        raise
    except FileNotFoundError as error:
        raise NotFound(GONE) from error
    except NotFound:
        raise
    except Exception as error:
        raise StorageError(UNREACHABLE) from error


def _changed(info: dict[str, Any]) -> float:
    """Unix time of the last change; the present when the file system has none."""
    names = ("mtime", "LastModified", "last_modified", "updated", "created")
    value = next((info[name] for name in names if info.get(name)), None)
    if isinstance(value, str):
        value = datetime.fromisoformat(value)
    if isinstance(value, datetime):
        return value.timestamp()
    return time.time() if value is None else float(value)
