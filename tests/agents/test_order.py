"""What the order, the cut and the idleness of sources must not change."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
import orjson
import pytest

from schemas import baselines, control, evidence, topics
from schemas.columns import Batch, Column
from schemas.control import Effective
from schemas.evidence import Partial
from schemas.monitors import FeatureMonitor, Monitor
from schemas.records import PlainRecord
from schemas.results import Result
from streams.agents import vectors
from streams.agents.counting import ModelCounts
from streams.agents.judging import ModelJudge
from streams.agents.learn import LearnStage
from streams.agents.outputs import Originating
from streams.agents.profile import ProfileStage
from streams.catalogue import Catalogue
from streams.replay.run import Silent
from tests.agents.conftest import PARTITIONS, T0, catalogue

MINUTE_MS = 60_000


def batch(start_ms: int, n_rows: int, offset: int, seed: int = 1) -> Batch:
    """Return rows of model ``m`` spread over ten seconds from `start_ms`, all from one record."""
    rng = np.random.default_rng(seed)
    columns = {f"f{n}": Column(rng.normal(size=n_rows)) for n in range(8)}
    times = start_ms + np.arange(n_rows) * 10_000 // n_rows
    whole = np.full(n_rows, 1, np.int64)
    return Batch("m", "1", times.astype(np.int64), columns, None, whole * offset, whole * start_ms)


def counted(made: Catalogue, source: str, minutes: Sequence[int], n_rows: int = 100) -> list[Partial]:
    """Return what a source tells that has rows in these minutes, minute by minute."""
    counts = ModelCounts(source, "m", made)
    told = []
    for position, minute in enumerate(minutes):
        counts.add([batch(T0 + minute * MINUTE_MS, n_rows, position, seed=minute)])
        told += list(counts.partials(position + 1, None))
    return told


def last_results(made: Catalogue, told: Sequence[Partial]) -> dict[tuple[int, int], Result]:
    """Return the last revision of each (scale, window start) after all evidence, as the judge publishes it."""
    judge = ModelJudge("m", made, "test")
    found: dict[tuple[int, int], Result] = {}
    for partial in told:
        for item in judge.add(evidence.decode(evidence.encode(partial))):  # type: ignore[arg-type]  # a Partial again
            if isinstance(item, Result):
                key = (item.scale, item.window_start)
                if key not in found or found[key].revision <= item.revision:
                    found[key] = item
    return found


def test_the_order_of_sources_does_not_change_last_revisions() -> None:
    made = catalogue("1m")
    one = counted(made, "one", [0, 1, 2, 4, 5, 6, 7, 8, 9, 30])
    other = counted(made, "other", [0, 3, 9, 30])  # alone in minute 3
    assert last_results(made, [*one, *other]) == last_results(made, [*other, *one])


def test_a_wide_model_is_judged_from_all_its_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    made = catalogue("1m")
    monkeypatch.setattr(vectors, "MAX_CELLS", 500)
    first = counted(made, "one", [0, 9], n_rows=100)
    second = counted(made, "two", [0, 9], n_rows=100)
    split = [
        msgspec.structs.replace(partial, windows=[counts], watermark=partial.watermark if last else None)
        for partial in second
        for n, counts in enumerate(partial.windows or [None])
        for last in [n == len(partial.windows or [None]) - 1]
        if counts is not None
    ]
    assert len(split) > 2
    result = last_results(made, [*first, *split])[1, T0]
    assert {feature.feature: feature.rows for feature in result.features if feature.feature != "city"} == {
        f"f{n}": 200 for n in range(8)
    }


def test_a_source_without_a_window_is_told_idle() -> None:
    made = catalogue("1m")
    made.add_effective(Effective("m", "m@1", T0 + 60 * MINUTE_MS))
    counts = ModelCounts("one", "m", made)
    counts.add([batch(T0, 10, 0)])
    assert [partial.idle for partial in counts.partials(1, T0)] == [False]
    assert [partial.idle for partial in counts.partials(1, T0 + 10 * MINUTE_MS)] == [True]
    assert list(counts.partials(1, T0 + 11 * MINUTE_MS)) == []
    counts.add([batch(T0 + 12 * MINUTE_MS, 10, 1)])
    assert [partial.idle for partial in counts.partials(2, T0 + 12 * MINUTE_MS)] == [False]


def learning_records(n_minutes: int) -> list[PlainRecord]:
    """Return forwarded rows of an unknown model, as they stand in the learning topic."""
    rng = np.random.default_rng(5)
    records = []
    for offset in range(n_minutes * 60):
        time = T0 + offset * 1_000 + int(rng.integers(0, 900))
        value = {"model": "new", "time": time, "features": {"a": float(rng.normal()), "b": "xy"[int(rng.integers(2))]}}
        many = orjson.dumps({"model": "new", "times": [time] * 20, "columns": {"a": rng.normal(size=20).tolist()}})
        headers = [("drift-origin", f"drift.events.v1/0/{offset}/0".encode()), ("drift-time", str(time).encode())]
        value_bytes = orjson.dumps(value) if offset % 3 else many
        records.append(PlainRecord(topics.LEARNING.name, 0, offset, time, value_bytes, b"new", headers))
    return records


def learned(records: Sequence[PlainRecord], poll: int) -> bytes:
    """Return the baseline a learner publishes when it is given so many records at a time."""
    stage = LearnStage("learning/0", Catalogue(), Originating(topics.LEARNING.name, 0, PARTITIONS), Silent())
    assembly = control.Assembly()
    for start in range(0, len(records), poll):
        stage.update(records[start : start + poll])
        for reading in stage.readings():
            for output in stage.read(reading, records[reading.start : reading.end]):
                message = control.decode(output.value or b"")
                if isinstance(message, control.Chunk) and (whole := assembly.add(message)) is not None:
                    return whole
    raise AssertionError("nothing was learned")


def test_a_learned_baseline_does_not_depend_on_polls() -> None:
    records = learning_records(60)
    one = learned(records, 1)
    assert baselines.decode(one).provisional
    assert all(learned(records, poll) == one for poll in (7, 100, 777, 5_000))


def test_values_of_a_feature_made_sensitive_later_are_left_out() -> None:
    made = catalogue("1m")
    monitor = Monitor("m", window="1m", monitor_version=2, features={"f0": FeatureMonitor(sensitive=True)})
    made.add_monitor(monitor)
    result = last_results(made, counted(made, "one", [0, 1, 9]))[1, T0]
    features = {feature.feature: feature for feature in result.features}
    assert (features["f0"].before, features["f0"].after, features["f0"].top_bins) == ("", "", [])
    assert features["f1"].after


def test_rows_of_a_model_with_sensitive_features_are_not_copied_to_be_learned_from() -> None:
    made = Catalogue()
    made.add_monitor(Monitor("secret", monitor_version=1, features={"city": FeatureMonitor(sensitive=True)}))
    stage = ProfileStage("events/0", made, Originating("drift.events.v1", 0, PARTITIONS), Silent())
    value = orjson.dumps({"model": "secret", "time": T0, "features": {"city": "Lyon"}})
    outputs = stage.update([PlainRecord("drift.events.v1", 0, 0, T0, value, b"secret")])
    assert [output.topic for output in outputs] == [topics.DEAD.name]
    assert not any(b"Lyon" in (output.value or b"") for output in outputs)
    assert b"needs_baseline" in dict(outputs[0].headers).values()
