"""The profile stage with a mapped topic: counted like events, forwarded as events, dead letters at their offsets."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from schemas import evidence, topics
from schemas.dead import read_dead
from schemas.events import decode
from schemas.mapped import MappedDecoder
from schemas.records import PlainRecord
from schemas.sources import Source
from streams.agents.learn import LearnStage
from streams.agents.outputs import Originating, origin_of
from streams.agents.profile import ProfileStage
from streams.catalogue import Catalogue
from streams.engine.outbox import Output
from streams.replay.run import Silent
from tests.agents.conftest import PARTITIONS, T0, catalogue

FIELDS = {"model": "m", "time": "at", "features": "in", "prediction": "out"}


def mapping(known: Catalogue, *models: str, **source: Any) -> Catalogue:
    """A catalogue whose models also read the topic t."""
    plain = {"topic": "t", "fields": FIELDS, **source}
    for model in models:
        sources = msgspec.convert([plain], list[Source])
        known.add_monitor(msgspec.structs.replace(known.monitor(model), sources=sources))
    return known


def stage(known: Catalogue) -> ProfileStage:
    """The stage of partition 0 of the topic t."""
    decoder = MappedDecoder(lambda: known.mappings("t"))
    return ProfileStage("t/0", known, Originating("t", 0, PARTITIONS), Silent(), decoder=decoder)


def record(offset: int, **fields: Any) -> PlainRecord:
    """A message of the topic t, a second after the one before."""
    whole = {"m": "m", "at": T0 + offset * 1000, "in": {"f0": 0.5, "city": "Lyon"}, "out": 0.5, **fields}
    return PlainRecord("t", 0, offset, T0 + offset * 1000, json.dumps(whole).encode(), b"anything")


def of(outputs: Sequence[Output], topic: topics.Topic) -> list[PlainRecord]:
    """The outputs to one topic, as records."""
    return [
        PlainRecord(topic.name, 0, at, T0, output.value, output.key, output.headers)
        for at, output in enumerate(outputs)
        if output.topic == topic.name
    ]


def counted(profile: ProfileStage) -> int:
    """How many rows the evidence tells of once everything has been told."""
    told = [evidence.decode(output.value or b"") for output in profile.flush(1 << 60, caught_up=True)]
    partials = [one for one in told if isinstance(one, evidence.Partial)]
    return sum(window.rows for partial in partials for window in partial.windows if window.part == 0)


def test_rows_of_a_known_model_are_counted() -> None:
    profile = stage(mapping(catalogue(), "m"))
    profile.before_checkpoint()
    outputs = profile.update([record(at) for at in range(20)] + [record(20, m="other")])
    assert not of(outputs, topics.LEARNING)
    assert not of(outputs, topics.DEAD)
    assert counted(profile) == 20


def test_rows_of_new_models_are_forwarded_as_events_each_model_its_own() -> None:
    known = mapping(Catalogue(), "m", "n", fields={**FIELDS, "model": None, "features": {"a": "in.f0"}})
    outputs = stage(known).update([record(7), record(8)])
    forwarded = of(outputs, topics.LEARNING)
    assert [(one.key, len(decode([one]).batches)) for one in forwarded] == [(b"m", 1), (b"n", 1)] * 2
    origins = [origin_of(one) for one in forwarded]
    assert [(origin.offset, origin.ordinal) for origin in origins if origin] == [(7, 0), (7, 1), (8, 0), (8, 1)]


def test_each_of_them_is_learned_from_its_own() -> None:
    known = mapping(Catalogue(), "m", "n", fields={**FIELDS, "model": None, "features": {"a": "in.f0"}})
    forwarded = of(stage(known).update([record(7), record(8)]), topics.LEARNING)
    out = Originating(topics.LEARNING.name, 0, PARTITIONS)
    metrics = Silent()
    learn = LearnStage(f"{topics.LEARNING.name}/0", catalogue(models=("m", "n")), out, metrics)
    learn.update(forwarded)
    for reading in list(learn.readings()):
        learn.read(reading, forwarded)
    assert metrics.n_rows == 4


def test_what_does_not_fit_is_a_dead_letter_with_its_place_and_field() -> None:
    outputs = stage(mapping(catalogue(), "m")).update([record(3), record(4, at=None)])
    (letter,) = map(read_dead, of(outputs, topics.DEAD))
    assert (letter.topic, letter.partition, letter.offset, letter.reason) == ("t", 0, 4, "missing_field")
    assert "`at`" in letter.detail
    assert letter.value == record(4, at=None).value


def inference(kind: str, identity: str, offset: int, data: Any) -> PlainRecord:
    """Half of a call, as KServe's logger writes it."""
    event = {"specversion": "1.0", "type": f"org.kubeflow.serving.inference.{kind}", "id": identity}
    headers = [(f"ce_{name}", text.encode()) for name, text in event.items()]
    return PlainRecord("t", 0, offset, T0 + offset * 10_000, json.dumps(data).encode(), None, headers)


CALLS = [
    inference("response", "lost", 0, {"predictions": [1]}),
    *(inference("request", str(at), at, {"instances": [{"f0": 0.1}]}) for at in range(1, 8)),
    *(inference("response", str(at - 7), at, {"predictions": [0.5]}) for at in range(8, 15)),
]


@pytest.mark.parametrize("crash", [False, True])
def test_what_waits_to_be_paired_survives_a_crash(crash: bool) -> None:
    known = mapping(catalogue(), "m", format="open-inference", fields={}, pair_timeout_s=100)
    profile = stage(known)
    profile.before_checkpoint()
    outputs = list(profile.update(CALLS[:5]))
    if crash:
        list(profile.flush(0, caught_up=False))
        saved = {name: profile.encode(name) for name in profile.segments()}
        profile = stage(known)
        profile.restore(saved)
        assert profile.segments().keys() >= saved.keys()
    for one in CALLS[5:]:
        outputs += profile.update([one])
    (letter,) = map(read_dead, of(outputs, topics.DEAD))
    assert (letter.offset, letter.reason, letter.kept) == (0, "unpaired_response", False)
    (origin,) = [origin_of(one) for one in of(outputs, topics.DEAD)]
    assert origin is not None
    assert origin.offset == 11
    assert counted(profile) == 7
