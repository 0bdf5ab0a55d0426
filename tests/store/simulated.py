"""A disk that can lose its power: the store's system calls over a dictionary.

What was written is read back at once, as from a page cache. What survives a cut is what was synced
and, drawn from the seed, none, a prefix, any subset, all but one or all of the rest: writes torn
at 512 bytes, changes of the directory kept or lost each for itself until `sync_folder`.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import TypeVar

from voicelab.store.journal.system import Identity, System

__all__ = ["FOLDER", "PowerCut", "SimulatedSystem"]

FOLDER = Path("/simulated")
SECTOR_BYTES = 512

T = TypeVar("T")
Hook = Callable[[str, str], None]


class PowerCut(BaseException):
    """The power is gone: this call and every later one of the system raises it."""


@dataclass
class Inode:
    """A file's bytes: as read now, as on the platter, and the changes between the two."""

    content: bytearray = field(default_factory=bytearray)
    platter: bytearray = field(default_factory=bytearray)
    pending: list[tuple[int, bytes | None]] = field(default_factory=list)

    def change(self, offset: int, content: bytes | None) -> None:
        """Write at an offset; None cuts the file there."""
        self.pending.append((offset, content))
        put(self.content, offset, content)

    def sync(self) -> None:
        """All that was changed is on the platter."""
        for offset, content in self.pending:
            put(self.platter, offset, content)
        self.pending.clear()

    def forget(self) -> None:
        """A sync that failed: the pages count as clean, and the platter never gets them."""
        self.pending.clear()

    def survivor(self, draw: Random) -> bytearray:
        """What a cut leaves."""
        left = bytearray(self.platter)
        pieces = [piece for change in self.pending for piece in sectors(*change)]
        for offset, content in kept(pieces, draw):
            put(left, offset, content)
        if draw.random() < 0.2 and len(left) < len(self.content):
            left.extend(bytes(len(self.content) - len(left)))  # the size came, the bytes did not
        return left


def put(content: bytearray, offset: int, new: bytes | None) -> None:
    """One change to a file's bytes; a gap is zeros."""
    if len(content) < offset:
        content.extend(bytes(offset - len(content)))
    if new is None:
        del content[offset:]
    else:
        content[offset : offset + len(new)] = new


def sectors(offset: int, content: bytes | None) -> list[tuple[int, bytes | None]]:
    """A change in the parts that a disk takes whole."""
    if content is None:
        return [(offset, None)]
    parts: list[tuple[int, bytes | None]] = []
    start = 0
    while start < len(content):
        end = start + SECTOR_BYTES - (offset + start) % SECTOR_BYTES
        parts.append((offset + start, content[start:end]))
        start = end
    return parts


def kept(changes: list[T], draw: Random) -> list[T]:
    """None, a prefix, any subset, all but one, or all."""
    how = draw.randrange(5)
    if how == 0:
        return []
    if how == 1:
        return changes[: draw.randint(0, len(changes))]
    if how == 2:
        chance = draw.random()
        return [change for change in changes if draw.random() < chance]
    if how == 3 and changes:
        lost = draw.randrange(len(changes))
        return changes[:lost] + changes[lost + 1 :]
    return changes


class SimulatedSystem(System):
    """One folder.

    Args:
        draw: where every loss comes from.
        files: what is on the platter at the start.

    Attributes:
        calls: how many were made.
        cut_after: the power goes when this many were made; None for never.
        hook: called before each call with its name and the file's; what it raises is the result.
        log: the calls made.
    """

    def __init__(self, draw: Random, files: Mapping[str, bytes] | None = None):
        self.draw = draw
        self.calls = 0
        self.cut_after: int | None = None
        self.hook: Hook | None = None
        self.log: list[tuple[str, str]] = []
        self.dead = False
        self._live: dict[str, Inode] = {}
        for name, content in (files or {}).items():
            self._live[name] = Inode(bytearray(content), bytearray(content))
        self._platter = dict(self._live)
        self._pending: list[tuple[str, str | None, Inode | None]] = []
        self._open: dict[int, tuple[str, Inode]] = {}
        self._next = 1000

    # What a test does to it

    def cut(self) -> SimulatedSystem:
        """The disk after the power came back; this one is dead."""
        self.dead = True
        names = dict(self._platter)
        for name, target, inode in kept(self._pending, self.draw):
            move(names, name, target, inode)
        content = {name: bytes(inode.survivor(self.draw)) for name, inode in names.items()}
        return type(self)(self.draw, content)

    def kill(self) -> SimulatedSystem:
        """The same disk under a new process: nothing is lost yet, nothing more is synced."""
        self.dead = True
        after = type(self)(self.draw)
        state = (self._live, self._platter, self._pending)
        after._live, after._platter, after._pending = deepcopy(state)
        return after

    @property
    def files(self) -> dict[str, bytes]:
        """Name -> content, as read now."""
        return {name: bytes(inode.content) for name, inode in self._live.items()}

    # What the store calls

    def names(self, folder: Path) -> list[str]:
        self._enter("names", "")
        return self._done(list(self._live))

    def read(self, path: Path) -> bytes:
        self._enter("read", path.name)
        return self._done(bytes(self._found(path).content))

    def identity(self, file: Path | int) -> Identity:
        if self.dead:
            raise PowerCut
        inode = self._opened(file)[1] if isinstance(file, int) else self._found(file)
        return 0, id(inode)

    def create(self, path: Path) -> int:
        self._enter("create", path.name)
        inode = self._live.get(path.name)
        if inode is None:
            inode = self._live[path.name] = Inode()
            self._pending.append((path.name, None, inode))
        elif inode.content:
            inode.change(0, None)
        self._next += 1
        self._open[self._next] = (path.name, inode)
        return self._done(self._next)

    def open(self, path: Path) -> int:
        self._enter("open", path.name)
        inode = self._found(path)
        self._next += 1
        self._open[self._next] = (path.name, inode)
        return self._done(self._next)

    def write(self, descriptor: int, content: bytes, offset: int) -> None:
        name, inode = self._opened(descriptor)
        content = bytes(content)
        try:
            self._enter("write", name)
        except OSError:
            if part := content[: self.draw.randint(0, len(content))]:
                inode.change(offset, part)
            raise
        inode.change(offset, content)
        self._done(None)

    def truncate(self, descriptor: int, size_bytes: int) -> None:
        name, inode = self._opened(descriptor)
        self._enter("truncate", name)
        inode.change(size_bytes, None)
        self._done(None)

    def sync(self, descriptor: int) -> None:
        name, inode = self._opened(descriptor)
        try:
            self._enter("sync", name)
        except OSError:
            inode.forget()
            raise
        inode.sync()
        self._done(None)

    def close(self, descriptor: int) -> None:
        name, _ = self._opened(descriptor)
        del self._open[descriptor]
        self._enter("close", name)
        self._done(None)

    def replace(self, source: Path, target: Path) -> None:
        self._enter("replace", target.name)
        inode = self._found(source)
        self._pending.append((source.name, target.name, inode))
        for number, (_, opened) in self._open.items():
            if opened is inode:
                self._open[number] = (target.name, inode)
        move(self._live, source.name, target.name, inode)
        self._done(None)

    def remove(self, path: Path) -> None:
        self._enter("remove", path.name)
        self._found(path)
        self._pending.append((path.name, None, None))
        move(self._live, path.name, None, None)
        self._done(None)

    def sync_folder(self, folder: Path) -> None:
        self._enter("sync_folder", "")
        for change in self._pending:
            move(self._platter, *change)
        self._pending.clear()
        self._done(None)

    def _enter(self, call: str, name: str) -> None:
        if self.dead:
            raise PowerCut
        self.calls += 1
        self.log.append((call, name))
        if self.hook is not None:
            self.hook(call, name)
            if self.dead:
                raise PowerCut

    def _done(self, result: T) -> T:
        if self.cut_after is not None and self.calls >= self.cut_after:
            self.dead = True
            raise PowerCut
        return result

    def _found(self, path: Path) -> Inode:
        if path.name not in self._live:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
        return self._live[path.name]

    def _opened(self, descriptor: int) -> tuple[str, Inode]:
        if self.dead:
            raise PowerCut
        if descriptor not in self._open:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        return self._open[descriptor]


def move(names: dict[str, Inode], name: str, target: str | None, inode: Inode | None) -> None:
    """One change of a directory: made (no target), renamed, or removed (no inode)."""
    if inode is None or target is not None:
        names.pop(name, None)
    if inode is not None:
        names[target or name] = inode
