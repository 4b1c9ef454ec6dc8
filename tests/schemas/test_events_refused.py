"""What cannot be used is refused with its reason and place, and takes no neighbour with it."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.events import MAX_ROWS, decode
from schemas.messages import ARROW
from tests.schemas.rows import COLUMNS, ROW, T0, arrow, arrow_record, columns, encoded, record, row, seen, stream, why

SECOND, YEAR_3000 = T0 // 1000, 32_503_680_000_000
NAMES = {f"f{n}": n for n in range(2_001)}


def without(message: dict[str, Any], name: str) -> bytes:
    return encoded({key: value for key, value in message.items() if key != name})


@pytest.mark.parametrize(
    ("value", "reason", "told"),
    [
        (b"", "not_json", ""),
        (b"{", "not_json", ""),
        (b"\x00\x01", "not_json", ""),
        (b'{"model": "m\xff"}', "not_json", "utf-8"),
        (row()[:-5], "not_json", ""),
        (row() + b"}", "not_json", ""),
        (b"[" * 100_000, "not_json", "nested"),
        (row(features={"x": 1}).replace(b"1}", b"[" * 50_000 + b"]" * 50_000 + b"}"), "not_json", "nested"),
        (row().replace(b"1.5", b"1" * 5_000), "not_json", ""),
        (b"[]", "wrong_type", "object"),
        (b"7", "wrong_type", "object"),
        (b"null", "wrong_type", "object"),
        (without(ROW, "model"), "missing_field", "`model`"),
        (without(ROW, "time"), "missing_field", "`time`"),
        (without(ROW, "features"), "missing_field", "`features`"),
        (without(COLUMNS, "model"), "missing_field", "`model`"),
        (without(COLUMNS, "times"), "missing_field", "`times`"),
        (row(model=""), "wrong_type", "$.model"),
        (row(model=7), "wrong_type", "$.model"),
        (row(model=None), "wrong_type", "$.model"),
        (row(model="m" * 201), "wrong_type", "$.model"),
        (row(version="v" * 201), "wrong_type", "$.version"),
        (row(version=1.5), "wrong_type", "$.version"),
        (row(id={"a": 1}), "wrong_type", "$.id"),
        (row(id="i" * 501), "wrong_type", "$.id"),
        (row(features=None), "wrong_type", "$.features"),
        (row(features=[1]), "wrong_type", "$.features"),
        (row(features={"f" * 201: 1}), "wrong_type", "$.features"),
        (row(features=NAMES), "too_many_features", "2001"),
        (row(time=None), "wrong_type", "$.time"),
        (row(time=True), "wrong_type", "$.time"),
        (row(time=1.5), "wrong_type", "$.time"),
        (row(time="yesterday"), "wrong_type", "$.time"),
        (row(time="2026-03-01T12:00:00"), "wrong_type", "$.time"),
        (row(time="2026-13-01T12:00:00Z"), "wrong_type", "$.time"),
        (row(time=float("nan")), "wrong_type", "$.time"),
        (columns(times=T0), "wrong_type", "$.times"),
        (columns(times=[T0, None]), "wrong_type", "$.times"),
        (columns(columns={"x": 1}), "wrong_type", "$.columns"),
        (columns(columns={name: [1, 2] for name in NAMES}), "too_many_features", "2001"),
        (columns(times=[T0]), "unequal_lengths", "'x' has 2 values, `times` has 1"),
        (columns(ids=["a"]), "unequal_lengths", "'ids'"),
        (columns(predictions=[1]), "unequal_lengths", "'predictions'"),
        (columns(latencies_ms=[1]), "unequal_lengths", "'latencies_ms'"),
        (columns(errors=[None] * 3), "unequal_lengths", "'errors'"),
        (columns(times=[T0] * (MAX_ROWS + 1), columns={}), "too_many_rows", "20001"),
    ],
)
def test_a_json_message_is_refused_with_its_reason(value: bytes, reason: str, told: str) -> None:
    assert why(value)[0] == reason
    assert told in why(value)[1]


GOOD_ARROW = arrow({"time": [T0, T0], "feature.x": [1.5, 2], "feature.c": ["a", "b"]})


@pytest.mark.parametrize(
    ("value", "reason", "told"),
    [
        (b"", "arrow_invalid", ""),
        (b"garbage", "arrow_invalid", ""),
        (b"\xff\xff\xff\xff" + b"garbage" * 20, "arrow_invalid", ""),
        (GOOD_ARROW[:100], "arrow_invalid", ""),
        (GOOD_ARROW[: len(GOOD_ARROW) // 2], "arrow_invalid", ""),
        (GOOD_ARROW[:-60], "arrow_invalid", ""),
        (arrow({"feature.x": [1]}), "missing_field", "`time`"),
        (arrow({"time": [T0]}, {}), "missing_field", "`model`"),
        (arrow({"time": [T0]}, {"model": ""}), "missing_field", "`model`"),
        (arrow({"time": [T0]}, {"model": "m" * 201}), "missing_field", "`model`"),
        (arrow({"time": [T0]}, {"model": "m", "version": "v" * 201}), "missing_field", "`version`"),
        (arrow({"time": [T0, None]}), "time_invalid", "1 rows"),
        (arrow({"time": [1.5]}), "time_invalid", "double"),
        (arrow({"time": ["2026-03-01T12:00:00Z"]}), "time_invalid", "string"),
        (arrow({"time": [T0], **{f"feature.{name}": [1] for name in NAMES}}), "too_many_features", "2001"),
        (arrow({"time": [T0], "feature." + "f" * 300: [1]}), "wrong_type", "name"),
        (arrow({"time": pa.array([T0] * (MAX_ROWS + 1))}), "too_many_rows", "20000"),
        (arrow({"time": pa.array([T0] * (MAX_ROWS + 1)), "feature.x": pa.nulls(MAX_ROWS + 1)}), "too_many_rows", ""),
        (stream(pa.table([[T0], [1], [2]], ["time", "feature.x", "feature.x"]), {"model": "m"}), "wrong_type", "twice"),
    ],
)
def test_an_arrow_message_is_refused_with_its_reason(value: bytes, reason: str, told: str) -> None:
    assert why(value, ARROW)[0] == reason
    assert told in why(value, ARROW)[1]


def test_text_in_arrow_that_is_no_utf_8_is_refused() -> None:
    array = pa.Array.from_buffers(pa.string(), 1, [None, pa.py_buffer(b"\0\0\0\0\1\0\0\0"), pa.py_buffer(b"\xff")])
    assert why(arrow({"time": [T0], "feature.x": array}), ARROW)[0] == "arrow_invalid"
    damaged = arrow({"time": [T0], "feature.abcdefgh": [1]}).replace(b"abcdefgh", b"\xff" * 8)
    assert why(damaged, ARROW)[0] == "arrow_invalid"


@pytest.mark.parametrize("content_type", ["text/csv", "application/avro", "nonsense"])
def test_an_unknown_content_type_is_refused(content_type: str) -> None:
    reason, detail = why(row(), content_type)
    assert reason == "unknown_content_type"
    assert content_type in detail


ABSURD = [SECOND, T0 * 1_000, T0 * 1_000_000, YEAR_3000, -T0, 0, 2**63, -(2**63), 10**40, "3000-01-01T00:00:00Z"]


@pytest.mark.parametrize("time", [*ABSURD, "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
def test_absurd_times_are_refused_row_by_row(time: Any) -> None:
    assert why(row(time=time))[0] == "time_invalid"
    decoded = decode([record(columns(times=[time, T0]), 5)])
    assert [(one.offset, one.reason, one.n_rows) for one in decoded.rejected] == [(5, "time_invalid", 1)]
    assert [time_ms for _, _, time_ms, _, _ in seen(decoded.batches)["m"]] == [T0]


@pytest.mark.parametrize("time", [one for one in ABSURD if isinstance(one, int) and abs(one) < 2**63])
def test_absurd_times_in_arrow_are_refused_row_by_row(time: int) -> None:
    decoded = decode([arrow_record(arrow({"time": [T0, time, T0 + 1]}), 5)])
    assert [(one.offset, one.reason, one.n_rows) for one in decoded.rejected] == [(5, "time_invalid", 1)]
    assert [time_ms for _, _, time_ms, _, _ in seen(decoded.batches)["m"]] == [T0, T0 + 1]


def test_arrow_times_no_integer_milliseconds_hold_are_absurd() -> None:
    for times in (pa.array([2**64 - 1], pa.uint64()), pa.array([2**62], pa.int64()).cast(pa.timestamp("s"))):
        assert why(arrow({"time": times}), ARROW)[0] == "time_invalid"


def test_every_refused_row_of_a_message_is_counted() -> None:
    decoded = decode([record(columns(times=[1] * 900 + [T0] * 100, columns={"x": list(range(1_000))}), 5)])
    assert [(one.offset, one.n_rows) for one in decoded.rejected] == [(5, 900)]
    assert len(decoded.batches[0].times) == 100


BAD = [row(time=1), row(time=10**40), columns(times=[T0]), b"{", row(features=NAMES), row(model=1), GOOD_ARROW[:100]]


@settings(deadline=None, max_examples=50)
@given(st.lists(st.sampled_from([row(), columns(), GOOD_ARROW, *BAD]), max_size=30))
def test_a_bad_message_takes_no_good_one_with_it(values: list[bytes]) -> None:
    decoded = decode([record(value, offset) for offset, value in enumerate(values)])
    assert sorted(one.offset for one in decoded.rejected) == [n for n, value in enumerate(values) if value in BAD]
    kept = sorted({offset for offset, *_ in seen(decoded.batches).get("m", [])})
    assert kept == [n for n, value in enumerate(values) if value not in BAD]


def test_lenient_json_is_read_like_strict_json() -> None:
    value = json.dumps({**ROW, "features": {"x": float("nan"), "y": float("inf"), "z": "half \ud800"}}).encode()
    decoded = decode([record(value)])
    assert seen(decoded.batches)["m"][0][4] == {"y": float("inf"), "z": "half ?"}


def test_a_map_with_ever_new_keys_costs_no_more_than_its_values() -> None:
    values = [{f"key-{n}-{k}": 1 for k in range(10)} for n in range(5_000)]
    column = decode([record(columns(times=[T0] * 5_000, columns={"x": values}))]).batches[0].columns["x"]
    assert column.n_invalid == 5_000


def test_ever_new_features_are_not_spread_over_all_rows() -> None:
    records = [record(row(features={f"f-{n}-{k}": k for k in range(50)}), n) for n in range(300)]
    batches = decode(records).batches
    assert sum(len(batch.columns) * len(batch.times) for batch in batches) <= 300 * 50 * 10
    assert [offset for offset, *_ in seen(batches)["m"]] == list(range(300))
