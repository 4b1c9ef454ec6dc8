"""What a stage says after a restart has to count: the judge takes nothing from a position it has passed."""

from __future__ import annotations

from collections.abc import Iterable

import orjson
import pytest

from schemas import evidence, monitors, topics
from schemas.control import Effective
from schemas.monitors import Monitor
from schemas.records import PlainRecord
from streams.agents.judge import JudgeStage
from streams.agents.learn import LearnStage
from streams.agents.outputs import Originating
from streams.agents.profile import ProfileStage
from streams.catalogue import Catalogue
from streams.engine.outbox import Output
from streams.engine.stage import Stage
from streams.replay.run import Silent
from tests.engine import traffic
from tests.engine.traffic import MINUTE_MS, START_MS

MODEL = "alpha"
ONE = dict.fromkeys((topic.name for topic in topics.ALL), 1)


@pytest.fixture
def catalogue() -> Catalogue:
    """A model with a baseline; its sources are idle after a minute."""
    made = Catalogue()
    made.add_baseline(traffic.baseline(MODEL))
    made.add_effective(Effective(MODEL, f"{MODEL}@1", 0))
    made.add_monitor(Monitor(model=MODEL, window="1m", idle_s=60.0))
    return made


def _records(topic: str, n: int, headers: list[tuple[str, bytes]]) -> list[PlainRecord]:
    """Return rows of one minute, ten seconds apart, read as they happened."""
    return [
        PlainRecord(
            topic, 0, offset, START_MS + 10_000 * offset,
            orjson.dumps({"model": MODEL, "time": START_MS + 10_000 * offset, "features": {"age": 40.0}}),
            None,
            [(name, value.replace(b"N", str(offset).encode())) for name, value in headers],
        )
        for offset in range(n)
    ]  # fmt: skip


def _partials(outputs: Iterable[Output]) -> list[evidence.Partial]:
    found = [
        evidence.decode(output.value) for output in outputs if output.topic == topics.EVIDENCE.name and output.value
    ]
    return [message for message in found if isinstance(message, evidence.Partial)]


def _again(stage: Stage, fresh: Stage) -> Stage:
    """Return the stage as the next process has it after a checkpoint."""
    fresh.restore({name: stage.encode(name) for name in stage.segments()})
    return fresh


def _profile(catalogue: Catalogue) -> ProfileStage:
    return ProfileStage(f"{topics.EVENTS.name}/0", catalogue, Originating(topics.EVENTS.name, 0, ONE), Silent())


def _learn(catalogue: Catalogue) -> LearnStage:
    return LearnStage(f"{topics.LEARNING.name}/0", catalogue, Originating(topics.LEARNING.name, 0, ONE), Silent())


def test_a_quiet_partition_is_idle_after_a_restart_too(catalogue: Catalogue) -> None:
    stage = _profile(catalogue)
    stage.before_checkpoint()
    stage.update(_records(topics.EVENTS.name, 6, []))
    told = _partials(stage.flush(0, caught_up=False))
    stage = _again(stage, _profile(catalogue))  # type: ignore[assignment]  # it is one
    later = _partials(stage.flush(START_MS + 10 * MINUTE_MS, caught_up=True))
    assert later[-1].idle
    assert (later[-1].watermark or 0) >= START_MS + 9 * MINUTE_MS
    # The judge ignores what comes from before a position it knows, so the window of a partition that
    # has gone quiet would never close once its worker was restarted.
    assert later[-1].position >= told[-1].position


def test_a_source_of_learned_rows_is_idle_after_a_restart_too(catalogue: Catalogue) -> None:
    stage = _learn(catalogue)
    headers = [("drift-origin", f"{topics.EVENTS.name}/0/N/0".encode())]
    records = _records(topics.LEARNING.name, 6, headers)
    stage.update(records)
    stage = _again(stage, _learn(catalogue))  # type: ignore[assignment]  # it is one
    [reading] = stage.readings()
    assert (reading.start, reading.end) == (0, 6), "all that was forwarded is counted, whatever came between"
    stage.read(reading, records)
    told = _partials(stage.flush(0, caught_up=False))
    assert sum(counts.rows for partial in told for counts in partial.windows) == 0, "their window is open"
    stage = _again(stage, _learn(catalogue))  # type: ignore[assignment]  # it is one
    later = _partials(stage.flush(START_MS + 10 * MINUTE_MS, caught_up=True))
    assert sum(counts.rows for partial in later for counts in partial.windows) == 6
    assert later[-1].idle
    assert later[-1].position == 6


def test_a_judge_that_lost_its_state_overwrites_no_monitor(catalogue: Catalogue) -> None:
    catalogue.add_monitor(Monitor(model=MODEL, monitor_version=3, effective_from=START_MS))
    judge = JudgeStage(catalogue, Originating(topics.EVIDENCE.name, 0, ONE), Silent(), lambda: 0)
    apply = evidence.Apply(MODEL, monitors.encode(Monitor(model=MODEL, owner="team-a")))
    [output] = judge.update([PlainRecord(topics.EVIDENCE.name, 0, 0, 0, evidence.encode(apply))])
    assert monitors.decode(output.value or b"").monitor_version == 4
