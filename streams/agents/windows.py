"""The base windows of one model in order: found by time, looked at when due."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator
from heapq import heapify, heappop, heappush

from streams.agents.merging import Window

Key = tuple[str, int]
"""(slice, window start)"""


class Windows:
    """Index of windows by slice and start, and by the event time at which each is due.

    Parameters
    ----------
    windows
        The windows themselves, part of the judge's state; the index is made from them.
    """

    def __init__(self, windows: dict[Key, Window]) -> None:
        self._windows = windows
        self._starts: dict[str, list[int]] = {}
        self._longest_ms = 0
        for key, window in sorted(windows.items()):
            self._starts.setdefault(key[0], []).append(key[1])
            self._longest_ms = max(self._longest_ms, window.end - key[1])
        self._due = [(window.due, key) for key, window in windows.items()]
        heapify(self._due)

    def __getitem__(self, key: Key) -> Window:
        return self._windows[key]

    def get(self, key: Key) -> Window | None:
        """Return a window, None when it is not kept."""
        return self._windows.get(key)

    def add(self, key: Key, window: Window) -> None:
        """Keep one more window."""
        self._windows[key] = window
        insort(self._starts.setdefault(key[0], []), key[1])
        self._longest_ms = max(self._longest_ms, window.end - key[1])
        heappush(self._due, (window.due, key))

    def resize(self, key: Key) -> None:
        """Take note that a window has become longer; one that was not judged is due at its new end."""
        window = self._windows[key]
        self._longest_ms = max(self._longest_ms, window.end - key[1])
        if not window.judged:
            self.schedule(key, window.end)

    def schedule(self, key: Key, due: int) -> None:
        """Have a window looked at when this event time has passed, and not before."""
        window = self._windows[key]
        if due != window.due:
            window.due = due
            heappush(self._due, (due, key))

    def take_due(self, joint: int) -> list[Key]:
        """Return the windows due by now; each is to be scheduled again or dropped."""
        keys: dict[Key, None] = {}
        while self._due and self._due[0][0] <= joint:
            due, key = heappop(self._due)
            window = self._windows.get(key)
            if window is not None and window.due == due:
                keys[key] = None
        return list(keys)

    def drop(self, key: Key) -> None:
        """Forget a window."""
        del self._windows[key]
        starts = self._starts[key[0]]
        del starts[bisect_left(starts, key[1])]
        if not starts:
            del self._starts[key[0]]

    def between(self, slice_: str, start: int, end: int) -> Iterator[tuple[Key, Window]]:
        """Yield the windows that start in [start, end), in order."""
        starts = self._starts.get(slice_, [])
        for each in starts[bisect_left(starts, start) : bisect_left(starts, end)]:
            yield (slice_, each), self._windows[slice_, each]

    def slices(self) -> list[str]:
        """Return the slices that have windows."""
        return list(self._starts)

    def around(self, slice_: str, start: int, end: int) -> Iterator[tuple[Key, Window]]:
        """Yield the windows that share event time with [start, end), in order."""
        for key, window in self.between(slice_, start - self._longest_ms + 1, end):
            if window.end > start:
                yield key, window

    def at(self, time_ms: int) -> Iterator[Key]:
        """Yield the window of every slice that holds an event time."""
        for slice_, starts in self._starts.items():
            index = bisect_right(starts, time_ms) - 1
            if index >= 0 and time_ms < self._windows[slice_, starts[index]].end:
                yield slice_, starts[index]

    def oldest(self) -> int | None:
        """Return the start of the oldest window."""
        return min((starts[0] for starts in self._starts.values()), default=None)

    def newest(self) -> Window | None:
        """Return a window with the newest start."""
        last = max(((starts[-1], slice_) for slice_, starts in self._starts.items()), default=None)
        return None if last is None else self._windows[last[1], last[0]]

    def pairs(self) -> set[str]:
        """Return the baselines windows were counted under."""
        return {pair[0] for window in self._windows.values() for pair in window.pairs}
