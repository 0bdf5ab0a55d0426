"""A running request and its progress."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

__all__ = ["ACTIVE_STATES", "LiveRequest", "Snapshot"]

ACTIVE_STATES = (
    "initializing",
    "processing_text",
    "chunking",
    "generating_audio",
    "concatenating",
    "finalizing",
)
PREVIEW_CHARS = 100
Snapshot = dict[str, Any]


class Owner(Protocol):
    """What keeps the live requests: `Status`."""

    clock: Callable[[], float]

    def changed(self) -> None:
        """Called after every change of a request."""

    def end(self, live: LiveRequest, error: str | None, cancelled: bool) -> None:
        """Called when a request has ended."""


class LiveRequest:
    """A running request; created by `Status.begin`, ended by `finish`."""

    def __init__(self, status: Owner, request_id: str, text: str, facts: Mapping[str, Any]):
        self.request_id = request_id
        self._owner = status
        self._cancel: Callable[[], None] = lambda: None
        self._interrupt: Callable[[], None] = lambda: None
        self._started_at = status.clock()
        self._text_length = len(text)
        preview = text[:PREVIEW_CHARS]
        self._preview = preview + "..." if len(text) > PREVIEW_CHARS else preview
        self._facts = dict(facts)
        self._state, self._step = "initializing", "Waiting for the engine"
        self._work: list[int] = []
        self._done = 0
        self._speaking_since: float | None = None
        self.ended = False
        self.reason = "cancelled"

    @property
    def queued(self) -> bool:
        """Whether none of its chunks has been given to an engine yet."""
        return self._speaking_since is None

    def now(self) -> float:
        """Unix time in seconds, from the clock used for `estimated_completion`."""
        return self._owner.clock()

    def on_cancel(self, cancel: Callable[[], None]) -> None:
        """Set the function that cancels the work."""
        self._cancel = cancel

    def cancel(self, reason: str = "cancelled") -> None:
        """Cancel the work; `reason` becomes the record's error."""
        self.reason = reason
        self._cancel()

    def on_interrupt(self, interrupt: Callable[[], None]) -> None:
        """Set the function that stops the work when the app ends."""
        self._interrupt = interrupt

    def interrupt(self) -> None:
        """Stop the work because the app ends; returns when it has ended."""
        self._interrupt()

    def step(self, state: str, line: str) -> None:
        """Enter one of ACTIVE_STATES, with a line of text for people."""
        self._state, self._step = state, line
        self._owner.changed()

    def plan(self, chunk_chars: list[int]) -> None:
        """Set the number of characters of each chunk."""
        self._work = chunk_chars

    def speaking(self) -> None:
        """Called when the engine starts with the first chunk."""
        if self._speaking_since is None:
            self._speaking_since = self._owner.clock()
            self._show_chunk()

    def chunk_done(self) -> None:
        """Called for each finished chunk, in order."""
        self._done += 1
        self._show_chunk()

    def finish(self, *, error: str | None = None, cancelled: bool = False, **facts: Any) -> None:
        """End the request; later calls have no effect."""
        if not self.ended:
            self.ended = True
            self._facts.update(facts)
            self._state = "error" if error or cancelled else "completed"
            self._owner.end(self, "cancelled" if cancelled else error, cancelled)

    def progress(self) -> Snapshot:
        """Chunk, number of chunks, step, percentage and estimated completion."""
        total = len(self._work)
        return {
            "current_chunk": min(self._done + 1, total) if not self.queued else 0,
            "total_chunks": total,
            "current_step": self._step,
            "progress_percentage": round(self._percentage(), 1),
            "estimated_completion": self._estimate(),
        }

    def snapshot(self) -> Snapshot:
        """The request as the body of /status."""
        return {
            "status": self._state,
            "is_processing": True,
            "request_id": self.request_id,
            "start_time": self._started_at,
            "duration_seconds": round(self._owner.clock() - self._started_at, 3),
            "text_length": self._text_length,
            "text_preview": self._preview,
            "progress": self.progress(),
            "error_message": None,
            "memory_usage": None,
            **self._facts,
        }

    def _show_chunk(self) -> None:
        total = len(self._work)
        if self._done < total:
            line = f"Generating audio for chunk {self._done + 1}/{total}"
            self.step("generating_audio", line)

    def _percentage(self) -> float:
        if self._state == "completed":
            return 100.0
        total = sum(self._work)
        # 100 is reserved for finished requests: joining and saving come after the last chunk.
        return min(99.9, 100.0 * sum(self._work[: self._done]) / total) if total else 0.0

    def _estimate(self) -> float | None:
        if not self._done or self._speaking_since is None or self.ended:
            return None
        now = self._owner.clock()
        pace = (now - self._speaking_since) / max(1, sum(self._work[: self._done]))
        return round(now + pace * sum(self._work[self._done :]), 3)
