"""What one source has counted for one model: open windows, late rows, unfinished blocks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from detectors import profile
from detectors.blocks import BlockMeans
from detectors.layout import Layout
from detectors.windows import window_end, window_starts
from schemas import evidence
from schemas.arrays import concatenated
from schemas.codec import decode_counts, encode_counts
from schemas.columns import Batch, Times
from schemas.monitors import Monitor
from streams.agents.packing import joined, packed
from streams.agents.vectors import parts
from streams.catalogue import Catalogue, Era

Rows = NDArray[np.bool_]
LATE_PART = -1
KEEP_WINDOWS = 75


class Key(msgspec.Struct, frozen=True, array_like=True):
    """Identity of a window's counts at one source."""

    version: str
    slice: str
    window_start: int
    baseline_id: str
    monitor_version: int


class Window:
    """The counts of one window: None before its first row, and once they were sent for good."""

    def __init__(self, end: int, closes: int, counts: NDArray[np.int64] | None = None) -> None:
        self.end, self.closes = end, closes
        self.rows, self.late_rows = 0, 0
        self.first_ms: int | None = None
        self.unknown_features = 0
        self.counts = counts
        self.unseen: profile.Unseen = {}
        self.dirty = False


class _WindowState(msgspec.Struct, array_like=True):
    key: Key
    end: int
    closes: int
    rows: int
    late_rows: int
    unknown_features: int
    counts: bytes
    unseen: dict[str, dict[str, int]]
    first_ms: int | None = None


class _State(msgspec.Struct, array_like=True):
    watermark: int
    record_time: int
    advanced: int
    announced: bool
    windows: list[_WindowState]
    blocks: list[tuple[str, str, dict[str, tuple[int, int, int]]]]
    next_block: list[tuple[str, str, str, int]]
    lost_from: int | None = None
    lost: tuple[int, int] | None = None


_decode_state = msgspec.msgpack.Decoder(_State).decode


def _sensitive(monitor: Monitor, feature: str) -> bool:
    return feature in monitor.features and monitor.features[feature].sensitive


class Seen(NamedTuple):
    """Rows with the source's watermark before and after each of them."""

    batch: Batch
    before: Times
    after: Times

    def take(self, rows: Rows) -> Seen:
        """Return the rows of a mask."""
        if rows.all():
            return self
        return Seen(self.batch.take(rows), self.before[rows], self.after[rows])


class ModelCounts:
    """State of one (source, model), a function of the source's records below a position.

    Parameters
    ----------
    source
        Name of the source in the evidence.
    idle_keep
        Base windows a closed window stays known, so that rows late for it can be counted.
    """

    def __init__(self, source: str, model: str, catalogue: Catalogue) -> None:
        self._source, self._model, self._catalogue = source, model, catalogue
        self.watermark = -1
        self.record_time = -1
        self.changes = 0
        self._advanced = -1
        self._announced = False
        self._told_idle = False
        self._windows: dict[Key, Window] = {}
        self._means: dict[tuple[str, str], BlockMeans] = {}
        self._next_block: dict[tuple[str, str, str], int] = {}
        self._blocks: list[evidence.Blocks] = []
        self._lost_from: int | None = None
        self._lost: tuple[int, int] | None = None
        self.n_late = 0

    def lose(self) -> None:
        """Take note that records of the source were lost between the last row seen and the next one."""
        if self._lost_from is None:
            self._lost_from = max(0, self.watermark)
            self.changes += 1

    def _miss(self, to_ms: int) -> None:
        """Close the span of event time in which rows may be missing; spans that were not told yet become one."""
        if self._lost_from is not None:
            first, last = self._lost or (self._lost_from, to_ms)
            self._lost = min(first, self._lost_from), max(last, to_ms, self._lost_from)
            self._lost_from = None

    def see(self, batches: Sequence[Batch]) -> Iterator[Seen]:
        """Move the watermark past the rows of several batches, in the order of their offsets.

        How rows were put into batches must not matter, so the watermark runs over all of them by offset.
        """
        times = np.concatenate([batch.times for batch in batches])
        order = np.argsort(np.concatenate([batch.offsets for batch in batches]), kind="stable")
        watermarks: Times = np.maximum.accumulate(np.concatenate(([self.watermark], times[order])))
        before, after = np.empty_like(times), np.empty_like(times)
        before[order], after[order] = watermarks[:-1], watermarks[1:]
        self.watermark = int(watermarks[-1])
        self._miss(self.watermark)
        self.record_time = max([self.record_time, *(int(batch.record_times.max(initial=-1)) for batch in batches)])
        self.changes += 1
        start = 0
        for batch in batches:
            end = start + len(batch.times)
            yield Seen(batch, before[start:end], after[start:end])
            start = end

    def add(self, batches: Sequence[Batch]) -> None:
        """Count the rows of a poll, each under the baseline and monitor effective at its window's start."""
        eras = self._catalogue.eras(self._model)
        if not eras:
            raise LookupError(f"{self._model} is counted and has no baseline in the control topic")
        rows = list(self.see(batches))
        for era in eras:
            on_time = []
            for seen in rows:
                inside = (seen.batch.times >= era.start_ms) & (seen.batch.times < era.end_ms)
                if inside.any():
                    on_time.append(self._add(era, seen.take(inside)))
            if on_time:
                self._add_blocks(era, on_time)

    def _add(self, era: Era, seen: Seen) -> Seen:
        """Count rows of one era in their windows; return those that were not late."""
        batch = seen.batch
        starts = window_starts(batch.times, era.baseline.window_ms, era.monitor.timezone)
        known, which = np.unique(starts, return_inverse=True)
        layout = self._catalogue.layout(era.baseline)
        windows = [self._window(era, batch.version, int(start)) for start in known]
        late = seen.before >= np.array([window.closes for window in windows])[which]
        for index, window in enumerate(windows):
            rows = which == index
            n_late = int((rows & late).sum())
            window.late_rows += n_late
            self.n_late += n_late
            window.dirty = True
            rows &= ~late
            if rows.any():
                self._count(era, window, layout, batch if rows.all() else batch.take(rows))
        return seen.take(~late)

    def _window(self, era: Era, version: str, start: int) -> Window:
        key = Key(version, "", start, era.baseline.baseline_id, era.monitor.monitor_version)
        window = self._windows.get(key)
        if window is None:
            end = window_end(start, era.baseline.window_ms, era.monitor.timezone)
            closes = end + round(era.monitor.lateness_windows * era.baseline.window_ms)
            window = self._windows[key] = Window(end, closes)
        return window

    def _count(self, era: Era, window: Window, layout: Layout, batch: Batch) -> None:
        if window.counts is None:
            window.counts = layout.zeros()
        n_rows = len(batch.times)
        profile.add(layout, window.counts, batch.columns, n_rows)
        window.rows += n_rows
        earliest = int(batch.times.min())
        window.first_ms = earliest if window.first_ms is None else min(window.first_ms, earliest)
        window.unknown_features = max(window.unknown_features, profile.unknown_features(layout, batch.columns))
        unseen = profile.unseen_levels(layout, batch.columns)
        if unseen := {name: levels for name, levels in unseen.items() if not _sensitive(era.monitor, name)}:
            window.unseen = profile.merge_unseen(window.unseen, unseen)

    def _add_blocks(self, era: Era, on_time: Sequence[Seen]) -> None:
        """Add to the block means. A block is stamped with the watermark at its last row.

        So stamps of a source never decrease, and once the joint watermark is past one, all earlier
        blocks of all sources are known: the detectors' order does not depend on who was faster.
        """
        baseline_id = era.baseline.baseline_id
        means = self._means.get(("", baseline_id))
        if means is None:
            means = self._means["", baseline_id] = BlockMeans(self._catalogue.layout(era.baseline))
        columns, after = on_time[0].batch.columns, on_time[0].after
        if len(on_time) > 1:
            columns, _ = concatenated([seen.batch for seen in on_time])
            order = np.argsort(np.concatenate([seen.batch.offsets for seen in on_time]), kind="stable")
            columns = {name: column.take(order) for name, column in columns.items()}
            after = np.concatenate([seen.after for seen in on_time])[order]
        for feature, (times, values) in means.add(columns, after).items():
            first = self._next_block.get(("", baseline_id, feature), 0)
            self._next_block["", baseline_id, feature] = first + len(times)
            self._blocks.append(
                evidence.Blocks(
                    "", feature, baseline_id, first, times.astype("<i8").tobytes(), values.astype("<i2").tobytes()
                )
            )

    def announcement(self, position: int) -> evidence.Partial | None:
        """Return, once, what makes the judge wait for this source: it has rows of the model."""
        if self._announced:
            return None
        self._announced = True
        return evidence.Partial(self._source, position, self._model)

    def partials(self, position: int, now_ms: int | None) -> Iterator[evidence.Partial]:
        """Yield what the judge has not been told: closed windows that changed, blocks, the watermark.

        Parameters
        ----------
        position
            Offset of the source below which everything is counted.
        now_ms
            Record or wall time that has certainly passed at the source; with it an idle source's
            watermark moves on. None when nothing is known.
        """
        if self.watermark < 0:
            return
        idle_ms = round(self._catalogue.monitor(self._model).idle_s * 1000)
        idle = now_ms is not None and now_ms - self.record_time >= idle_ms
        reached = self.watermark + (now_ms - self.record_time if idle and now_ms is not None else 0)
        if idle:
            self._miss(reached)
        told = [self._told(key, window) for key, window in self._changed(reached)]
        boundary = any(self._advanced < t <= reached for w in self._windows.values() for t in (w.end, w.closes))
        moved = boundary or self._advanced < 0 or idle != self._told_idle
        if not (told or self._blocks or moved or self._lost):
            return
        self._advanced, self._told_idle = max(self._advanced, reached), idle
        blocks, self._blocks = list(joined(self._blocks)), []
        lost, self._lost = self._lost, None
        *records, last = packed([counts for several in told for counts in several], blocks)
        for windows, means in records:  # what was lost stands in each: a judge may judge after any of them
            yield evidence.Partial(self._source, position, self._model, windows, means, lost=lost)
        yield evidence.Partial(self._source, position, self._model, *last, self._advanced, idle, lost)
        self._forget()

    def _changed(self, reached: int) -> list[tuple[Key, Window]]:
        changed = [(key, window) for key, window in self._windows.items() if window.dirty and window.end <= reached]
        return sorted(changed, key=lambda item: (item[0].window_start, item[0].version, item[0].slice))

    def _told(self, key: Key, window: Window) -> list[evidence.WindowCounts]:
        window.dirty = False
        told = []
        if window.counts is not None and window.rows:
            baseline = self._catalogue.baseline(key.baseline_id)
            assert baseline is not None, "a window was counted under it"
            for index, part in enumerate(parts(self._catalogue.layout(baseline))):
                first = index == 0
                told.append(
                    evidence.WindowCounts(
                        key.version, key.slice, key.window_start, key.baseline_id, key.monitor_version,
                        index, window.rows, 0, encode_counts(window.counts[part]),
                        window.unseen if first else {}, window.unknown_features if first else 0,
                        window.first_ms if first else None,
                    )
                )  # fmt: skip
        if window.late_rows:
            told.append(
                evidence.WindowCounts(
                    key.version, key.slice, key.window_start, key.baseline_id, key.monitor_version,
                    LATE_PART, 0, window.late_rows, b"",
                )
            )  # fmt: skip
        return told

    def _forget(self) -> None:
        """Drop the counts of windows that can only get late rows now, and windows nobody keeps any more.

        Only the rows' own watermark decides: idleness must not change what is counted.
        """
        for key, window in list(self._windows.items()):
            if window.closes <= self.watermark and window.counts is not None:
                window.counts = None
                self.changes += 1
            if window.counts is None and self.watermark - window.end > KEEP_WINDOWS * (window.end - key.window_start):
                del self._windows[key]

    def encode(self) -> bytes:
        """Return the state; what `partials` has not yielded is not in it, so flush first."""
        windows = [
            _WindowState(
                key, w.end, w.closes, w.rows, w.late_rows, w.unknown_features,
                b"" if w.counts is None else encode_counts(w.counts), w.unseen, w.first_ms,
            )
            for key, w in self._windows.items()
        ]  # fmt: skip
        blocks = [(slice_, baseline_id, dict(means.snapshot())) for (slice_, baseline_id), means in self._means.items()]
        next_block = [(*key, number) for key, number in self._next_block.items()]
        state = _State(
            self.watermark, self.record_time, self._advanced, self._announced, windows, blocks, next_block,
            self._lost_from, self._lost,
        )  # fmt: skip
        return msgspec.msgpack.encode(state)

    def restore(self, data: bytes) -> None:
        """Take the state `encode` gave; everything open is told again."""
        state = _decode_state(data)
        self.watermark, self.record_time = state.watermark, state.record_time
        self._advanced, self._announced = state.advanced, state.announced
        self._lost_from, self._lost = state.lost_from, state.lost
        for saved in state.windows:
            window = Window(saved.end, saved.closes, decode_counts(saved.counts) if saved.counts else None)
            window.rows, window.late_rows, window.unseen = saved.rows, saved.late_rows, saved.unseen
            window.unknown_features, window.first_ms = saved.unknown_features, saved.first_ms
            window.dirty = True
            self._windows[saved.key] = window
        for slice_, baseline_id, unfinished in state.blocks:
            baseline = self._catalogue.baseline(baseline_id)
            if baseline is not None:
                means = self._means[slice_, baseline_id] = BlockMeans(self._catalogue.layout(baseline))
                means.restore(unfinished)
        self._next_block = {(slice_, baseline_id, feature): n for slice_, baseline_id, feature, n in state.next_block}
