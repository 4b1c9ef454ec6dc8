"""The whole line in memory: profile stages, a learner and a judge, wired by lists, with a clock that is told."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec
import numpy as np
import orjson

from detectors.reference import build_baseline
from detectors.windows import DAY_MS
from schemas import alerts, results, topics
from schemas.alerts import Alert
from schemas.columns import Column
from schemas.control import Effective
from schemas.monitors import Monitor
from schemas.records import PlainRecord
from schemas.results import Result
from streams.agents.judge import JudgeStage
from streams.agents.learn import LearnStage
from streams.agents.outputs import Originating
from streams.agents.profile import ProfileStage
from streams.catalogue import Catalogue
from streams.engine.outbox import Output
from streams.engine.stage import Stage
from streams.replay.run import Replay, Silent, last_revisions

MODEL = "m"
EVENTS, LEARNING, EVIDENCE = topics.EVENTS.name, topics.LEARNING.name, topics.EVIDENCE.name
ONE = dict.fromkeys((topic.name for topic in topics.ALL), 1)


def watched(monitor: Monitor) -> Catalogue:
    """Return a catalogue in which the model has a baseline from the beginning, under this monitor."""
    made = Catalogue()
    made.add_monitor(monitor)
    columns = {"a": Column(np.random.default_rng(5).normal(size=1_000))}
    times = np.arange(1_000, dtype=np.int64) * (400 * DAY_MS // 1_000)  # long enough for every scale
    made.add_baseline(
        build_baseline(
            columns, times, baseline_id=f"{MODEL}@1", model=MODEL, monitor=monitor, source="test", created_ms=0
        )
    )
    made.add_effective(Effective(MODEL, f"{MODEL}@1", 0))
    return made


def message(partition: int, offset: int, times: Sequence[int], record_time: int) -> PlainRecord:
    """Return rows of the model as one record; their values are a function of their times."""
    values = [float(np.sin(time / 7_000 + partition)) for time in times]
    value = orjson.dumps({"model": MODEL, "times": list(times), "columns": {"a": values}})
    return PlainRecord(EVENTS, partition, offset, record_time, value)


class Counting(Silent):
    """Counts what came too late for good as well."""

    def __init__(self) -> None:
        super().__init__()
        self.n_after_final = 0

    def late_after_final(self, n_windows: int) -> None:
        """Count."""
        self.n_after_final += n_windows


class Line:
    """Partitions of events and everything behind them; what is produced waits until it is polled."""

    def __init__(self, catalogue: Catalogue, n_partitions: int) -> None:
        self.catalogue, self.metrics = catalogue, Counting()
        self.now = 0
        self.events: list[list[PlainRecord]] = [[] for _ in range(n_partitions)]
        self.made: list[Result | Alert] = []
        self._learning: list[PlainRecord] = []
        self._n_evidence = 0
        self._positions = [0] * n_partitions
        self._profiles = [self._profile(partition, 0) for partition in range(n_partitions)]
        self._learner = self._learn()
        self._judge = self._judging()

    def _profile(self, partition: int, log_end: int) -> ProfileStage:
        out = Originating(EVENTS, partition, ONE)
        stage = ProfileStage(f"{EVENTS}/{partition}", self.catalogue, out, self.metrics, log_end=log_end)
        if not log_end:
            stage.before_checkpoint()
        return stage

    def _learn(self) -> LearnStage:
        return LearnStage(f"{LEARNING}/0", self.catalogue, Originating(LEARNING, 0, ONE), self.metrics)

    def _judging(self) -> JudgeStage:
        sources = [f"{EVENTS}/{partition}" for partition in range(len(self.events))]
        return JudgeStage(
            self.catalogue, Originating(EVIDENCE, 0, ONE), self.metrics, lambda: self.now, sources=sources
        )

    def produce(self, partition: int, times: Sequence[int], record_time: int) -> None:
        """Append one record of rows with these event times."""
        log = self.events[partition]
        log.append(message(partition, len(log), times, record_time))

    def lag(self, partition: int) -> int:
        """Return how many records of a partition wait."""
        return len(self.events[partition]) - self._positions[partition]

    def poll(self, partition: int, n: int = 1 << 30) -> None:
        """Let a partition's stage take its next records."""
        start = self._positions[partition]
        if records := self.events[partition][start : start + n]:
            self._positions[partition] += len(records)
            self._put(self._profiles[partition].update(records))

    def flush(self) -> None:
        """Let every stage say what is worth showing now."""
        for partition, stage in enumerate(self._profiles):
            self._put(stage.flush(self.now, caught_up=not self.lag(partition)))
        self._put(self._learner.flush(self.now, caught_up=True))

    def checkpoint(self, partition: int) -> dict[str, bytes]:
        """Checkpoint a partition's stage, with everything that belongs to it; return the snapshot."""
        stage = self._profiles[partition]
        stage.before_checkpoint()
        return self._snapshot(stage)

    def restart(self) -> None:
        """Checkpoint everything, end the worker, and let another one go on from the snapshots."""
        for partition in range(len(self._profiles)):
            snapshot = self.checkpoint(partition)
            self._profiles[partition] = self._profile(partition, len(self.events[partition]))
            self._profiles[partition].restore(snapshot)
        snapshot = self._snapshot(self._learner)
        self._learner = self._learn()
        self._learner.restore(snapshot)
        snapshot = self._snapshot(self._judge)
        self._judge = self._judging()
        self._judge.restore(snapshot)

    def _snapshot(self, stage: Stage) -> dict[str, bytes]:
        self._put(stage.flush(self.now, caught_up=False))
        return {name: stage.encode(name) for name in stage.segments()}

    def _put(self, outputs: Iterable[Output]) -> None:
        for output in outputs:
            if output.topic == EVIDENCE:
                record = PlainRecord(EVIDENCE, 0, self._n_evidence, self.now, output.value, output.key, output.headers)
                self._n_evidence += 1
                assert self._judge.ready([record]) == 1
                self._put(self._judge.update([record]))
            elif output.topic == LEARNING:
                record = PlainRecord(
                    LEARNING, 0, len(self._learning), self.now, output.value, output.key, output.headers
                )
                self._learning.append(record)
                self._put(self._learner.update([record]))
                for reading in self._learner.readings():
                    self._put(self._learner.read(reading, self._learning[reading.start : reading.end]))
            elif output.topic in (topics.BASELINES.name, topics.MONITORS.name):
                self.catalogue.update(PlainRecord(output.topic, 0, 0, self.now, output.value, output.key))
            elif output.topic == topics.RESULTS.name:
                self.made.append(results.decode(output.value or b""))
            elif output.topic == topics.ALERTS.name:
                self.made.append(alerts.decode(output.value or b""))

    def finish(self) -> None:
        """Read everything; then time passes until every source is idle and every window sealed."""
        for partition in range(len(self.events)):
            self.poll(partition)
        self.flush()  # what was read last is told before time passes
        self.now = max([self.now, *(r.timestamp for log in self.events for r in log)]) + 1_000 * DAY_MS
        self.flush()


def comparable(made: Iterable[Result | Alert]) -> list[Result]:
    """Return the last revision of every window, without what may differ: the run, and when it was produced."""
    return [msgspec.structs.replace(result, run_id="", produced_at=0) for result in last_revisions(made)]


def replayed(catalogue: Catalogue, events: Sequence[Sequence[PlainRecord]]) -> list[Result]:
    """Return what a replay of the same records ends with."""
    replay = Replay(catalogue, "replay")
    made = [item for log in events if log for item in replay.add(log)]
    return comparable([*made, *replay.judge(), *replay.finish()])
