"""Profile: rows of one input partition become counts per model and window."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Protocol

import msgspec
import numpy as np

from detectors.windows import DAY_MS, future_guard_ms
from schemas import evidence, topics
from schemas.codec import ORIGIN_HEADER
from schemas.columns import Batch
from schemas.events import reject_rows
from schemas.records import Record, Rejected
from streams.agents.counting import ModelCounts
from streams.agents.decoding import Decoder, EventDecoder
from streams.agents.outputs import Originating, dead_output
from streams.catalogue import FOREVER, Catalogue
from streams.engine.outbox import Output
from streams.engine.stage import Reading

PARTITION_SEGMENT, DECODER_SEGMENT = "partition", "decoder"
UNKNOWN_LOST_MS = 7 * DAY_MS
"""After a loss, how long a model that is new here counts as one whose earlier rows may have been lost."""


class ProfileMetrics(Protocol):
    """What the stage reports."""

    def rows(self, model: str, n_rows: int, newest_ms: int | None = None) -> None: ...
    def late_rows(self, model: str, n_rows: int) -> None: ...
    def dead_letter(self, reason: str) -> None: ...
    def tombstones(self, n_records: int) -> None: ...


class _PartitionState(msgspec.Struct):
    counting: list[str]
    record_time: int
    position: int = 0
    lost_until: int = -1


_decode_partition = msgspec.msgpack.Decoder(_PartitionState).decode


class ProfileStage:
    """State of one partition of the events topic.

    Rows of a model without a baseline are forwarded to be learned from. When a baseline appears,
    this stage begins to count the model's rows at its next checkpoint, once every record that a
    worker before it may have forwarded has passed: so each row is counted once, here or there.

    Parameters
    ----------
    source
        This partition's name in the evidence.
    log_end
        End of the partition when it was taken over.
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
        max_features: int = 2_000,
        max_models: int = 10_000,
        decoder: Decoder | None = None,
    ) -> None:
        self._source, self._catalogue, self._out, self._metrics = source, catalogue, originating, metrics
        self._log_end, self._max_models = log_end, max_models
        self._decoder = decoder or EventDecoder(max_features=max_features)
        self._models: dict[str, ModelCounts] = {}
        self._counting: set[str] = set()
        self._changes = 0
        self._record_time = -1
        self._position = 0
        self._lost_until = -1

    def update(self, records: Sequence[Record]) -> list[Output]:
        """Count the rows of some records; return dead letters and rows to learn from."""
        if self._lost_until == FOREVER:
            self._lost_until = max(records[0].timestamp or 0, self._record_time) + UNKNOWN_LOST_MS
        decoded = self._decoder.decode(records)
        rejected = decoded.rejected
        self._metrics.tombstones(decoded.n_tombstones)
        learning: dict[int, list[str]] = {}
        announced: list[Output] = []
        for model, batches in self._by_model(decoded.batches, rejected).items():
            counts = self._models.get(model)
            if counts is None:
                if len(self._models) >= self._max_models:
                    _reject_all(batches, "too_many_models", f"more than {self._max_models} models", rejected)
                    continue
                counts = self._models[model] = ModelCounts(self._source, model, self._catalogue)
                if self._record_time < self._lost_until:
                    counts.lose()
            if model in self._counting:
                announcement = counts.announcement(int(batches[0].offsets[0]))
                if announcement is not None:
                    announced.append(self._evidence(announcement))
                late = counts.n_late
                counts.add(batches)
                self._metrics.rows(model, sum(len(batch.times) for batch in batches), counts.watermark)
                self._metrics.late_rows(model, counts.n_late - late)
            elif model in self._catalogue.sensitive_models():
                detail = "it has sensitive features, so its rows are not copied to be learned from: create its baseline"
                _reject_all(batches, "needs_baseline", detail, rejected)
            else:
                list(counts.see(batches))
                for offset in {int(offset) for batch in batches for offset in np.unique(batch.offsets)}:
                    learning.setdefault(offset, []).append(model)
        self._record_time = max(self._record_time, records[-1].timestamp or -1)
        self._position = records[-1].offset + 1
        self._changes += 1
        return [*announced, *self._outputs(records, learning, rejected)]

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
        baseline = self._catalogue.newest(batch.model)
        guard = future_guard_ms(baseline.window_ms) if baseline else future_guard_ms()
        future = (batch.times > batch.record_times + guard) & (batch.record_times >= 0)
        if not future.any():
            return batch
        detail = f"time {{time}} lies more than {guard // 1000} s after the record's own timestamp; check the clock"
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
        """Yield what the judge has not been told yet."""
        passed = max(now_ms, self._record_time) if caught_up else self._record_time
        for model, counts in self._models.items():
            if model in self._counting:
                for partial in counts.partials(self._position, passed):
                    yield self._evidence(partial)

    def _evidence(self, partial: evidence.Partial) -> Output:
        offset = max(0, partial.position - 1)
        return self._out.output(offset, topics.EVIDENCE.name, partial.model, evidence.encode(partial))

    def lost(self, n_records: int) -> None:
        """Take note that records before the next one were lost, of whichever model."""
        del n_records
        self._lost_until = FOREVER
        self._changes += 1
        for counts in self._models.values():
            counts.lose()

    def readings(self) -> Sequence[Reading]:
        """Nothing is read again."""
        return ()

    def read(self, reading: Reading, records: Sequence[Record]) -> list[Output]:
        """Never asked for."""
        raise AssertionError(f"{reading} was not wanted; {len(records)} records")

    def before_checkpoint(self) -> None:
        """Begin to count models whose baseline is known, once earlier forwarding lies behind."""
        if self._position >= self._log_end:
            ready = {model for model in self._catalogue.models() if self._catalogue.eras(model)}
            if not ready <= self._counting:
                self._counting |= ready
                self._changes += 1

    def segments(self) -> Mapping[str, int]:
        """One segment a model, and one for the partition."""
        names = {f"model/{model}": counts.changes for model, counts in self._models.items()}
        decoder = {DECODER_SEGMENT: self._decoder.changes} if self._decoder.changes else {}
        return {PARTITION_SEGMENT: self._changes, **decoder, **names}

    def encode(self, segment: str) -> bytes:
        """Return a segment's bytes."""
        if segment == PARTITION_SEGMENT:
            counting = sorted(self._counting)
            state = _PartitionState(counting, self._record_time, self._position, self._lost_until)
            return msgspec.msgpack.encode(state)
        if segment == DECODER_SEGMENT:
            return self._decoder.encode()
        return self._models[segment.removeprefix("model/")].encode()

    def restore(self, segments: Mapping[str, bytes]) -> None:
        """Take a snapshot's segments."""
        for name, data in segments.items():
            if name == PARTITION_SEGMENT:
                state = _decode_partition(data)
                self._counting, self._record_time = set(state.counting), state.record_time
                self._position, self._lost_until = state.position, state.lost_until
            elif name == DECODER_SEGMENT:
                self._decoder.restore(data)
            else:
                model = name.removeprefix("model/")
                counts = self._models[model] = ModelCounts(self._source, model, self._catalogue)
                counts.restore(data)

    def models(self) -> Iterable[str]:
        """Return the models this partition has seen."""
        return self._models.keys()


def _reject_all(batches: Sequence[Batch], reason: str, detail: str, rejected: list[Rejected]) -> None:
    for batch in batches:
        reject_rows(batch, np.ones(len(batch.times), bool), reason, detail, rejected)


ORIGIN_HEADERS = frozenset({ORIGIN_HEADER, "drift-time"})
