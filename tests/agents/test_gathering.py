"""However records are cut into polls, let wait, put at rest and restored: the evidence comes to the same."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas import evidence, topics
from schemas.codec import decode_counts
from schemas.evidence import Partial
from schemas.monitors import FeatureMonitor, Monitor
from schemas.records import PlainRecord
from streams.agents.outputs import Originating
from streams.agents.profile import Limits, ProfileStage
from streams.engine.outbox import Output
from streams.replay.run import Silent
from tests.agents.conftest import PARTITIONS, T0, catalogue

MINUTE_MS = 60_000
OF = catalogue("1m", ("m", "n", "o"))
END = T0 + 60 * MINUTE_MS


def records(n_records: int = 180) -> list[PlainRecord]:
    """Return traffic: three models, two versions, disorder, late rows, rows of the future, broken and unknown ones."""
    rng = np.random.default_rng(17)
    made = []
    for offset in range(n_records):
        now = T0 + offset * 4_000
        model = "mno"[int(rng.choice(3, p=[0.8, 0.15, 0.05]))]
        time = now - int(rng.choice([0, 5_000, 70_000, 400_000], p=[0.6, 0.25, 0.1, 0.05]))
        features = {f"f{n}": float(rng.normal()) for n in range(8)}
        row = {"model": model, "version": str(offset // 80), "time": time, "features": features}
        if offset % 7 == 0:
            n_rows = int(rng.integers(1, 60))
            columns = {"f0": rng.normal(size=n_rows).tolist(), "city": rng.choice(["Lyon", "Rome"], n_rows).tolist()}
            row = {"model": model, "times": [time + 10 * n for n in range(n_rows)], "columns": columns}
        if offset % 31 == 0:
            row["model"] = "unknown"
        if offset % 43 == 0:
            row["time"] = now + 10 * MINUTE_MS
        value = b"{broken" if offset % 53 == 0 else orjson.dumps(row)
        made.append(PlainRecord("drift.events.v1", 0, offset, now, value, model.encode()))
    return made


RECORDS = records()


def stage(limits: Limits) -> ProfileStage:
    """Return an empty stage."""
    return ProfileStage("events/0", OF, Originating("drift.events.v1", 0, PARTITIONS), Silent(), limits=limits)


def restored(of: ProfileStage, limits: Limits) -> ProfileStage:
    """Return a stage with the state of another, as another worker would have it."""
    made = stage(limits)
    made.restore({name: of.encode(name) for name in of.segments()})
    return made


def run(limits: Limits, cuts: Sequence[int], flushes: Sequence[int], crashes: Sequence[int]) -> list[Output]:
    """Return the outputs of a stage that takes the records up to each cut, is flushed, dies and is restored."""
    one = stage(limits)
    one.before_checkpoint()
    outputs: list[Output] = []
    position = saved_at = 0
    saved = restored(one, limits)
    for number, cut in enumerate([*sorted(set(cuts)), len(RECORDS)]):
        if cut > position:
            outputs += one.update(RECORDS[position:cut])
            position = cut
        if number in flushes:
            outputs += one.flush(RECORDS[position - 1].timestamp if position else 0, caught_up=number % 2 == 0)
        if number in crashes:
            if number % 2:  # a checkpoint
                one.before_checkpoint()
                outputs += one.flush(0, caught_up=False)
                saved, saved_at = restored(one, limits), position
            else:
                one, position = restored(saved, limits), saved_at
    outputs += one.update(RECORDS[position:]) if position < len(RECORDS) else []
    outputs += one.flush(END, caught_up=True)
    return outputs


def partials(outputs: Sequence[Output]) -> Iterator[Partial]:
    """Yield the evidence among outputs."""
    for output in outputs:
        if output.topic == topics.EVIDENCE.name:
            message = evidence.decode(output.value or b"")
            if isinstance(message, Partial):
                yield message


def told(outputs: Sequence[Output]) -> dict[Any, Any]:
    """Return what the judge knows in the end: last counts of each window and every block; and all other outputs."""
    known: dict[Any, Any] = {}
    for partial in partials(outputs):
        for one in partial.windows:
            counts = decode_counts(one.counts).tolist() if one.counts else []
            rest = (one.rows, one.late_rows, counts, one.unseen, one.unknown_features, one.first_ms)
            known[partial.model, one.version, one.window_start, one.part] = rest
        for blocks in partial.blocks:
            times, values = np.frombuffer(blocks.times, "<i8"), np.frombuffer(blocks.values, "<i2")
            for number, block in enumerate(zip(times.tolist(), values.tolist(), strict=True), blocks.first):
                key = partial.model, blocks.feature, number
                assert known.setdefault(key, block) == block
    for output in outputs:
        if output.topic != topics.EVIDENCE.name:
            known[output.topic, dict(output.headers)["drift-origin"]] = output.value
    return known


EXPECTED = told(run(Limits(gather_rows=1), [], [], []))
places = st.lists(st.integers(1, len(RECORDS) - 1), max_size=12)
numbers = st.lists(st.integers(0, 12), max_size=8)


def test_the_traffic_has_everything() -> None:
    late = [value for key, value in EXPECTED.items() if key[-1] == -1]
    assert len(late) > 5
    assert {key[0] for key in EXPECTED} >= {"m", "n", "o", topics.DEAD.name, topics.LEARNING.name}
    assert sum(isinstance(key[2], int) and key[1] == "f0" for key in EXPECTED if len(key) == 3) > 20


@settings(max_examples=60, deadline=None)
@given(cuts=places, flushes=numbers, crashes=numbers, gather_rows=st.sampled_from([2, 20, 256]))
def test_evidence_does_not_depend_on_cuts_waiting_rest_or_crashes(
    cuts: list[int], flushes: list[int], crashes: list[int], gather_rows: int
) -> None:
    limits = Limits(gather_rows=gather_rows, gather_bytes=20_000, open_bytes=50_000)
    assert told(run(limits, cuts, flushes, crashes)) == EXPECTED


def test_rows_of_sensitive_models_never_wait_in_a_snapshot() -> None:
    of = catalogue("1m", ("m",))
    of.add_monitor(Monitor("m", monitor_version=1, window="1m", features={"city": FeatureMonitor(sensitive=True)}))
    one = ProfileStage("events/0", of, Originating("drift.events.v1", 0, PARTITIONS), Silent())
    one.before_checkpoint()
    value = orjson.dumps({"model": "m", "time": T0, "features": {"city": "Timbuktu"}})
    one.update([PlainRecord("drift.events.v1", 0, 0, T0, value, b"m")])
    assert b"Timbuktu" in b"".join(map(one.encode, one.segments()))  # it waits
    one.before_checkpoint()
    assert b"Timbuktu" not in b"".join(map(one.encode, one.segments()))


def test_an_idle_model_with_nothing_open_is_not_looked_at() -> None:
    one = stage(Limits())
    one.before_checkpoint()
    list(one.update(RECORDS[:50]))
    assert list(one.flush(END, caught_up=True))
    before = one.segments()
    assert list(one.flush(2 * END, caught_up=True)) == []
    assert one.segments() == before


def test_what_waits_is_bounded() -> None:
    one = stage(Limits(gather_bytes=3_000))
    one.before_checkpoint()
    for record in RECORDS[:80]:
        one.update([record])
        waiting = sum(len(one.encode(name)) for name in one.segments() if name.startswith("gathered/"))
        assert waiting < 3_000 + 10_000


def test_the_versions_of_a_window_are_bounded() -> None:
    one = stage(Limits(versions=3, gather_rows=1))
    one.before_checkpoint()
    rows = [{"model": "m", "version": f"request-{n}", "time": T0 + n, "features": {"f0": 0.1}} for n in range(10)]
    one.update([PlainRecord("drift.events.v1", 0, n, T0, orjson.dumps(row), b"m") for n, row in enumerate(rows)])
    rows_of = {w.version: w.rows for p in partials(list(one.flush(END, caught_up=True))) for w in p.windows}
    assert rows_of == {"request-0": 1, "request-1": 1, "request-2": 1, "(other)": 7}
