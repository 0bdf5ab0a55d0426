"""What is done when the disk is full: others make room, and what frees some gets the reserve."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from voicelab.errors import StoreFull
from voicelab.store.journal.system import System

__all__ = ["MakeRoom", "Room"]

log = logging.getLogger(__name__)

T = TypeVar("T")
MakeRoom = Callable[[], int]
"""Drops what can be done without; the bytes that are free now."""

AGAIN_S = 5.0
"""Between two tries to have the reserve again: what is deleted meanwhile may need it."""

FULL = "The disk is full: nothing new is saved. Delete takes, or free some space elsewhere."


class Room:
    """A file of nothing beside the journal, given up when deletions would find no room else.

    Args:
        system: makes the calls.
        path: of the base file.
        reserve_bytes: of the file; 0 for none.
        make_room: asked first, whoever needs room.
    """

    def __init__(self, system: System, path: Path, reserve_bytes: int, make_room: MakeRoom):
        self._system, self._make_room = system, make_room
        self._path = path.with_name(path.name + ".reserve")
        self._reserve_bytes = reserve_bytes
        self._lock = threading.Lock()
        self._is_held = self._is_full = False
        self._next = float("-inf")

    def tried(self, write: Callable[[], T], frees: bool = False) -> T:
        """What `write` gives, tried again when it finds no room and there is some to be made.

        Args:
            write: leaves nothing when it raises.
            frees: it is a deletion, so that it may have the reserve.

        Raises:
            StoreFull: there is still none; and whatever else `write` raises.
        """
        if self._is_full:
            self.restock()
        makers = [self._ask, self._give_up] if frees else [self._ask]
        while True:
            try:
                return write()
            except StoreFull:
                if not _made(makers):
                    self._is_full = True
                    raise

    def shortage(self) -> str | None:
        """Why nothing but deletions is sure to be written; None as long as there is room."""
        if self._is_full:
            self.restock()
        return FULL if self._is_full else None

    def restock(self) -> None:
        """Have the reserve again, if there is room by now; looked for every few seconds at most."""
        with self._lock:
            moment = time.monotonic()
            if not self._reserve_bytes or moment < self._next:
                return
            self._next = moment + AGAIN_S
            self._is_held = self._is_held or self._is_there()
            # Where it is held, one more beside it tells whether the disk has room.
            target = self._path.with_name(self._path.name + ".tmp") if self._is_held else self._path
            self._is_full = not self._filled(target)
            if self._is_held:
                self._removed(target)
            else:
                self._is_held = not self._is_full

    def _is_there(self) -> bool:
        with contextlib.suppress(OSError):
            return len(self._system.read(self._path)) >= self._reserve_bytes
        return False

    def _filled(self, path: Path) -> bool:
        try:
            descriptor = self._system.create(path)
            try:
                # Not zeros: a file system that compresses would keep no room for them.
                self._system.write(descriptor, os.urandom(self._reserve_bytes), 0)
            finally:
                self._system.close(descriptor)
        except OSError:
            self._removed(path)
            return False
        return True

    def _removed(self, path: Path) -> bool:
        try:
            self._system.remove(path)
        except OSError:
            return False
        return True

    def _ask(self) -> bool:
        freed = self._make_room()
        if freed:
            log.warning("the disk is full: %d bytes of kept chunks were dropped", freed)
        return freed > 0

    def _give_up(self) -> bool:
        with self._lock:
            held, self._is_held = self._is_held, False
            self._is_full, self._next = True, time.monotonic() + AGAIN_S
            return self._removed(self._path) and held


def _made(makers: list[Callable[[], bool]]) -> bool:
    """Whether one of those not asked yet has made room."""
    while makers:
        if makers.pop(0)():
            return True
    return False
