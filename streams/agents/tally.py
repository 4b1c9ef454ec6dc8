"""The counts of one window at one source, and what of them stands in evidence and snapshots."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import numpy as np
from numpy.typing import NDArray

from detectors import profile
from detectors.layout import Layout
from schemas.codec import decode_counts, encode_counts
from schemas.columns import Batch
from schemas.evidence import WindowCounts
from streams.agents.vectors import parts

LATE_PART = -1
NEVER = 1 << 62
"""A boundary nobody waits for."""
OTHER_VERSIONS = "(other)"
"""Stands for the versions of a window beyond the limit."""


class Key(msgspec.Struct, frozen=True, array_like=True):
    """Identity of a window's counts at one source."""

    version: str
    slice: str
    window_start: int
    baseline_id: str
    monitor_version: int


class TallyState(msgspec.Struct, array_like=True):
    """A tally as it stands in a snapshot."""

    key: Key
    end: int
    closes: int
    rows: int
    late_rows: int
    unknown_features: int
    counts: bytes
    unseen: dict[str, dict[str, int]]
    first_ms: int | None = None
    dirty: bool = True


class Tally:
    """The counts of one window: None before its first row.

    Attributes
    ----------
    end, closes
        Until when event times belong to it, and the watermark from which on they are late.
    dirty
        Whether the judge has not been told what it holds.
    """

    __slots__ = ("closes", "counts", "dirty", "end", "first_ms", "late_rows", "rows", "unknown_features", "unseen")

    def __init__(self, end: int, closes: int) -> None:
        self.end, self.closes = end, closes
        self.rows, self.late_rows, self.unknown_features = 0, 0, 0
        self.first_ms: int | None = None
        self.counts: NDArray[np.int64] | None = None
        self.unseen: profile.Unseen = {}
        self.dirty = False

    def add(self, layout: Layout, batch: Batch, hidden: frozenset[str]) -> int:
        """Count rows, keeping no unseen level of `hidden` features; return how many such levels found no room."""
        if self.counts is None:
            self.counts = layout.zeros()
        n_rows = len(batch.times)
        profile.add(layout, self.counts, batch.columns, n_rows)
        self.rows += n_rows
        earliest = int(batch.times.min())
        self.first_ms = earliest if self.first_ms is None else min(self.first_ms, earliest)
        self.unknown_features = max(self.unknown_features, profile.unknown_features(layout, batch.columns))
        unseen = profile.unseen_levels(layout, batch.columns)
        if unseen := {name: levels for name, levels in unseen.items() if name not in hidden}:
            given = sum(len(levels.keys() - self.unseen.get(name, {}).keys()) for name, levels in unseen.items())
            before = sum(map(len, self.unseen.values()))
            self.unseen = profile.merge_unseen(self.unseen, unseen)
            return given + before - sum(map(len, self.unseen.values()))
        return 0

    def next_after(self, told: int) -> int:
        """Return its first boundary that a watermark `told` has not passed; its end when it has changed since."""
        if self.dirty or self.end > told:
            return self.end
        return self.closes if self.closes > told else NEVER

    def told(self, key: Key, layout: Layout) -> Iterator[WindowCounts]:
        """Yield what the judge is to know of the window, part by part."""
        if self.counts is not None and self.rows:
            for index, part in enumerate(parts(layout)):
                first = index == 0
                yield WindowCounts(
                    key.version, key.slice, key.window_start, key.baseline_id, key.monitor_version,
                    index, self.rows, 0, encode_counts(self.counts[part]),
                    self.unseen if first else {}, self.unknown_features if first else 0,
                    self.first_ms if first else None,
                )  # fmt: skip
        if self.late_rows:
            yield WindowCounts(
                key.version, key.slice, key.window_start, key.baseline_id, key.monitor_version,
                LATE_PART, 0, self.late_rows, b"",
            )  # fmt: skip

    def snapshot(self, key: Key) -> TallyState:
        """Return the tally's state."""
        counts = b"" if self.counts is None else encode_counts(self.counts)
        return TallyState(
            key, self.end, self.closes, self.rows, self.late_rows, self.unknown_features, counts,
            self.unseen, self.first_ms, self.dirty,
        )  # fmt: skip

    @classmethod
    def restore(cls, state: TallyState) -> Tally:
        """Return the tally of a snapshot."""
        tally = cls(state.end, state.closes)
        tally.rows, tally.late_rows, tally.unknown_features = state.rows, state.late_rows, state.unknown_features
        tally.counts = decode_counts(state.counts) if state.counts else None
        tally.unseen, tally.first_ms, tally.dirty = state.unseen, state.first_ms, state.dirty
        return tally
