"""Whatever is sent, every good row is counted once and every bad message is one dead letter."""

from __future__ import annotations

from collections import Counter
from random import Random

import numpy as np
import pytest

from schemas import results
from schemas.events import decode
from schemas.messages import ARROW
from schemas.records import PlainRecord
from schemas.results import Result
from streams.replay.run import Replay, last_revisions
from tests.agents.conftest import HOUR_MS, Stage, catalogue, polls, stage
from tests.agents.mutations import MUTATIONS, a_column_message, a_row, an_arrow_stream, mistyped
from tests.schemas.rows import T0, encoded, record, seen

SEEDS = [1, 2]
REASONS = {
    "arrow_invalid", "missing_field", "not_json", "time_in_future", "time_invalid", "too_many_features",
    "too_many_rows", "unequal_lengths", "unknown_content_type", "wrong_type",
}  # fmt: skip
GOOD = "g"
"""The model of the good rows; mutations of others cannot name it."""


def good(random: Random, n: int) -> tuple[bytes, str | None, int]:
    """A good message of model g, and its number of rows."""
    form = n % 3
    if form == 2:
        return an_arrow_stream(random, GOOD), ARROW, 3
    if form == 1:
        return encoded({**a_column_message(random), "model": GOOD}), None, 3
    return encoded({**a_row(random), "model": GOOD}), None, 1


def traffic(seed: int, n_bad: int) -> tuple[list[PlainRecord], dict[int, int]]:
    """Bad messages between good ones; and the good ones' rows by offset."""
    random = Random(seed)
    records: list[PlainRecord] = []
    n_good: dict[int, int] = {}
    for n in range(n_bad):
        for _ in range(random.choice([0, 1, 3])):
            value, content_type, n_rows = good(random, len(records))
            n_good[len(records)] = n_rows
            records.append(record(value, len(records), content_type))
        mutated, content_type = MUTATIONS[n % len(MUTATIONS)](random)
        records.append(record(mutated, len(records), content_type))
    return records, n_good


def run(records: list[PlainRecord], cuts: list[int]) -> Stage:
    made = stage(models=(GOOD, "m"))
    for poll in polls(records, cuts):
        made.update(poll)
    made.finish()
    return made


def counted(made: Stage, model: str) -> int:
    return sum(counts.rows for name, counts in made.windows() if name == model and counts.part == 0)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_thousand_bad_messages_harm_no_good_row_and_each_is_one_dead_letter(seed: int) -> None:
    records, n_good = traffic(seed, 1_000)
    random = Random(seed)
    made = run(records, [random.randrange(len(records)) for _ in range(40)])

    assert counted(made, GOOD) == sum(n_good.values())
    letters = made.dead_letters()
    assert max(Counter(letter.offset for letter in letters).values()) == 1
    assert not {letter.offset for letter in letters} & n_good.keys()
    assert {letter.reason for letter in letters} <= REASONS
    for letter in letters:
        assert (letter.topic, letter.partition) == ("drift.events.v1", 0)
        assert letter.value == records[letter.offset].value
        assert letter.detail

    usable = decode([one for one in records if one.offset not in n_good])
    accounted = {letter.offset for letter in letters} | {
        offset for rows in seen(usable.batches).values() for offset, *_ in rows
    }
    empty_messages = {one.offset for one in records if one.offset not in accounted and one.value is not None}
    for offset in empty_messages - n_good.keys():
        assert decode([records[offset]]) == ([], [], 0), "a message without rows"
    assert len(empty_messages - n_good.keys()) < 20
    assert len(letters) > 500


@pytest.mark.parametrize("seed", SEEDS)
def test_any_cut_of_the_bad_and_the_good_gives_the_same_counts_and_dead_letters(seed: int) -> None:
    records, _ = traffic(seed, 300)
    random = Random(seed)
    whole = run(records, [])
    for cuts in ([random.randrange(len(records)) for _ in range(30)], list(range(len(records)))):
        parts = run(records, cuts)
        assert sorted((one.offset, one.reason) for one in parts.dead_letters()) == sorted(
            (one.offset, one.reason) for one in whole.dead_letters()
        )
        assert sorted(parts.windows(), key=str) == sorted(whole.windows(), key=str)


def test_no_evidence_of_bad_input_is_too_large_to_send() -> None:
    records, _ = traffic(3, 600)
    made = run(records, [])
    assert max(len(output.value or b"") for output in made.outputs if output.topic == "drift.evidence.v1") < 900_000


def test_mutations_reach_every_reason() -> None:
    random = Random(5)
    mutated = [mutation(random) for mutation in MUTATIONS for _ in range(60)]
    records = [record(value, n, content_type) for n, (value, content_type) in enumerate(mutated)]
    reasons = {one.reason for one in decode(records).rejected}
    assert reasons >= REASONS - {"time_in_future", "too_many_features", "too_many_rows"}


def judged(records: list[PlainRecord], cuts: list[int]) -> list[Result]:
    replay = Replay(catalogue(), "test")
    made = [item for poll in polls(records, cuts) for item in replay.add(poll)]
    return last_revisions([*made, *replay.finish()])


def test_values_of_the_wrong_type_are_counted_through_to_the_verdict() -> None:
    rng = np.random.default_rng(2)
    n_rows, every = 3_000, 100
    records = []
    for n in range(n_rows):
        features = {f"f{k}": float(value) for k, value in enumerate(rng.normal(size=8))} | {"city": "Lyon"}
        if n % every == 0:
            features |= {"f0": "text", "f1": [1, 2], "f2": {"a": 1}, "f3": True, "city": 7, "f4": None}  # type: ignore[dict-item]  # wrong on purpose
        time_ms = T0 + n * (2 * HOUR_MS // n_rows)
        message = encoded({"model": "m", "time": time_ms, "features": features})
        records.append(record(message, n, timestamp=time_ms))
    verdicts = [
        (result.rows, {one.feature: (one.type_errors, one.missing) for one in result.features})
        for result in judged(records, [])
        if result.scale == 1
    ]
    assert sum(rows for rows, _ in verdicts) == n_rows
    for feature in ("f0", "f1", "f2", "f3", "city"):
        assert sum(features[feature][0] for _, features in verdicts) == n_rows // every, feature
        assert sum(features[feature][1] for _, features in verdicts) == 0, feature
    assert sum(features["f4"][1] for _, features in verdicts) == n_rows // every
    assert sum(features["f5"][0] for _, features in verdicts) == 0


def test_type_errors_and_missing_values_are_told_apart_on_both_sides_of_a_window_and_a_poll() -> None:
    values: list[object] = [[1], None, 1.5, None, {}, 2.5, None, [2], 0.5, None]
    times = [T0 + (n // 5) * HOUR_MS for n in range(10)]
    message = encoded({"model": "m", "times": times, "columns": {"f0": values}})
    by_rows = [
        record(encoded({"model": "m", "time": time, "features": {"f0": value}}), n, timestamp=time)
        for n, (time, value) in enumerate(zip(times, values, strict=True))
    ]
    for records, cuts in (([record(message, timestamp=times[-1])], []), (by_rows, []), (by_rows, [3, 4, 8])):
        found = [
            (one.type_errors, one.missing)
            for result in judged(records, cuts)
            if result.scale == 1
            for one in result.features
            if one.feature == "f0"
        ]
        assert found == [(2, 2), (1, 2)]


def test_mistyped_messages_alone_never_raise_and_are_all_counted() -> None:
    random = Random(9)
    records = [record(mistyped(random)[0], n) for n in range(500)]
    found = judged(records, [100, 101, 350])
    assert sum(result.rows for result in found if result.scale == 1) == 500
    assert results.decode(results.encode(found[0])) == found[0]
