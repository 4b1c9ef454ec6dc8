"""Nothing is judged before every source has said which models its first records are of."""

from __future__ import annotations

from collections.abc import Iterable

import orjson

from schemas import evidence, results, topics
from schemas.records import PlainRecord
from schemas.results import Result
from streams.agents.judge import JudgeStage
from streams.agents.outputs import Originating
from streams.agents.profile import ProfileStage
from streams.engine.outbox import Output
from streams.replay.run import Silent
from tests.agents.conftest import T0, catalogue

MINUTE_MS = 60_000
OF = catalogue("1m")
PARTITIONS = {topic.name: 3 for topic in topics.ALL}
SOURCES = ("events/0", "events/1")


def profile(source: str) -> ProfileStage:
    """Return an empty stage that counts model ``m``."""
    made = ProfileStage(source, OF, Originating(source, 0, PARTITIONS), Silent())
    made.before_checkpoint()
    return made


def judge() -> JudgeStage:
    """Return an empty stage that knows of two sources."""
    out = Originating(topics.EVIDENCE.name, 0, PARTITIONS)
    return JudgeStage(OF, out, Silent(), lambda: 0, sources=SOURCES)


def rows(minutes: Iterable[int], n: int = 5) -> list[PlainRecord]:
    """Return rows of some minutes."""
    value = {"model": "m", "version": "1", "features": {"f0": 0.5}}
    return [
        PlainRecord("events", 0, 10 * minute + i, T0 + minute * MINUTE_MS, orjson.dumps(
            value | {"time": T0 + minute * MINUTE_MS + i}
        ), b"")
        for minute in minutes
        for i in range(n)
    ]  # fmt: skip


def told(outputs: Iterable[Output]) -> list[evidence.Evidence]:
    """Return the evidence of a model's partition, as the judge reads it."""
    return [
        evidence.decode(o.value or b"")
        for o in outputs
        if o.topic == topics.EVIDENCE.name and (o.partition == 0 or o.key == b"m")
    ]


def judged(by: JudgeStage, messages: Iterable[evidence.Evidence], first: int) -> list[Result]:
    """Return the results that evidence leads to."""
    records = [
        PlainRecord(topics.EVIDENCE.name, 0, first + n, 0, evidence.encode(message), b"")
        for n, message in enumerate(messages)
    ]
    return [results.decode(o.value or b"") for o in by.update(records) if o.topic == topics.RESULTS.name]


def test_a_source_says_once_to_every_partition_that_it_has_started() -> None:
    one = profile("events/0")
    assert list(one.flush(0, caught_up=False)) == [], "it has seen no records and may have a backlog"
    one.update(rows([0]))
    outputs = [o for o in one.flush(0, caught_up=False) if o.key == b"events/0"]
    assert [(o.topic, o.partition, evidence.decode(o.value or b"")) for o in outputs] == [
        (topics.EVIDENCE.name, partition, evidence.Started("events/0")) for partition in range(3)
    ]
    other = profile("events/0")
    other.restore({name: one.encode(name) for name in one.segments()})
    for stage in (one, other):
        stage.update(rows([1]))
        assert [o for o in stage.flush(0, caught_up=True) if o.key == b"events/0"] == []


def test_a_source_without_records_has_started_too() -> None:
    assert len(told(profile("events/0").flush(T0, caught_up=True))) == 1


def test_windows_wait_for_a_source_that_was_never_heard() -> None:
    ahead, behind = profile("events/0"), profile("events/1")
    ahead.update(rows(range(100)))
    early = told(ahead.flush(0, caught_up=False))
    late: list[evidence.Evidence] = []
    for part in (range(3), range(3, 101)):
        late += told(behind.update(rows(part)))
        late += told(behind.flush(0, caught_up=False))

    one = judge()
    assert judged(one, early, 0) == []
    restored = judge()
    restored.restore({name: one.encode(name) for name in one.segments()})
    for stage in (one, restored):
        found = judged(stage, late, len(early))
        first = {r.window_start: r for r in reversed(found) if r.scale == 1}
        assert [(r.rows, r.late_after_final) for _, r in sorted(first.items())] == [(10, 0)] * 99


def test_without_waiting_they_would_be_judged_without_its_rows() -> None:
    ahead = profile("events/0")
    ahead.update(rows(range(100)))
    one = JudgeStage(OF, Originating(topics.EVIDENCE.name, 0, PARTITIONS), Silent(), lambda: 0)
    found = judged(one, told(ahead.flush(0, caught_up=False)), 0)
    assert {r.rows for r in found if r.scale == 1} == {5}
