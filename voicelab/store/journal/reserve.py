"""Handling of a full disk: caches are dropped, and deletions may use a reserved file's space."""

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

__all__ = ["MakeRoom", "DiskReserve"]

log = logging.getLogger(__name__)

T = TypeVar("T")
MakeRoom = Callable[[], int]
"""Deletes cached data; returns how many bytes that freed."""

RETRY_S = 5.0
"""Seconds between two attempts to allocate the reserve again."""

FULL = "The disk is full: nothing new is saved. Delete takes, or free some space elsewhere."


class DiskReserve:
    """A preallocated file beside the journal, deleted when deletions need its space.

    Args:
        system: makes the calls.
        path: of the base file.
        reserve_bytes: size of the file; 0 for none.
        make_room: called first when a write finds no space.
    """

    def __init__(self, system: System, path: Path, reserve_bytes: int, make_room: MakeRoom):
        self._system, self._make_room = system, make_room
        self._path = path.with_name(path.name + ".reserve")
        self._reserve_bytes = reserve_bytes
        self._lock = threading.Lock()
        self._is_allocated = self._is_full = False
        self._next_attempt = float("-inf")

    def write_or_make_room(self, write: Callable[[], T], frees: bool = False) -> T:
        """Call `write`, again after each StoreFull for which space could be freed; its result.

        Args:
            write: must leave nothing behind when it raises.
            frees: whether it is a deletion, which may use the reserve.

        Raises:
            StoreFull: no more space could be freed; and whatever else `write` raises.
        """
        if self._is_full:
            self.allocate()
        actions = [self._make_room_once, self._release] if frees else [self._make_room_once]
        while True:
            try:
                return write()
            except StoreFull:
                if not _free_space(actions):
                    self._is_full = True
                    raise

    def shortage(self) -> str | None:
        """A message when only deletions are sure to be written; None while there is space."""
        if self._is_full:
            self.allocate()
        return FULL if self._is_full else None

    def allocate(self) -> None:
        """Create the file again if there is space; tried every RETRY_S seconds at most."""
        with self._lock:
            moment = time.monotonic()
            if not self._reserve_bytes or moment < self._next_attempt:
                return
            self._next_attempt = moment + RETRY_S
            self._is_allocated = self._is_allocated or self._exists()
            # When the reserve exists, a second file tests whether the disk has space.
            target = (
                self._path.with_name(self._path.name + ".tmp") if self._is_allocated else self._path
            )
            self._is_full = not self._try_allocate(target)
            if self._is_allocated:
                self._try_remove(target)
            else:
                self._is_allocated = not self._is_full

    def _exists(self) -> bool:
        with contextlib.suppress(OSError):
            return len(self._system.read(self._path)) >= self._reserve_bytes
        return False

    def _try_allocate(self, path: Path) -> bool:
        try:
            descriptor = self._system.create(path)
            try:
                # Not zeros: a compressing file system would allocate no space for them.
                self._system.write(descriptor, os.urandom(self._reserve_bytes), 0)
            finally:
                self._system.close(descriptor)
        except OSError:
            self._try_remove(path)
            return False
        return True

    def _try_remove(self, path: Path) -> bool:
        try:
            self._system.remove(path)
        except OSError:
            return False
        return True

    def _make_room_once(self) -> bool:
        freed = self._make_room()
        if freed:
            log.warning("the disk is full: %d bytes of kept chunks were dropped", freed)
        return freed > 0

    def _release(self) -> bool:
        with self._lock:
            was_allocated, self._is_allocated = self._is_allocated, False
            self._is_full, self._next_attempt = True, time.monotonic() + RETRY_S
            return self._try_remove(self._path) and was_allocated


def _free_space(actions: list[Callable[[], bool]]) -> bool:
    """Call the remaining functions until one has freed space; whether one has."""
    while actions:
        if actions.pop(0)():
            return True
    return False
