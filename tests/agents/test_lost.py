"""Records that were lost before they were counted are told to the judge as a span of event time."""

from __future__ import annotations

import orjson

from schemas import evidence, topics
from schemas.evidence import Partial
from schemas.records import PlainRecord
from streams.agents.outputs import Originating
from streams.agents.profile import ProfileStage
from streams.engine.outbox import Output
from streams.replay.run import Silent
from tests.agents.conftest import PARTITIONS, T0, catalogue

MINUTE_MS = 60_000
OF = catalogue("1m", ("m", "n"))


def stage() -> ProfileStage:
    """Return an empty stage that counts models ``m`` and ``n``."""
    made = ProfileStage("events/0", OF, Originating("drift.events.v1", 0, PARTITIONS), Silent())
    made.before_checkpoint()
    return made


def record(offset: int, minute: float, model: str = "m", version: str = "1") -> PlainRecord:
    """Return a row."""
    time = T0 + round(minute * MINUTE_MS)
    value = {"model": model, "version": version, "time": time, "features": {"f0": 0.5}}
    return PlainRecord("drift.events.v1", 0, offset, time, orjson.dumps(value), b"m")


def told(outputs: list[Output]) -> list[Partial]:
    """Return the partials among the outputs."""
    messages = [evidence.decode(o.value or b"") for o in outputs if o.topic == topics.EVIDENCE.name]
    return [message for message in messages if isinstance(message, Partial)]


def flushed(of: ProfileStage, now_ms: int = 0) -> list[Partial]:
    """Return what a stage tells now."""
    return told(list(of.flush(now_ms, caught_up=now_ms > 0)))


def restored(of: ProfileStage) -> ProfileStage:
    """Return a stage with the same state, as after a crash."""
    made = stage()
    made.restore({name: of.encode(name) for name in of.segments()})
    return made


def test_a_gap_is_told_once_from_the_watermark_before_it_to_the_rows_after_it() -> None:
    one = stage()
    one.update([record(0, 1)])
    assert [partial.lost for partial in flushed(one)] == [None]
    one.lost(7)
    one.update([record(8, 3), record(9, 4)])
    assert [partial.lost for partial in flushed(one)] == [(T0 + MINUTE_MS, T0 + 4 * MINUTE_MS)]
    one.update([record(10, 6)])
    assert [partial.lost for partial in flushed(one)] == [None]


def test_a_gap_survives_a_crash_before_and_after_the_next_rows() -> None:
    one = stage()
    one.update([record(0, 1)])
    flushed(one)
    one.lost(7)
    one = restored(one)
    one.update([record(8, 3)])
    assert [partial.lost for partial in flushed(restored(one))] == [(T0 + MINUTE_MS, T0 + 3 * MINUTE_MS)]


def test_what_a_stage_without_state_may_have_missed_begins_at_zero_for_every_model() -> None:
    one = stage()
    one.lost(7)
    one.update([record(8, 3)])
    assert [partial.lost for partial in flushed(one)] == [(0, T0 + 3 * MINUTE_MS)]
    one.update([record(9, 5, "n")])
    assert (0, T0 + 5 * MINUTE_MS) in [partial.lost for partial in flushed(one) if partial.model == "n"]


def test_a_model_that_appears_long_after_a_gap_is_new() -> None:
    one = stage()
    one.lost(7)
    one.update([record(8, 3)])
    one.update([record(9, 8 * 24 * 60, "m")])
    one.update([record(10, 8 * 24 * 60 + 1, "n")])
    assert [partial.lost for partial in flushed(one) if partial.model == "n"] == [None]


def test_a_model_that_stays_silent_after_a_gap_is_told_with_its_idleness() -> None:
    one = stage()
    one.update([record(0, 1)])
    flushed(one)
    one.lost(7)
    assert [partial.lost for partial in flushed(one, T0 + 10 * MINUTE_MS)] == [(T0 + MINUTE_MS, T0 + 10 * MINUTE_MS)]
    assert [partial.lost for partial in flushed(one, T0 + 11 * MINUTE_MS)] == []


def test_the_first_event_of_a_version_is_told_exactly() -> None:
    one = stage()
    one.update([record(0, 1.5, version="1"), record(1, 1.2, version="2"), record(2, 1.1, version="2")])
    one = restored(one)
    one.update([record(3, 1.05, version="2"), record(4, 9, version="1")])
    first = {counts.version: counts.first_ms for partial in flushed(one) for counts in partial.windows}
    assert first == {"1": T0 + 90_000, "2": T0 + 63_000}
