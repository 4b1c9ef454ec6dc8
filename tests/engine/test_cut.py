"""A cut through a stage that goes on is the state at its position: every segment as it was there, none later."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from schemas import topics
from schemas.control import Effective
from schemas.records import PlainRecord, Record
from streams.agents.judge import JudgeStage
from streams.agents.learn import LearnStage
from streams.agents.outputs import Originating
from streams.agents.profile import Limits, ProfileStage
from streams.catalogue import Catalogue
from streams.engine.checkpoint import Cut
from streams.engine.stage import Stage
from streams.replay.run import Silent
from tests.engine import traffic

MODELS = ("alpha", "beta", "gamma")
ONE = dict.fromkeys((topic.name for topic in topics.ALL), 1)
PLACE = f"{topics.EVENTS.name}/0"


def _catalogue() -> Catalogue:
    made = Catalogue()
    for model in MODELS:
        made.add_baseline(traffic.baseline(model))
        made.add_effective(Effective(model, f"{model}@1", 0))
        made.add_monitor(traffic.monitor(model))
    return made


def _profile(catalogue: Catalogue) -> ProfileStage:
    out = Originating(topics.EVENTS.name, 0, ONE)
    stage = ProfileStage(PLACE, catalogue, out, Silent(), limits=Limits(gather_rows=40, open_bytes=1))
    stage.before_checkpoint()
    return stage


def _learn(catalogue: Catalogue) -> LearnStage:
    return LearnStage(f"{topics.LEARNING.name}/0", catalogue, Originating(topics.LEARNING.name, 0, ONE), Silent())


def _judge(catalogue: Catalogue) -> JudgeStage:
    return JudgeStage(catalogue, Originating(topics.EVIDENCE.name, 0, ONE), Silent(), lambda: 0)


def _events() -> list[Record]:
    sent = traffic.messages(MODELS, n_partitions=1, minutes=6)
    return [
        PlainRecord(
            topics.EVENTS.name,
            0,
            offset,
            traffic.START_MS,
            value,
            b"",
            [(name, text) for name, text in headers if isinstance(text, bytes)],
        )
        for offset, (_, value, headers) in enumerate(sent)
    ]


def _forwarded() -> list[Record]:
    stage = ProfileStage(PLACE, Catalogue(), Originating(topics.EVENTS.name, 0, ONE), Silent())
    outputs = [output for output in stage.update(_events()) if output.topic == topics.LEARNING.name]
    return [
        PlainRecord(topics.LEARNING.name, 0, n, traffic.START_MS, o.value, o.key, o.headers)
        for n, o in enumerate(outputs)
    ]


def _evidence() -> list[Record]:
    stage, told, events = _profile(_catalogue()), [], _events()
    for start in range(0, len(events), 20):
        stage.update(events[start : start + 20])
        told += list(stage.flush(0, caught_up=False))
    return [PlainRecord(topics.EVIDENCE.name, 0, n, 0, o.value, o.key, o.headers) for n, o in enumerate(told)]


def _taken(stage: Stage, records: Sequence[Record]) -> Stage:
    """Take records as the engine does: with what they lead to at once."""
    for start in range(0, len(records), 7):
        stage.update(records[start : start + 7])
        for reading in stage.readings():
            stage.read(reading, [record for record in records if reading.start <= record.offset < reading.end])
    return stage


@pytest.mark.parametrize(("make", "records"), [(_profile, _events), (_learn, _forwarded), (_judge, _evidence)])
@pytest.mark.parametrize("share", [0.25, 0.75])
def test_a_stage_announces_every_change(
    make: Callable[[Catalogue], Stage], records: Callable[[], list[Record]], share: float
) -> None:
    sent = records()
    n_before = int(share * len(sent))
    assert n_before > 0
    catalogue = _catalogue()
    stage = _taken(make(catalogue), sent[:n_before])
    list(stage.flush(0, caught_up=False))
    at_once = Cut(stage, n_before, stage.segments(), {})
    at_once.close()
    late = Cut(stage, n_before, stage.segments(), {})
    for start in range(n_before, len(sent), 5):
        stage.update(sent[start : start + 5])
    late.close()
    assert late.encoded == at_once.encoded
    after = Cut(stage, len(sent), stage.segments(), {})
    after.close()
    assert after.encoded != at_once.encoded
