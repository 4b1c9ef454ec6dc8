"""Profile: rows of one input partition become counts per model and window."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

import msgspec
import numpy as np

from detectors.windows import DAY_MS, HOUR_MS, MINUTE_MS
from schemas import evidence, topics
from schemas.codec import ORIGIN_HEADER
from schemas.columns import Batch
from schemas.events import reject_rows
from schemas.records import Record, Rejected
from streams.agents.counting import ModelCounts
from streams.agents.decoding import Decoder, EventDecoder
from streams.agents.due import Due
from streams.agents.gathering import SEGMENT as GATHERED
from streams.agents.gathering import Gathered
from streams.agents.outputs import Originating, dead_output
from streams.agents.resting import SEGMENT as MODEL
from streams.agents.resting import Known, Models
from streams.catalogue import FOREVER, Catalogue
from streams.engine.outbox import Output
from streams.engine.stage import Reading, unwatched

PARTITION_SEGMENT, DECODER_SEGMENT = "partition", "decoder"
UNKNOWN_LOST_MS = SILENT_MS = 7 * DAY_MS
"""After a loss, how long a model that is new here counts as one whose earlier rows may have been lost."""
MAX_WAITING_BYTES = 48_000
MAX_WAITING_MS = 10 * MINUTE_MS
MAX_OVERDUE = 8
MAX_UNTOLD_BYTES = 50_000
LEAST_GUARD_MS = 0
NO_TIME = -1


class Limits(NamedTuple):
    """What a stage keeps at most.

    Attributes
    ----------
    features, models, versions
        Features of a message, models of a partition, versions of a model in one window.
    future_ms
        How far an event time may lie past its record's timestamp; never more than a base window.
    gather_rows, gather_bytes
        Rows of a model that wait to be counted together, and bytes of all models that do.
    open_bytes
        Memory for counts that are not at rest.
    """

    features: int = 2_000
    models: int = 10_000
    versions: int = 100
    future_ms: int = HOUR_MS
    gather_rows: int = 256
    gather_bytes: int = 16_000_000
    open_bytes: int = 8_000_000


DEFAULT_LIMITS = Limits()


class ProfileMetrics(Protocol):
    """What the stage reports."""

    def rows(self, model: str, n_rows: int, newest_ms: int | None = None) -> None: ...
    def late_rows(self, model: str, n_rows: int) -> None: ...
    def dead_letter(self, reason: str) -> None: ...
    def tombstones(self, n_records: int) -> None: ...
    def limited(self, limit: str, n: int) -> None: ...


class _PartitionState(msgspec.Struct):
    counting: list[str]
    record_time: int
    position: int = 0
    lost_until: int = -1
    started: bool = False


_decode_partition = msgspec.msgpack.Decoder(_PartitionState).decode


class ProfileStage:
    """State of one partition of the events topic.

    Rows of a model without a baseline are forwarded to be learned from. When a baseline appears,
    this stage begins to count the model's rows at its next checkpoint, once every record that a
    worker before it may have forwarded has passed: so each row is counted once, here or there.

    Records of models with few rows wait until there are enough to be worth counting, and at the latest
    until there is something to tell of their model; what waits is part of the state.

    Parameters
    ----------
    source
        This partition's name in the evidence.
    log_end
        End of the partition when it was taken over.
    limits
        What this stage keeps at most.
    decoder
        Of the partition's records; without one they are events.
    """

    def __init__(
        self,
        source: str,
        catalogue: Catalogue,
        originating: Originating,
        metrics: ProfileMetrics,
        *,
        log_end: int = 0,
        limits: Limits = DEFAULT_LIMITS,
        decoder: Decoder | None = None,
    ) -> None:
        self._source, self._catalogue, self._out, self._metrics = source, catalogue, originating, metrics
        self._log_end, self._limits = log_end, limits
        self._events = EventDecoder(max_features=limits.features)
        self._decoder = decoder or self._events
        self.before_change: Callable[[str], None] = unwatched
        self._models = Models(self._empty, limits.open_bytes, self._changes_of)
        self._gathered = Gathered(
            originating.topic, originating.partition,
            max_rows=limits.gather_rows, max_bytes=MAX_WAITING_BYTES, max_total_bytes=limits.gather_bytes,
            before_change=self._changes_of,
        )  # fmt: skip
        self._due = Due(self._models, lambda model: round(catalogue.monitor(model).idle_s * 1000))
        self._counting: set[str] = set()
        self._changes = 0
        self._record_time = -1
        self._position = 0
        self._lost_until = -1
        self._started = False

    def _empty(self, model: str) -> ModelCounts:
        return ModelCounts(self._source, model, self._catalogue, max_versions=self._limits.versions)

    def _changes_of(self, segment: str) -> None:
        self.before_change(segment)

    def update(self, records: Sequence[Record]) -> list[Output]:
        """Take the rows of some records; return dead letters and rows to learn from."""
        self.before_change(PARTITION_SEGMENT)
        self.before_change(DECODER_SEGMENT)
        if self._lost_until == FOREVER:
            self._lost_until = max(records[0].timestamp or 0, self._record_time) + UNKNOWN_LOST_MS
        decoded = self._decoder.decode(records)
        rejected = decoded.rejected
        self._metrics.tombstones(decoded.n_tombstones)
        learning: dict[int, list[str]] = {}
        announced: list[evidence.Partial] = []
        by_offset: dict[int, Record] = {}
        for model, batches in self._by_model(decoded.batches, rejected).items():
            known = self._models.get(model)
            if known is None:
                if len(self._models) >= self._limits.models:
                    detail = f"this partition has rows of {self._limits.models} models already; see max_models"
                    _reject_all(batches, "too_many_models", detail, rejected)
                    continue
                known = self._models.add(model)
                if self._record_time < self._lost_until:
                    self._models.open(model).lose()
                    self._models.done(model)
            if model in self._counting:
                if not known.announced:
                    announcement = self._models.open(model).announcement(int(batches[0].offsets[0]))
                    if announcement is not None:
                        announced.append(announcement)
                    self._models.done(model)
                by_offset = by_offset or {record.offset: record for record in records}
                self._take(model, known, batches, by_offset)
            elif self._catalogue.hides(model):
                detail = "it has sensitive features, so its rows are not copied to be learned from: create its baseline"
                _reject_all(batches, "needs_baseline", detail, rejected)
            else:
                list(self._models.open(model).see(batches))
                self._models.done(model)
                for offset in {int(offset) for batch in batches for offset in np.unique(batch.offsets)}:
                    learning.setdefault(offset, []).append(model)
        while (model_due := self._gathered.overdue(NO_TIME)) is not None:
            self._count(model_due)
        self._record_time = max(self._record_time, records[-1].timestamp or -1)
        self._position = records[-1].offset + 1
        self._changes += 1
        return [*self._outputs(records, learning, rejected), *map(self._evidence, announced)]

    def _take(self, model: str, known: Known, batches: Sequence[Batch], by_offset: Mapping[int, Record]) -> None:
        """Let the rows of one model wait when they are few, else count them with those that wait."""
        n_rows = sum(len(batch.times) for batch in batches)
        newest = max(int(batch.times.max()) for batch in batches)
        self._metrics.rows(model, n_rows, newest)
        if n_rows >= self._limits.gather_rows:
            self._count(model, batches)
        else:
            offsets = sorted({offset for batch in batches for offset in batch.offsets.tolist()})
            records = [kept for offset in offsets for kept in self._decoder.kept(by_offset[offset], model)]
            n_bytes = sum(len(record.value or b"") for record in records)
            if not self._gathered.fits(model, n_rows, n_bytes):
                self._count(model, batches)
            else:
                known.newest = max(known.newest, newest)
                known.record_time = max(known.record_time, *(record.timestamp or -1 for record in records))
                self._gathered.add(model, records, n_rows, n_bytes, known.record_time)
                earliest = min(int(batch.times.min()) for batch in batches)
                known.boundary = min(known.boundary, self._catalogue.window_end(model, earliest))
        known.urgent |= known.idle
        self._due.add(model)

    def _count(self, model: str, fresh: Sequence[Batch] = ()) -> None:
        """Count the rows of a model that wait, then `fresh` ones."""
        batches = [*self._decoded(self._gathered.take(model)), *fresh]
        if not batches:
            return
        counts = self._models.open(model)
        late, folded, left_out = counts.n_late, counts.n_folded, counts.n_unseen_left_out
        counts.add(batches)
        self._models.done(model)
        known = self._models.get(model)
        if known is not None and counts.untold_bytes > MAX_UNTOLD_BYTES:
            known.urgent = True
        self._due.add(model)
        self._metrics.late_rows(model, counts.n_late - late)
        self._metrics.limited("versions", counts.n_folded - folded)
        self._metrics.limited("unseen_levels", counts.n_unseen_left_out - left_out)

    def _decoded(self, records: Sequence[Record]) -> list[Batch]:
        """Return the rows of records that waited; what is wrong with others was told when they came."""
        if not records:
            return []
        batches = self._events.decode(records).batches
        return [good for batch in batches if len((good := self._guarded(batch, [])).times)]

    def _by_model(self, batches: Sequence[Batch], rejected: list[Rejected]) -> dict[str, list[Batch]]:
        """Group the batches by model, without rows from the future."""
        models: dict[str, list[Batch]] = {}
        for batch in batches:
            good = self._guarded(batch, rejected)
            if len(good.times):
                models.setdefault(batch.model, []).append(good)
        return models

    def _guarded(self, batch: Batch, rejected: list[Rejected]) -> Batch:
        """Reject rows from the future: no watermark may pass the record's own time by more than the guard."""
        ahead = batch.times - batch.record_times
        if ahead.max() <= LEAST_GUARD_MS:
            return batch
        guards = self._catalogue.guards_ms(batch.model, batch.record_times, self._limits.future_ms)
        future = (ahead > guards) & (batch.record_times >= 0)
        if not future.any():
            return batch
        guard_s = int(np.max(np.where(future, guards, 0))) // 1000
        detail = f"time {{time}} lies more than {guard_s} s after the record's own timestamp; check the clock"
        reject_rows(batch, future, "time_in_future", detail, rejected)
        return batch.take(~future)

    def _outputs(
        self, records: Sequence[Record], learning: Mapping[int, Sequence[str]], rejected: list[Rejected]
    ) -> list[Output]:
        """Make outputs record by record, so that their origins repeat after a crash."""
        if not learning and not rejected:
            return []
        outputs = []
        reasons: dict[int, dict[int | None, Rejected]] = {}
        for why in rejected:
            reasons.setdefault(why.offset, {}).setdefault(why.about, why)
        for record in records:
            for model in learning.get(record.offset, ()):
                outputs += [self._forwarded(kept, model) for kept in self._decoder.kept(record, model)]
            for why in reasons.get(record.offset, {}).values():
                outputs.append(self._dead(record, why))
                self._metrics.dead_letter(why.reason)
        return outputs

    def _forwarded(self, record: Record, model: str) -> Output:
        theirs = [(name, value) for name, value in record.headers if name not in ORIGIN_HEADERS]
        headers = [*theirs, ("drift-time", str(record.timestamp).encode())]
        return self._out.output(record.offset, topics.LEARNING.name, model, record.value or b"", headers)

    def _dead(self, record: Record, why: Rejected) -> Output:
        return dead_output(self._out, record, why, "profile", keep_value=self._catalogue.keeps_value(record))

    def ready(self, records: Sequence[Record]) -> int:
        """All of them: what is counted waits for nothing."""
        return len(records)

    def flush(self, now_ms: int, *, caught_up: bool) -> Iterator[Output]:
        """Yield what the judge has not been told yet, of the models of which there is something to tell."""
        passed = max(now_ms, self._record_time) if caught_up else self._record_time
        if not self._started and (caught_up or self._position):
            yield from self._start()
        for _ in range(MAX_OVERDUE):
            if (model := self._gathered.overdue(passed - MAX_WAITING_MS)) is None:
                break
            self._count(model)
        for model in self._due.until(passed):
            self._count(model)
            for partial in self._models.open(model).partials(self._position, passed):
                yield self._evidence(partial)
            self._models.done(model)
            self._due.told(model)

    def _start(self) -> Iterator[Output]:
        """Yield that the models of the first records are announced, or that there are no records yet."""
        self.before_change(PARTITION_SEGMENT)
        self._started = True
        self._changes += 1
        message = evidence.encode(evidence.Started(self._source))
        yield from self._out.to_all(max(0, self._position - 1), topics.EVIDENCE.name, self._source, message)

    def _evidence(self, partial: evidence.Partial) -> Output:
        offset = max(0, partial.position - 1)
        return self._out.output(offset, topics.EVIDENCE.name, partial.model, evidence.encode(partial))

    def lost(self, n_records: int) -> None:
        """Take note that records before the next one were lost, of whichever model."""
        del n_records
        self._lost_until = FOREVER
        self._changes += 1
        for model in self._models:
            self._models.open(model).lose()
            self._models.done(model)

    def readings(self) -> Sequence[Reading]:
        """Nothing is read again."""
        return ()

    def read(self, reading: Reading, records: Sequence[Record]) -> list[Output]:
        """Never asked for."""
        raise AssertionError(f"{reading} was not wanted; {len(records)} records")

    def before_checkpoint(self) -> bool:
        """Begin to count models whose baseline is known, once earlier forwarding lies behind.

        Rows of models with sensitive features are counted now: a snapshot must not hold them as they came.
        """
        n_counting = len(self._counting)
        if self._position >= self._log_end:
            ready = {model for model in self._catalogue.models() if self._catalogue.eras(model)}
            for model in ready - self._counting:
                self._changes += 1
                self._counting.add(model)
                if self._models.get(model) is not None:
                    self._due.add(model)
        for model in [model for model in self._gathered if self._catalogue.hides(model)]:
            self._count(model)
        if 2 * len(self._models) > self._limits.models:
            self._drop_silent()
        return len(self._counting) > n_counting

    def lowest_offset(self) -> int:
        """The first: detectors' blocks are numbered from it."""
        return 0

    def _drop_silent(self) -> None:
        """Forget models that were never counted and have sent nothing for long: they would take others' room."""
        for model in [model for model in self._models if model not in self._counting]:
            known = self._models.get(model)
            if known is not None and known.record_time < self._record_time - SILENT_MS:
                self._models.drop(model)

    def segments(self) -> Mapping[str, int]:
        """One segment a model, some for what waits, and one for the partition."""
        decoder = {DECODER_SEGMENT: self._decoder.changes} if self._decoder.changes else {}
        return {PARTITION_SEGMENT: self._changes, **decoder, **self._gathered.segments(), **self._models.segments()}

    def encode(self, segment: str) -> bytes:
        """Return a segment's bytes."""
        if segment == PARTITION_SEGMENT:
            counting = sorted(self._counting)
            state = _PartitionState(counting, self._record_time, self._position, self._lost_until, self._started)
            return msgspec.msgpack.encode(state)
        if segment == DECODER_SEGMENT:
            return self._decoder.encode()
        if segment.startswith(GATHERED):
            return self._gathered.encode(segment)
        return self._models.encode(segment.removeprefix(MODEL))

    def restore(self, segments: Mapping[str, bytes]) -> None:
        """Take a snapshot's segments."""
        state = _decode_partition(segments[PARTITION_SEGMENT])
        self._counting, self._record_time = set(state.counting), state.record_time
        self._position, self._lost_until, self._started = state.position, state.lost_until, state.started
        for name, data in segments.items():
            if name.startswith(MODEL):
                self._models.restore(name.removeprefix(MODEL), data)
            elif name.startswith(GATHERED):
                self._gathered.restore(name, data)
            elif name == DECODER_SEGMENT:
                self._decoder.restore(data)
        for model, records in self._gathered.models():
            known = self._models.get(model) or self._models.add(model)
            for batch in self._decoded(records):
                known.newest = max(known.newest, int(batch.times.max()))
                known.record_time = max(known.record_time, int(batch.record_times.max()))
                known.boundary = min(known.boundary, self._catalogue.window_end(model, int(batch.times.min())))
        for model in self._counting.intersection(self._models):
            self._due.add(model)

    def models(self) -> Iterable[str]:
        """Return the models this partition has seen."""
        return iter(self._models)


def _reject_all(batches: Sequence[Batch], reason: str, detail: str, rejected: list[Rejected]) -> None:
    for batch in batches:
        reject_rows(batch, np.ones(len(batch.times), bool), reason, detail, rejected)


ORIGIN_HEADERS = frozenset({ORIGIN_HEADER, "drift-time"})
