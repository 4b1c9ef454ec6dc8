"""However a timeline was cut, read, flushed and interrupted: what comes out in the end is what a replay gives."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from schemas.monitors import Monitor
from schemas.results import Result
from streams.catalogue import Catalogue
from tests.timelines.drawing import MINUTE_MS, T0
from tests.timelines.line import MODEL, Line, comparable, replayed, watched


@dataclass(frozen=True)
class Rows:
    """Rows in one record of a partition; their times lie `ages_s` before the record's."""

    partition: int
    ages_s: tuple[int, ...]


@dataclass(frozen=True)
class Poll:
    """A partition's next records are read."""

    partition: int
    n: int


@dataclass(frozen=True)
class Wait:
    """Time passes, then everything is flushed."""

    seconds: int


@dataclass(frozen=True)
class Restart:
    """Another worker goes on."""


Step = Rows | Poll | Wait | Restart
PARTITIONS = st.integers(0, 2)
STEPS: st.SearchStrategy[Step] = st.one_of(
    st.builds(Rows, PARTITIONS, st.lists(st.integers(-30, 300), min_size=1, max_size=6).map(tuple)),
    st.builds(Poll, PARTITIONS, st.integers(1, 4)),
    st.builds(Wait, st.integers(5, 75)),
    st.just(Restart()),
)
SLOW = [HealthCheck.too_slow]


def run(line: Line, steps: list[Step]) -> None:
    """Do the steps on a line, and let it come to its end."""
    line.now = T0
    for step in steps:
        if isinstance(step, Rows):
            line.produce(step.partition, [line.now - age * 1_000 for age in step.ages_s], line.now)
        elif isinstance(step, Poll):
            line.poll(step.partition, step.n)
        elif isinstance(step, Restart):
            line.restart()
        else:
            line.now += step.seconds * 1_000
            line.flush()
    line.finish()


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=SLOW)
@given(st.lists(STEPS, min_size=1, max_size=24), st.sampled_from([0.0, 0.5, 1.0, 3.0]), st.sampled_from([20.0, 120.0]))
def test_any_batching_ends_as_a_replay(steps: list[Step], lateness: float, idle_s: float) -> None:
    # 24 steps span less than the windows a judge keeps: nothing is late after final
    monitor = Monitor(MODEL, monitor_version=1, window="1m", scales=[1, 15], lateness_windows=lateness, idle_s=idle_s)
    line = Line(watched(monitor), 3)
    run(line, steps)
    assert line.metrics.n_after_final == 0
    assert comparable(line.made) == replayed(line.catalogue, line.events)


@settings(max_examples=8, deadline=None, derandomize=True, suppress_health_check=SLOW, phases=[Phase.generate])
@given(st.data())
def test_a_model_that_was_learned_ends_as_a_replay(data: st.DataObject) -> None:
    # 24 minutes span less than the windows a judge keeps: nothing is late after final
    catalogue = Catalogue()
    catalogue.add_monitor(Monitor(MODEL, monitor_version=1, learn_rows=500, scales=[1, 15]))
    line = Line(catalogue, 2)
    line.now = T0
    for _ in range(24):
        line.now += MINUTE_MS
        for partition in (0, 1):
            line.produce(partition, [line.now - age * 50 for age in range(300)], line.now)
            line.poll(partition, data.draw(st.integers(0, 3)))
            if data.draw(st.booleans()):
                line.checkpoint(partition)
        line.flush()
        if data.draw(st.integers(0, 9)) == 0:
            line.restart()
    line.finish()
    assert catalogue.eras(MODEL), "a baseline was learned"
    assert line.metrics.n_after_final == 0
    found, again = comparable(line.made), replayed(catalogue, line.events)
    assert len(found) >= 10
    assert list(map(_without_warnings, found)) == list(map(_without_warnings, again))


def _without_warnings(result: Result) -> dict[str, object]:
    """Return a result without its warnings: rows that were forwarded are blocks of a source of their own."""
    return {name: getattr(result, name) for name in result.__struct_fields__ if name != "warnings"}
