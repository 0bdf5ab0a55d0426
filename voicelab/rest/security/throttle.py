"""A limit for wrong keys: ten a minute from one address."""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Callable
from math import ceil

from voicelab.errors import TooManyAttempts

__all__ = ["Throttle"]

ATTEMPTS = 10
WINDOW_S = 60.0
ADDRESSES = 4096
"""Number of addresses remembered; the one with the oldest failure is dropped first."""


class Throttle:
    """Counts wrong keys by address. Used on the event loop only.

    Args:
        clock: monotonic time in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self._clock = clock
        self._failures: OrderedDict[str, deque[float]] = OrderedDict()

    def check(self, address: str) -> None:
        """Called before a key is compared, the right one too: else guessing would continue.

        Raises:
            TooManyAttempts: ATTEMPTS wrong keys came from the address within WINDOW_S seconds.
        """
        failures = self._failures.get(address)
        if failures is None or len(failures) < ATTEMPTS:
            return
        wait_s = failures[0] + WINDOW_S - self._clock()
        if wait_s > 0:
            raise TooManyAttempts(
                f"Too many wrong keys came from this address; try again in {ceil(wait_s)} s.",
                retry_after_s=ceil(wait_s),
            )

    def fail(self, address: str) -> None:
        """Count a wrong key."""
        failures = self._failures.setdefault(address, deque(maxlen=ATTEMPTS))
        failures.append(self._clock())
        self._failures.move_to_end(address)
        if len(self._failures) > ADDRESSES:
            self._failures.popitem(last=False)
