"""Judge: the evidence of models becomes verdicts, warnings and alerts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Protocol

import msgspec

from detectors.windows import SIZES_MS
from schemas import alerts, control, evidence, monitors, results, topics
from schemas.alerts import Alert
from schemas.records import Record, Rejected
from schemas.results import Result
from streams.agents.judging import ModelJudge
from streams.agents.outputs import Originating, dead_output
from streams.catalogue import Catalogue, monitor_record
from streams.engine.outbox import Output
from streams.engine.stage import Reading, unwatched

PARTITION_SEGMENT = "partition"


class _PartitionState(msgspec.Struct):
    after_loss: bool = False
    started: list[str] = []


_decode_partition = msgspec.msgpack.Decoder(_PartitionState).decode


class JudgeMetrics(Protocol):
    """What the stage reports."""

    def observe_result(self, result: Result, now_ms: int) -> None: ...
    def observe_alert(self, alert: Alert) -> None: ...
    def dead_letter(self, reason: str) -> None: ...
    def late_after_final(self, n_windows: int) -> None: ...


class JudgeStage:
    """State of one partition of the evidence topic.

    Parameters
    ----------
    clock
        Gives `produced_at` in epoch milliseconds; nothing else depends on it.
    sources
        Nothing is judged before each of these has said which models its first records are of.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        originating: Originating,
        metrics: JudgeMetrics,
        clock: Callable[[], int],
        *,
        run_id: str = "live",
        sources: Iterable[str] = (),
    ) -> None:
        self._catalogue, self._out, self._metrics, self._clock = catalogue, originating, metrics, clock
        self._run_id = run_id
        self._models: dict[str, ModelJudge] = {}
        self.before_change: Callable[[str], None] = unwatched
        self._decoded: dict[int, evidence.Evidence] = {}
        self._after_loss, self._changes = False, 0
        self._sources, self._started = frozenset(sources), set[str]()

    def update(self, records: Sequence[Record]) -> list[Output]:
        """Take evidence record by record: what is emitted is a function of the record's offset."""
        outputs: list[Output] = []
        for record in records:
            if record.value is None:
                continue
            try:
                message = self._decoded.pop(record.offset, None) or evidence.decode(record.value)
                if isinstance(message, evidence.Apply):
                    monitors.decode(message.monitor)
            except msgspec.DecodeError as error:
                self._metrics.dead_letter("evidence_invalid")
                why = Rejected(record.offset, "evidence_invalid", str(error))
                outputs.append(dead_output(self._out, record, why, "judge", keep_value=True))
                continue
            outputs += self._taken(record.offset, message)
        return outputs

    def _taken(self, offset: int, message: evidence.Evidence) -> list[Output]:
        if isinstance(message, evidence.Tick):
            return []
        if isinstance(message, evidence.Started):
            return self._begun(offset, message.source)
        self.before_change(f"model/{message.model}")
        judge = self._judge(message.model)
        if isinstance(message, evidence.Promote | evidence.Apply):
            made = (
                self._promoted(offset, message)
                if isinstance(message, evidence.Promote)
                else self._applied(offset, message)
            )
            return [] if made is None else [made]
        late = judge.n_late_after_final
        outputs = [self._published(offset, made) for made in judge.add(message, wait=self._waits)]
        self._metrics.late_after_final(judge.n_late_after_final - late)
        return outputs

    @property
    def _waits(self) -> bool:
        return not self._sources <= self._started

    def _begun(self, offset: int, source: str) -> list[Output]:
        """Take note of a source; with the last one that was waited for, judge what is due."""
        if source in self._started:
            return []
        self.before_change(PARTITION_SEGMENT)
        waited = self._waits
        self._started.add(source)
        self._changes += 1
        outputs: list[Output] = []
        if waited and not self._waits:
            for model, judge in self._models.items():
                self.before_change(f"model/{model}")
                outputs += [self._published(offset, made) for made in judge.advance()]
        return outputs

    def _promoted(self, offset: int, message: evidence.Promote) -> Output | None:
        """Answer a promotion; None when a former worker has done so before it crashed."""
        answer = self._catalogue.answer(self._out.origin(offset))
        if isinstance(answer, control.Effective) and answer.baseline_id == message.baseline_id:
            return None
        baseline = self._catalogue.baseline(message.baseline_id)
        size_ms = 0 if baseline is None else baseline.window_ms
        sequence, start = self._judge(message.model).decide_baseline(size_ms)
        effective = control.Effective(message.model, message.baseline_id, start, sequence)
        key = f"{message.model}/effective/{message.baseline_id}/{sequence}"
        return self._out.output(offset, topics.BASELINES.name, key, control.encode(effective))

    def _applied(self, offset: int, message: evidence.Apply) -> Output | None:
        """Answer the application of a monitor; None when a former worker has done so before it crashed."""
        monitor = monitors.decode(message.monitor)
        answer = self._catalogue.answer(self._out.origin(offset))
        if isinstance(answer, monitors.Monitor) and answer == msgspec.structs.replace(
            monitor, monitor_version=answer.monitor_version, effective_from=answer.effective_from
        ):
            return None
        version, start = self._judge(message.model).decide_monitor(SIZES_MS.get(monitor.window, 0))
        monitor = msgspec.structs.replace(monitor, monitor_version=version, effective_from=start)
        return self._out.output(offset, *monitor_record(monitor))

    def _judge(self, model: str) -> ModelJudge:
        judge = self._models.get(model)
        if judge is None:
            judge = ModelJudge(model, self._catalogue, self._run_id, after_loss=self._after_loss)
            self._models[model] = judge
        return judge

    def _published(self, offset: int, made: Result | Alert) -> Output:
        if isinstance(made, Alert):
            self._metrics.observe_alert(made)
            return self._out.output(offset, topics.ALERTS.name, made.episode_id, alerts.encode(made))
        made = msgspec.structs.replace(made, produced_at=self._clock())
        self._metrics.observe_result(made, made.produced_at)
        return self._out.output(offset, topics.RESULTS.name, made.model, results.encode(made))

    def finish(self) -> list[Output]:
        """Judge every window that has rows; for replay, after the last record."""
        return [self._published(0, made) for judge in self._models.values() for made in judge.finish()]

    def ready(self, records: Sequence[Record]) -> int:
        """Return how many records name only baselines and monitors the control topics have delivered."""
        self._decoded = {}
        for n, record in enumerate(records):
            try:
                message = evidence.decode(record.value or b"")
            except msgspec.DecodeError:
                continue  # it becomes a dead letter, if it is anything
            if not self._knows(message):
                return n
            self._decoded[record.offset] = message
        return len(records)

    def _knows(self, message: evidence.Evidence) -> bool:
        if not isinstance(message, evidence.Partial):
            return True
        named = {(counts.baseline_id, counts.monitor_version) for counts in message.windows}
        named |= {(blocks.baseline_id, 0) for blocks in message.blocks}
        return all(self._catalogue.knows(message.model, *pair) for pair in named)

    def lost(self, n_records: int) -> None:
        """Flag what the lost evidence may have been about: windows whose sources had not said all of them."""
        del n_records
        self._after_loss = True
        self._changes += 1
        for judge in self._models.values():
            judge.lost()

    def flush(self, now_ms: int, *, caught_up: bool) -> Iterator[Output]:
        """Emit nothing: the judge speaks only when a record makes it."""
        del now_ms, caught_up
        yield from ()

    def readings(self) -> Sequence[Reading]:
        """Nothing is read again."""
        return ()

    def read(self, reading: Reading, records: Sequence[Record]) -> list[Output]:
        """Never asked for."""
        raise AssertionError(f"{reading} was not wanted; {len(records)} records")

    def before_checkpoint(self) -> bool:
        """Decide nothing."""
        return False

    def lowest_offset(self) -> int:
        """The first: revisions and alerts are numbered from it."""
        return 0

    def segments(self) -> Mapping[str, int]:
        """One segment a model, and one for the partition."""
        return {
            PARTITION_SEGMENT: self._changes,
            **{f"model/{name}": one.changes for name, one in self._models.items()},
        }

    def encode(self, segment: str) -> bytes:
        """Return a segment's bytes."""
        if segment == PARTITION_SEGMENT:
            return msgspec.msgpack.encode(_PartitionState(self._after_loss, sorted(self._started)))
        return self._models[segment.removeprefix("model/")].encode()

    def restore(self, segments: Mapping[str, bytes]) -> None:
        """Take a snapshot's segments."""
        for segment, data in segments.items():
            if segment == PARTITION_SEGMENT:
                state = _decode_partition(data)
                self._after_loss, self._started = state.after_loss, set(state.started)
            else:
                self._judge(segment.removeprefix("model/")).restore(data)
