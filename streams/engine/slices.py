"""Long work in short slices, so that heartbeats, timers and pages never wait for it."""

from __future__ import annotations

import asyncio
import time

from schemas.records import Record

SLICE_S = 0.02
MIN_BYTES = 32_000
"""A slice of records is at least this long: many short ones at once cost a fraction of one by one."""


class Slices:
    """Lets the event loop run whenever a slice of time is used up."""

    def __init__(self) -> None:
        self._since = time.perf_counter()

    async def turn(self) -> None:
        """Call between two pieces of work."""
        if time.perf_counter() - self._since >= SLICE_S:
            await asyncio.sleep(0)
            self._since = time.perf_counter()


class Pace:
    """How many records fill a slice, learned from what the last ones cost."""

    def __init__(self) -> None:
        self._record_s = 0.001

    def n_records(self, first: Record) -> int:
        """Return how many records, the first of which is given, to take at once: one at least."""
        return max(1, int(SLICE_S / self._record_s), MIN_BYTES // (len(first.value or b"") + 1))

    def spent(self, n_records: int, seconds: float) -> None:
        """Learn from a slice."""
        self._record_s = max(1e-7, (self._record_s + seconds / n_records) / 2)
