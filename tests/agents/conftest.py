"""The profile and judge stages as replay builds them: no broker, no clock."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from detectors.reference import build_baseline
from schemas import evidence, topics
from schemas.arrays import column_of
from schemas.columns import Column
from schemas.control import Effective
from schemas.dead import DeadLetter, read_dead
from schemas.evidence import WindowCounts
from schemas.monitors import Monitor
from schemas.records import PlainRecord, Record
from streams.agents.outputs import Originating
from streams.agents.profile import ProfileStage
from streams.catalogue import Catalogue
from streams.engine.outbox import Output
from streams.replay.run import Silent

T0 = 1_772_366_400_000
HOUR_MS = 3_600_000
PARTITIONS = dict.fromkeys((topic.name for topic in topics.ALL), 1)


def reference(n_rows: int = 4_000) -> dict[str, Column]:
    """Columns ``f0`` … ``f7`` and ``city`` of a model's reference."""
    rng = np.random.default_rng(11)
    numbers = {f"f{n}": Column(rng.normal(size=n_rows)) for n in range(8)}
    return {**numbers, "city": column_of(rng.choice(["Lyon", "Paris", "Lille"], n_rows).tolist())}


def catalogue(window: Any = "1h", models: Sequence[str] = ("m",)) -> Catalogue:
    """A catalogue in which the models have a baseline from the beginning."""
    made = Catalogue()
    columns = reference()
    times = T0 - 20 * 24 * HOUR_MS + np.arange(4_000, dtype=np.int64) * (20 * 24 * HOUR_MS // 4_000)
    for model in models:
        monitor = Monitor(model, window=window)
        made.add_monitor(monitor)
        made.add_baseline(
            build_baseline(
                columns, times, baseline_id=f"{model}@1", model=model, monitor=monitor, source="test", created_ms=0
            )
        )
        made.add_effective(Effective(model, f"{model}@1", 0))
    return made


class Stage:
    """A profile stage and everything it has put out."""

    def __init__(self, of: Catalogue) -> None:
        self._metrics = Silent()
        self._profile = ProfileStage("events/0", of, Originating("drift.events.v1", 0, PARTITIONS), self._metrics)
        self._profile.before_checkpoint()
        self.outputs: list[Output] = []

    @property
    def n_rows(self) -> int:
        """Rows that were counted."""
        return self._metrics.n_rows

    def update(self, records: Sequence[Record]) -> None:
        """Take one poll and flush what it closed."""
        self.outputs += self._profile.update(records)
        self.outputs += self._profile.flush(0, caught_up=False)

    def finish(self) -> None:
        """Close every window."""
        self.outputs += self._profile.flush(1 << 60, caught_up=True)

    def dead_letters(self) -> list[DeadLetter]:
        """Return the dead letters as they would be read."""
        made = [output for output in self.outputs if output.topic == topics.DEAD.name]
        return [read_dead(PlainRecord(o.topic, 0, n, 0, o.value, o.key, o.headers)) for n, o in enumerate(made)]

    def learned_from(self) -> list[Output]:
        """Return the records forwarded because their model has no baseline."""
        return [output for output in self.outputs if output.topic == topics.LEARNING.name]

    def windows(self) -> Iterator[tuple[str, WindowCounts]]:
        """Yield model and last counts of every window."""
        newest: dict[Any, tuple[str, WindowCounts]] = {}
        for output in self.outputs:
            if output.topic == topics.EVIDENCE.name and output.value is not None:
                message = evidence.decode(output.value)
                if isinstance(message, evidence.Partial):
                    for counts in message.windows:
                        newest[message.model, counts.version, counts.window_start, counts.part] = message.model, counts
        yield from newest.values()


def stage(*, window: Any = "1h", models: Sequence[str] = ("m",)) -> Stage:
    """Return a stage whose models have baselines."""
    return Stage(catalogue(window, models))


def polls(records: Sequence[PlainRecord], cuts: Sequence[int]) -> Iterator[Sequence[PlainRecord]]:
    """Cut records into polls."""
    edges = [0, *sorted({cut for cut in cuts if 0 < cut < len(records)}), len(records)]
    for start, stop in pairwise(edges):
        yield records[start:stop]
