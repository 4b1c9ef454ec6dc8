"""What one source has counted for one model: open windows, late rows, unfinished blocks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from detectors.blocks import BlockMeans
from detectors.windows import window_end, window_starts
from schemas import evidence
from schemas.arrays import concatenated
from schemas.codec import compress, decompress
from schemas.columns import Batch, Times
from streams.agents.packing import joined, packed
from streams.agents.tally import NEVER, OTHER_VERSIONS, Key, Tally, TallyState
from streams.catalogue import Catalogue, Era

Rows = NDArray[np.bool_]


class _State(msgspec.Struct, array_like=True):
    watermark: int
    record_time: int
    advanced: int
    announced: bool
    told_idle: bool
    windows: list[TallyState]
    means: list[tuple[str, dict[str, tuple[int, int, int]]]]
    next_block: dict[str, dict[str, int]]
    blocks: list[evidence.Blocks]
    lost_from: int | None = None
    lost: tuple[int, int] | None = None


_decode_state = msgspec.msgpack.Decoder(_State).decode
MAX_STATE_BYTES = 1_000_000_000


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
    max_versions
        Versions of the model that get counts of their own in one window; rows of others are counted as one
        version by the name of ``(other)``.

    Attributes
    ----------
    n_late, n_folded, n_unseen_left_out
        Rows that came too late, batches counted under ``(other)``, unseen levels that found no room.
    untold_bytes
        Size of the block means the judge has not been told.
    """

    def __init__(self, source: str, model: str, catalogue: Catalogue, *, max_versions: int = 100) -> None:
        self._source, self._model, self._catalogue, self._max_versions = source, model, catalogue, max_versions
        self.watermark = -1
        self.record_time = -1
        self.changes = 0
        self.announced = False
        self.told_idle = False
        self._advanced = -1
        self._windows: dict[Key, Tally] = {}
        self._means: dict[str, BlockMeans] = {}
        self._next_block: dict[str, dict[str, int]] = {}
        self._blocks: list[evidence.Blocks] = []
        self.untold_bytes = 0
        self._lost_from: int | None = None
        self._lost: tuple[int, int] | None = None
        self.n_late = self.n_folded = self.n_unseen_left_out = 0

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
        if starts[0] == starts[-1] and (starts == starts[0]).all():
            known, which = starts[:1], np.zeros(len(starts), np.int64)
        else:
            known, which = np.unique(starts, return_inverse=True)
        on_time = np.ones(len(batch.times), bool)
        for index, start in enumerate(known.tolist()):
            rows = which == index
            end = window_end(start, era.baseline.window_ms, era.monitor.timezone)
            closes = end + round(era.monitor.lateness_windows * era.baseline.window_ms)
            late = rows & (seen.before >= closes)
            n_late = int(np.count_nonzero(late))
            if n_late:
                on_time &= ~late
                self.n_late += n_late
                kept = late & (seen.before <= end + era.monitor.keep_windows * era.baseline.window_ms)
                if n_kept := int(np.count_nonzero(kept)):
                    tally = self._tally(era, batch.version, start, end, closes)
                    tally.late_rows += n_kept
                    tally.dirty = True
                rows &= ~late
            if rows.any():
                tally = self._tally(era, batch.version, start, end, closes)
                counted = batch if rows.all() else batch.take(rows)
                layout, hidden = self._catalogue.layout(era.baseline), era.monitor.sensitive_features
                self.n_unseen_left_out += tally.add(layout, counted, hidden)
                tally.dirty = True
        return seen.take(on_time)

    def _tally(self, era: Era, version: str, start: int, end: int, closes: int) -> Tally:
        """Return the counts of a window and version; beyond the limit those of all other versions."""
        window = (start, era.baseline.baseline_id, era.monitor.monitor_version)
        key = Key(version, "", *window)
        tally = self._windows.get(key)
        if tally is None:
            if sum(_window(other) == window for other in self._windows) >= self._max_versions:
                self.n_folded += 1
                key = Key(OTHER_VERSIONS, "", *window)
            tally = self._windows.setdefault(key, Tally(end, closes))
        return tally

    def _add_blocks(self, era: Era, on_time: Sequence[Seen]) -> None:
        """Add to the block means. A block is stamped with the watermark at its last row.

        So stamps of a source never decrease, and once the joint watermark is past one, all earlier
        blocks of all sources are known: the detectors' order does not depend on who was faster.
        """
        baseline_id = era.baseline.baseline_id
        means = self._means.get(baseline_id)
        if means is None:
            means = self._means[baseline_id] = BlockMeans(self._catalogue.layout(era.baseline))
        columns, after = on_time[0].batch.columns, on_time[0].after
        if len(on_time) > 1:
            columns, _ = concatenated([seen.batch for seen in on_time])
            order = np.argsort(np.concatenate([seen.batch.offsets for seen in on_time]), kind="stable")
            columns = {name: column.take(order) for name, column in columns.items()}
            after = np.concatenate([seen.after for seen in on_time])[order]
        next_block = self._next_block.setdefault(baseline_id, {})
        for feature, (times, values) in means.add(columns, after).items():
            first = next_block.get(feature, 0)
            next_block[feature] = first + len(times)
            blocks = evidence.Blocks(
                "", feature, baseline_id, first, times.astype("<i8").tobytes(), values.astype("<i2").tobytes()
            )
            self._blocks.append(blocks)
            self.untold_bytes += len(blocks.times) + len(blocks.values)

    def announcement(self, position: int) -> evidence.Partial | None:
        """Return, once, what makes the judge wait for this source: it has rows of the model."""
        if self.announced:
            return None
        self.announced = True
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
        changed = self._changed(reached)
        moved = self.boundary <= reached or self._advanced < 0 or idle != self.told_idle
        if not (changed or self._blocks or moved or self._lost):
            return
        self.changes += 1
        self._advanced, self.told_idle = max(self._advanced, reached), idle
        blocks, self._blocks, self.untold_bytes = list(joined(self._blocks)), [], 0
        lost, self._lost = self._lost, None
        waiting = None
        for windows, means in packed(self._told(changed), blocks):
            if waiting is not None:  # what was lost stands in each: a judge may judge after any of them
                yield evidence.Partial(self._source, position, self._model, *waiting, lost=lost)
            waiting = windows, means
        assert waiting is not None, "packed yields at least once"
        yield evidence.Partial(self._source, position, self._model, *waiting, self._advanced, idle, lost)
        self._forget()

    @property
    def boundary(self) -> int:
        """The first end or close of a window, passed or to come, that the judge has not been told of."""
        return min((tally.next_after(self._advanced) for tally in self._windows.values()), default=NEVER)

    def _changed(self, reached: int) -> list[tuple[Key, Tally]]:
        changed = [(key, tally) for key, tally in self._windows.items() if tally.dirty and tally.end <= reached]
        return sorted(changed, key=lambda item: (item[0].window_start, item[0].version, item[0].slice))

    def _told(self, changed: Sequence[tuple[Key, Tally]]) -> Iterator[evidence.WindowCounts]:
        for key, tally in changed:
            tally.dirty = False
            baseline = self._catalogue.baseline(key.baseline_id)
            assert baseline is not None, "a window was counted under it"
            yield from tally.told(key, self._catalogue.layout(baseline))

    def _forget(self) -> None:
        """Drop the counts of windows that can only get late rows now, and windows nobody keeps any more.

        Only the rows' own watermark decides: idleness must not change what is counted.
        """
        for key, tally in list(self._windows.items()):
            if tally.closes > self.watermark or tally.dirty:
                continue
            tally.counts, tally.unseen = None, {}
            baseline, monitor = self._catalogue.under(self._model, key.baseline_id, key.monitor_version)
            if not tally.late_rows or self.watermark - tally.end > monitor.keep_windows * baseline.window_ms:
                del self._windows[key]

    @property
    def n_bytes(self) -> int:
        """About how much memory this takes."""
        counted = sum(tally.counts.nbytes for tally in self._windows.values() if tally.counts is not None)
        return 20_000 + counted + self.untold_bytes

    def encode(self) -> bytes:
        """Return the state."""
        state = _State(
            self.watermark, self.record_time, self._advanced, self.announced, self.told_idle,
            [tally.snapshot(key) for key, tally in self._windows.items()],
            [(baseline_id, dict(means.snapshot())) for baseline_id, means in self._means.items()],
            self._next_block, list(joined(self._blocks)), self._lost_from, self._lost,
        )  # fmt: skip
        return compress(msgspec.msgpack.encode(state))

    def restore(self, data: bytes) -> None:
        """Take the state `encode` gave."""
        state = _decode_state(decompress(data, MAX_STATE_BYTES))
        self.watermark, self.record_time = state.watermark, state.record_time
        self._advanced, self.announced, self.told_idle = state.advanced, state.announced, state.told_idle
        self._lost_from, self._lost = state.lost_from, state.lost
        self._windows = {saved.key: Tally.restore(saved) for saved in state.windows}
        for baseline_id, unfinished in state.means:
            baseline = self._catalogue.baseline(baseline_id)
            if baseline is not None:
                means = self._means[baseline_id] = BlockMeans(self._catalogue.layout(baseline))
                means.restore(unfinished)
        self._next_block, self._blocks = state.next_block, state.blocks
        self.untold_bytes = sum(len(blocks.times) + len(blocks.values) for blocks in state.blocks)


def _window(key: Key) -> tuple[int, str, int]:
    return key.window_start, key.baseline_id, key.monitor_version
