"""What all sources have counted of one window: cumulative parts, and their sum."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from detectors import profile
from schemas.codec import decode_counts, encode_counts
from schemas.evidence import WindowCounts
from streams.agents.sources import Source
from streams.agents.tally import LATE_PART

MAX_VERSIONS = 64
OTHER = "other"
"""Stands for the versions of a window beyond `MAX_VERSIONS`."""

PartKey = tuple[str, str, int]
"""(source, version, part)"""
Pair = tuple[str, int]
"""(baseline_id, monitor_version)"""


class Part(msgspec.Struct, array_like=True):
    """What one source counted of one window, valid below `position`.

    Until the part is settled the window's total lacks it, but holds `before`: the counts it replaces.
    """

    position: int
    rows: int
    late_rows: int
    counts: bytes
    unseen: profile.Unseen
    settled: bool = False
    before: bytes = b""


class Window(msgspec.Struct, array_like=True):
    """A base window of one slice.

    A part is kept as long as its source may still correct it; then it lives in the sums alone. So the
    state does not grow with sources, and merging costs what has changed: a correction adds the
    difference, which is exact, because all of it is integers.

    Attributes
    ----------
    due
        Event time at which the window is looked at next: its end, a later look, or the time to forget it.
    n_counted
        Grows with every part that changes, also where a window's counts come in several.
    totals
        Encoded sum by part of the layout.
    versions
        Rows by model version; those beyond `MAX_VERSIONS` count as `OTHER`.
    pairs
        Baselines and monitor versions its rows were counted under; several make it mixed.
    overlaps
        Whether another window counted under another pair shares event time with it.
    emitted
        Revision published by scale, of windows that end with this one.
    refused
        How many windows had counts that came too late for the judge, told with this window.
    """

    end: int
    closes: int
    accepts: int
    forget: int
    due: int
    pairs: list[Pair]
    judged: bool = False
    overlaps: bool = False
    rows: int = 0
    late_rows: int = 0
    n_counted: int = 0
    unknown_features: int = 0
    refused: int = 0
    versions: dict[str, int] = {}
    parts: dict[PartKey, Part] = {}
    totals: dict[int, bytes] = {}
    unseen: profile.Unseen = {}
    emitted: dict[int, int] = {}
    notes: list[str] = []

    @property
    def pair(self) -> Pair:
        """The newest baseline and monitor version its rows were counted under."""
        return self.pairs[-1]

    @property
    def mixed(self) -> bool:
        """Whether versions of baseline or monitor met in it."""
        return self.overlaps or len(self.pairs) > 1

    @property
    def version(self) -> str:
        """The model version most of the rows are of; of equals the last by name."""
        return max(self.versions, key=lambda v: (self.versions[v], v), default="")

    def is_new(self, name: str, source: Source, position: int, counts: WindowCounts) -> bool:
        """Tell whether a source says anything of the window that is not known.

        Counts never shrink: fewer rows than known come from a source that has lost its state, and what
        was known stays.
        """
        if counts.part != LATE_PART and self.closes <= source.final:
            return False  # it was said for good
        known = self.parts.get((name, counts.version, counts.part))
        if known is None:
            return True
        if known.position > position or known.rows > counts.rows or known.late_rows > counts.late_rows:
            return False
        return (known.rows, known.late_rows) != (counts.rows, counts.late_rows)

    def merge(self, name: str, position: int, counts: WindowCounts) -> None:
        """Put in what is new of a source."""
        key = (name, counts.version, counts.part)
        known = self.parts.get(key)
        settled = counts.part == LATE_PART
        part = Part(position, counts.rows, counts.late_rows, counts.counts, counts.unseen, settled)
        rows, late_rows = part.rows, part.late_rows
        if known is not None:
            rows, late_rows = rows - known.rows, late_rows - known.late_rows
            part.before = known.counts if known.settled else known.before
        self.parts[key] = part
        self.n_counted += rows + late_rows
        self.late_rows += late_rows
        if counts.part == 0:
            self.rows += rows
            self.unknown_features = max(self.unknown_features, counts.unknown_features)
            version = counts.version
            if version not in self.versions and len(self.versions) >= MAX_VERSIONS:
                version = OTHER
            self.versions[version] = self.versions.get(version, 0) + rows

    def retell(self, *, base: bool) -> bool:
        """Let published results be published again at the same revision; return whether there are any.

        Parameters
        ----------
        base
            Also the result of the window itself, not only of those merged from several.
        """
        again = [scale for scale in self.emitted if base or scale > 1]
        for scale in again:
            self.emitted[scale] -= 1
        return bool(again)

    def settle(self, sources: Mapping[str, Source]) -> None:
        """Bring the totals up to date, and let go of parts their sources can no longer correct."""
        self._add_differences()
        for key, part in list(self.parts.items()):
            source = sources.get(key[0])
            if key[2] != LATE_PART and source is not None and source.final >= self.closes:
                del self.parts[key]
                if part.unseen:
                    self.unseen = profile.merge_unseen(self.unseen, part.unseen)

    def _add_differences(self) -> None:
        changed: dict[int, list[Part]] = {}
        for (_, _, index), part in self.parts.items():
            if not part.settled:
                changed.setdefault(index, []).append(part)
        for index, several in changed.items():
            if index not in self.totals and len(several) == 1:
                self.totals[index] = several[0].counts
            else:
                self.totals[index] = encode_counts(self._sum(index, several))
            for part in several:
                part.settled, part.before = True, b""

    def _sum(self, index: int, several: Iterable[Part]) -> NDArray[np.int64]:
        known = self.totals.get(index)
        total = None if known is None else decode_counts(known)
        for part in several:
            counts = decode_counts(part.counts)
            total = counts if total is None else np.add(total, counts, out=total)
            if part.before:
                total -= decode_counts(part.before)
        assert total is not None, "there is at least one part"
        return total

    def add_to(self, total: NDArray[np.int64], ranges: Sequence[slice]) -> None:
        """Add the window's counts to a vector of the whole layout."""
        for index, counts in self.totals.items():
            total[ranges[index]] += decode_counts(counts)

    def unseen_levels(self) -> profile.Unseen:
        """Return the unseen levels of all parts."""
        found = self.unseen
        for part in self.parts.values():
            if part.unseen:
                found = profile.merge_unseen(found, part.unseen)
        return found
