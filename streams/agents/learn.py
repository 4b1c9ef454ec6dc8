"""Learn: rows of models without a baseline become their first baseline.

The learner keeps positions and counts per minute, not rows: when there are enough it reads the
rows again, builds the baseline from those before a window boundary, and counts those after it as
one more source per partition they came from. Rows forwarded later are counted the same way.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import msgspec
import numpy as np

from detectors.errors import UnusableReference
from detectors.reference import MIN_REFERENCE_WINDOWS, build_baseline
from detectors.windows import DAY_MS, MINUTE_MS, choose_window_from_minutes, future_guard_ms, window_end, window_start
from schemas import evidence, topics
from schemas.arrays import concatenated
from schemas.codec import Origin
from schemas.columns import Batch
from schemas.events import decode
from schemas.monitors import Monitor
from schemas.records import PlainRecord, Record
from streams.agents.counting import ModelCounts
from streams.agents.outputs import Originating, origin_of
from streams.agents.profile import ORIGIN_HEADERS, ProfileMetrics
from streams.catalogue import Catalogue, records_of
from streams.engine.outbox import Output
from streams.engine.stage import Reading, unwatched

log = logging.getLogger(__name__)

SLOW_ROWS = 500
STEADY_MS = 7 * DAY_MS
MAX_ROWS = 300_000


class _Model(msgspec.Struct):
    """What is known of a model that is being learned, or whose forwarded rows are still counted."""

    first: int
    minutes: dict[int, int]
    newest: int = -1
    n_rows: int = 0
    next_check: int = 0
    ready: int = 0
    boundary: int = 0
    learned: bool = False
    published: bool = False


class _State(msgspec.Struct):
    models: dict[str, _Model]
    seen: dict[str, tuple[int, int]]
    position: int = 0


class _Forwarded(NamedTuple):
    source: str
    record: PlainRecord


_decode_state = msgspec.msgpack.Decoder(_State).decode
PARTITION_SEGMENT = "partition"


class LearnStage:
    """State of one partition of the learning topic."""

    def __init__(
        self,
        source: str,
        catalogue: Catalogue,
        originating: Originating,
        metrics: ProfileMetrics,
        *,
        max_features: int = 2_000,
    ) -> None:
        self._source, self._catalogue, self._out, self._metrics = source, catalogue, originating, metrics
        self._max_features = max_features
        self._state = _State({}, {})
        self._counts: dict[tuple[str, str], ModelCounts] = {}
        self._announced: list[evidence.Partial] = []
        self.before_change: Callable[[str], None] = unwatched
        self._changes = 0

    def update(self, records: Sequence[Record]) -> list[Output]:
        """Take forwarded rows, each once: a record that was forwarded twice has an old origin."""
        self.before_change(PARTITION_SEGMENT)
        self._changes += 1
        self._state.position = records[-1].offset + 1
        learned: dict[tuple[str, str], list[Batch]] = {}
        learning: dict[str, list[Batch]] = {}
        for source, batch in self._batches(records, self._state.seen):
            model = self._state.models.get(batch.model)
            if model is None:
                model = self._state.models[batch.model] = _Model(int(batch.offsets[0]), {})
            if model.learned:
                learned.setdefault((batch.model, source), []).append(batch)
                continue
            learning.setdefault(batch.model, []).append(batch)
        for name, batches in learning.items():
            self._gather(name, self._state.models[name], batches)
        self._count(learned)
        return []

    def _gather(self, name: str, model: _Model, batches: Sequence[Batch]) -> None:
        """Count rows per minute until there are enough; the record at which that is so does not depend on polls.

        After every fiftieth more rows it is asked again, at exactly the record that brings them.
        """
        offsets = np.concatenate([batch.offsets for batch in batches])
        order = np.argsort(offsets, kind="stable")
        offsets, times = offsets[order], np.concatenate([batch.times for batch in batches])[order]
        start = 0
        while start < len(offsets):
            wanted = len(offsets) if model.ready else start + max(1, model.next_check - model.n_rows)
            enough = min(wanted, len(offsets)) - 1
            end = int(np.searchsorted(offsets, offsets[enough], "right"))
            minutes, counts = np.unique(times[start:end] // MINUTE_MS, return_counts=True)
            for minute, n in zip(minutes.tolist(), counts.tolist(), strict=True):
                model.minutes[minute] = model.minutes.get(minute, 0) + n
            model.n_rows += end - start
            model.newest = max(model.newest, int(times[start:end].max()))
            if not model.ready and model.n_rows >= model.next_check:
                model.next_check = model.n_rows + max(1, model.n_rows // 50)
                boundary = self._boundary(name, model)
                if boundary is not None:
                    model.ready, model.boundary = int(offsets[end - 1]) + 1, boundary
            start = end

    def _batches(self, records: Sequence[Record], seen: dict[str, tuple[int, int]]) -> Iterator[tuple[str, Batch]]:
        """Decode forwarded records by the partition they came from, in order, each once."""
        by_source: dict[str, list[PlainRecord]] = {}
        for forwarded in map(self._original, records):
            source, record = forwarded
            headers = dict(record.headers)  # one record of a mapped topic may give rows of several models
            origin = int(headers["origin-offset"]), int(headers["origin-ordinal"])
            if origin <= seen.get(source, (-1, -1)):
                continue
            seen[source] = origin
            by_source.setdefault(source, []).append(record)
        for source, several in by_source.items():
            for batch in decode(several, max_features=self._max_features).batches:
                future = (batch.times > batch.record_times + future_guard_ms()) & (batch.record_times >= 0)
                if future.all():
                    continue  # a dead letter already; a record is forwarded whole, also for its other rows
                yield source, batch.take(~future) if future.any() else batch

    def _original(self, record: Record) -> _Forwarded:
        """Undo the forwarding: the record as it was, at its place in this topic."""
        origin = origin_of(record) or Origin("?", 0, record.offset, 0)
        timestamp = next((int(value) for key, value in record.headers if key == "drift-time"), record.timestamp)
        headers = [(key, value) for key, value in record.headers if key not in ORIGIN_HEADERS]
        headers.append(("origin-offset", str(origin.offset).encode()))
        headers.append(("origin-ordinal", str(origin.ordinal).encode()))
        plain = PlainRecord(record.topic, record.partition, record.offset, timestamp, record.value, record.key, headers)
        return _Forwarded(f"{origin.topic}/{origin.partition}", plain)

    def _boundary(self, name: str, model: _Model) -> int | None:
        """Return the window boundary before which the reference ends, None while rows are missing."""
        rows = model.n_rows
        monitor = self._catalogue.monitor(name)
        if rows < min(SLOW_ROWS, monitor.learn_rows):
            return None
        minutes = sorted(model.minutes)
        first, last = minutes[0] * MINUTE_MS, (minutes[-1] + 1) * MINUTE_MS
        if rows < monitor.learn_rows and last - first < STEADY_MS:
            return None
        size, _ = choose_window_from_minutes(
            np.array(minutes) * MINUTE_MS, np.array([model.minutes[m] for m in minutes]), monitor.timezone
        )
        running = np.cumsum([model.minutes[m] for m in minutes])
        enough = minutes[int(np.searchsorted(running, min(monitor.learn_rows, rows)))] * MINUTE_MS
        enough = max(enough, first + MIN_REFERENCE_WINDOWS * size)
        boundary = window_end(window_start(enough, size, monitor.timezone), size, monitor.timezone)
        return boundary if model.newest >= boundary else None

    def readings(self) -> Sequence[Reading]:
        """Return the models whose rows are wanted again: enough to learn from, or a baseline has appeared."""
        return [
            Reading(name, model.first, self._state.position if self._catalogue.eras(name) else model.ready)
            for name, model in self._state.models.items()
            if not model.learned and (self._catalogue.eras(name) or (model.ready and not model.published))
        ]

    def read(self, reading: Reading, records: Sequence[Record]) -> list[Output]:
        """Build a model's baseline from its rows unless it has one, then count the rows after it."""
        name = reading.name
        model = self._state.models[name]
        mine = [(source, batch) for source, batch in self._batches(records, {}) if batch.model == name]
        self._changes += 1
        if not self._catalogue.eras(name):
            try:
                outputs = self._learn(name, mine, model)
            except UnusableReference as error:
                log.info("%s is not learned yet: %s", name, error)
            except Exception:  # one strange model must not stop the others
                log.exception("%s cannot be learned", name)
            else:
                model.published = True
                return outputs  # rows are counted once it is read back from the control topic: then it is durable
            model.ready, model.next_check = 0, 2 * model.next_check
            return []
        model.learned, model.minutes = True, {}
        by_source: dict[tuple[str, str], list[Batch]] = {}
        for source, batch in mine:
            by_source.setdefault((name, source), []).append(batch)
        self._count(by_source)
        return []

    def _learn(self, name: str, mine: list[tuple[str, Batch]], model: _Model) -> list[Output]:
        ordered = sorted(mine, key=lambda pair: pair[0])
        columns, times = concatenated([batch for _, batch in ordered])
        inside = np.flatnonzero(times < model.boundary)
        inside = inside[np.argsort(times[inside], kind="stable")]
        if len(inside) > MAX_ROWS:
            inside = inside[:: -(-len(inside) // MAX_ROWS)]
        monitor: Monitor = self._catalogue.monitor(name)
        baseline = build_baseline(
            {feature: column.take(inside) for feature, column in columns.items()},
            times[inside],
            baseline_id=f"{name}@1",
            model=name,
            monitor=monitor,
            source=f"learned from {len(inside)} rows of live traffic",
            created_ms=int(times[inside[-1]]),
            effective_from=model.boundary,
            provisional=True,
        )
        records = records_of(baseline, model.boundary)
        return [self._out.output(model.ready - 1, topic, key, value) for topic, key, value in records]

    def _count(self, forwarded: Mapping[tuple[str, str], list[Batch]]) -> None:
        """Count rows by (model, partition they came from), each a source of its own."""
        for (model, source), batches in forwarded.items():
            self.before_change(f"{source}|{model}")
            counts = self._counts.get((model, source))
            if counts is None:
                counts = self._counts[model, source] = ModelCounts(f"{self._source}<{source}", model, self._catalogue)
            if (announcement := counts.announcement(0)) is not None:
                self._announced.append(announcement)
            counts.add(batches)
            self._metrics.rows(model, sum(len(batch.times) for batch in batches), counts.watermark)

    def ready(self, records: Sequence[Record]) -> int:
        """All of them: what is gathered waits for nothing."""
        return len(records)

    def lost(self, n_records: int) -> None:
        """The engine counts them; the evidence does not tell of them yet."""
        del n_records

    def flush(self, now_ms: int, *, caught_up: bool) -> Iterator[Output]:
        """Yield what the judge has not been told yet; a forwarded source is idle once nothing more comes."""
        passed = now_ms if caught_up else None
        told, self._announced = self._announced, []
        yield from map(self._evidence, told)
        for counts in self._counts.values():
            yield from map(self._evidence, counts.partials(self._state.position, passed))

    def _evidence(self, partial: evidence.Partial) -> Output:
        offset = max(0, self._state.position - 1)
        return self._out.output(offset, topics.EVIDENCE.name, partial.model, evidence.encode(partial))

    def before_checkpoint(self) -> bool:
        """Decide nothing."""
        return False

    def lowest_offset(self) -> int:
        """The first: every forwarded row counts."""
        return 0

    def segments(self) -> Mapping[str, int]:
        """One segment for the partition and one a counted (model, source)."""
        counted = {f"{source}|{model}": counts.changes for (model, source), counts in self._counts.items()}
        return {PARTITION_SEGMENT: self._changes, **counted}

    def encode(self, segment: str) -> bytes:
        """Return a segment's bytes."""
        if segment == PARTITION_SEGMENT:
            return msgspec.msgpack.encode(self._state)
        source, model = segment.split("|", 1)
        return self._counts[model, source].encode()

    def restore(self, segments: Mapping[str, bytes]) -> None:
        """Take a snapshot's segments."""
        for segment, data in segments.items():
            if segment == PARTITION_SEGMENT:
                self._state = _decode_state(data)
            else:
                source, model = segment.split("|", 1)
                counts = self._counts[model, source] = ModelCounts(f"{self._source}<{source}", model, self._catalogue)
                counts.restore(data)
