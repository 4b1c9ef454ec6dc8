"""Events of three forms decode to the same columns."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from schemas import events
from schemas.arrays import MAX_LABEL
from schemas.events import DERIVED, decode, feature_column
from schemas.messages import ARROW
from tests.schemas.rows import INVALID, T0, arrow, columns, one, record, row, seen, values_of

NAN, INF = float("nan"), float("inf")
AT = datetime(2026, 3, 1, 12, tzinfo=UTC)


def test_one_row_becomes_a_batch_of_one() -> None:
    batch = one(row(id="req-1", version="7", prediction=0.83, latency_ms=12.5, error=True))
    assert (batch.model, batch.version, batch.ids) == ("m", "7", ["req-1"])
    assert seen([batch])["m"] == [
        (7, "7", T0, "req-1", {"x": 1.5, "city": "Lyon", "prediction": 0.83, "latency_ms": 12.5, "error": "true"})
    ]
    assert batch.record_times.tolist() == [T0]


def test_columns_become_a_batch_of_their_rows() -> None:
    batch = one(columns(ids=["a", 4], predictions=[0.5, None], latencies_ms=[1, 2.5], errors=[None, "timeout"]))
    assert seen([batch])["m"] == [
        (7, "", T0, "a", {"x": 1.5, "city": "Lyon", "prediction": 0.5, "latency_ms": 1.0}),
        (7, "", T0 + 1, "4", {"x": 2.0, "latency_ms": 2.5, "error": "timeout"}),
    ]


def test_an_arrow_stream_becomes_a_batch_of_its_rows() -> None:
    given = {
        "time": pa.array([T0, T0 + 1]),
        "id": ["a", None],
        "feature.x": [1.5, None],
        "feature.city": ["Lyon", "Paris"],
        "prediction": [0.5, 0.25],
        "latency_ms": [1, 2],
        "error": [None, "timeout"],
        "entity": ["c", "d"],
        "slice.country": ["FR", "FR"],
    }
    batch = one(arrow(given, {"model": "m", "version": "7"}), ARROW)
    assert batch.version == "7"
    assert seen([batch])["m"] == [
        (7, "7", T0, "a", {"x": 1.5, "city": "Lyon", "prediction": 0.5, "latency_ms": 1.0}),
        (7, "7", T0 + 1, None, {"city": "Paris", "prediction": 0.25, "latency_ms": 2.0, "error": "timeout"}),
    ]


def test_null_stands_for_every_optional_field() -> None:
    optional = ("version", "id", "prediction", "latency_ms", "error", "slices", "entity", "feature_version", "metadata")
    batch = one(row(**dict.fromkeys(optional)))
    assert (batch.version, batch.ids, set(batch.columns)) == ("", None, {"x", "city"})
    batch = one(columns(version=None, ids=None, predictions=None, slices=None, entities=None, metadata=None))
    assert (batch.version, batch.ids, set(batch.columns)) == ("", None, {"x", "city"})


def test_a_version_may_be_a_whole_number() -> None:
    decoded = decode([record(row(version=7)), record(row(version="7"), 1)])
    assert [(batch.version, batch.offsets.tolist()) for batch in decoded.batches] == [("7", [0, 1])]


@pytest.mark.parametrize(
    ("given", "time_ms"),
    [
        (T0, T0),
        ("2026-03-01T12:00:00Z", T0),
        ("2026-03-01T12:00:00.250Z", T0 + 250),
        ("2026-03-01T12:00:00.250999Z", T0 + 250),
        ("2026-03-01T14:00:00+02:00", T0),
        ("2026-03-01T06:30:00.001-05:30", T0 + 1),
    ],
)
def test_times_are_epoch_milliseconds_whatever_their_form(given: Any, time_ms: int) -> None:
    assert one(row(time=given)).times.tolist() == [time_ms]
    assert one(columns(times=[given, T0])).times.tolist() == [time_ms, T0]
    assert one(columns(times=["2026-03-01T12:00:00Z", given])).times.tolist() == [T0, time_ms]


def test_times_of_both_forms_stand_side_by_side_in_one_poll() -> None:
    decoded = decode([record(row()), record(row(time="2026-03-01T12:00:01Z"), 1), record(row(time=T0 + 2), 2)])
    assert not decoded.rejected
    assert np.concatenate([batch.times for batch in decoded.batches]).tolist() == [T0, T0 + 1000, T0 + 2]


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "UTC", "Europe/Paris"])
def test_arrow_timestamps_of_any_unit_and_zone_are_epoch_milliseconds(unit: str, zone: str | None) -> None:
    ticks = pa.array([T0], pa.timestamp("ms")).cast(pa.timestamp(unit)).cast(pa.int64())
    given = {"time": ticks.cast(pa.timestamp(unit, zone)), "feature.x": [1]}
    assert one(arrow(given), ARROW).times.tolist() == [T0]


@pytest.mark.parametrize("kind", [pa.int64(), pa.uint64()])
def test_arrow_integers_are_epoch_milliseconds(kind: Any) -> None:
    assert one(arrow({"time": pa.array([T0], kind)}), ARROW).times.tolist() == [T0]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([1, 2], [1.0, 2.0]),
        ([1, 2.5], [1.0, 2.5]),
        ([None, -0.5], [None, -0.5]),
        ([NAN, 1], [None, 1.0]),
        ([INF, -INF], [INF, -INF]),
        (["a", "b"], ["a", "b"]),
        (["", None], ["", None]),
        ([True, False], ["true", "false"]),
        ([True, None], ["true", None]),
        ([True, 1], ["true", 1.0]),
        ([True, "true"], ["true", "true"]),
        (["a", 1], ["a", 1.0]),
        ([None, None], [None, None]),
        ([2**53 + 1, 0.5], [2.0**53, 0.5]),
        ([2**60 + 1, 0.5], [2.0**60, 0.5]),
        ([2**63 + 1, 1], [2.0**63, 1.0]),
        ([2**70, -(2**70)], [2.0**70, -(2.0**70)]),
        ([10**400, -(10**400)], [INF, -INF]),
        ([{"a": 1}, 1], [INVALID, 1.0]),
        ([[1, 2], "a"], [INVALID, "a"]),
        ([[], {}], [INVALID, INVALID]),
        ([[1], None], [INVALID, None]),
        (["\ud800x", "x"], ["?x", "x"]),
        (["été", "日本"], ["été", "日本"]),
    ],
)
def test_values_of_any_type_are_numbers_labels_missing_or_invalid(given: list[Any], expected: list[Any]) -> None:
    batch = one(columns(columns={"x": given}))
    assert values_of(batch, "x") == expected
    assert batch.columns["x"].n_invalid == expected.count(INVALID)
    by_row = decode([record(row(features={"x": value}), n) for n, value in enumerate(given)])
    assert [value for part in by_row.batches for value in values_of(part, "x")] == expected


def test_numbers_beyond_float64_are_infinite() -> None:
    assert values_of(one(row().replace(b"1.5", b"1e999")), "x") == [INF]
    assert values_of(one(row().replace(b"1.5", b"-1e999")), "x") == [-INF]


def test_long_labels_are_cut_and_stay_different() -> None:
    given = ["a" * 100_000, "a" * 100_000 + "b", "a" * MAX_LABEL]
    batch = one(columns(times=[T0] * 3, columns={"x": given}))
    levels = batch.columns["x"].levels
    assert len(set(levels)) == 3
    assert max(map(len, levels)) <= MAX_LABEL
    assert one(columns(columns={"x": [1, given[0]]})).columns["x"].levels == levels[:1]
    assert one(arrow({"time": [T0], "feature.x": [given[0]]}), ARROW).columns["x"].levels == levels[:1]


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (pa.array([1, None], pa.int8()), [1.0, None]),
        (pa.array([1, 2**64 - 1], pa.uint64()), [1.0, 2.0**64]),
        (pa.array([0.5, None], pa.float16()), [0.5, None]),
        (pa.array([0.5, None], pa.float32()), [0.5, None]),
        (pa.array([Decimal("1.25"), None], pa.decimal128(10, 2)), [1.25, None]),
        (pa.array([Decimal("1.25"), None], pa.decimal256(50, 2)), [1.25, None]),
        (pa.array([True, None]), ["true", None]),
        (pa.array(["a", None], pa.large_string()), ["a", None]),
        (pa.array(["a", None], pa.string_view()), ["a", None]),
        (pa.array(["a", None]).dictionary_encode(), ["a", None]),
        (pa.array([1.5, None]).dictionary_encode(), [1.5, None]),
        (pa.array([7, 7]).dictionary_encode(), [7.0, 7.0]),
        (pa.DictionaryArray.from_arrays(pa.array([1, 0], pa.int8()), ["a", None]), [None, "a"]),
        (pa.DictionaryArray.from_arrays(pa.array([2, 1], pa.int32()), ["a", "b", "b"]), ["b", "b"]),
        (pa.array([AT, None], pa.timestamp("us")), [INVALID, None]),
        (pa.array([AT.date(), None]), [INVALID, None]),
        (pa.array([timedelta(1), None]), [INVALID, None]),
        (pa.array([[1], None]), [INVALID, None]),
        (pa.array([{"a": 1}, None]), [INVALID, None]),
        (pa.array([b"a", None]), [INVALID, None]),
        (pa.nulls(2), [None, None]),
        (pa.RunEndEncodedArray.from_arrays([1, 2], [1.5, None]), [1.5, None]),
        (pa.chunked_array([pa.array(["a"]).dictionary_encode(), pa.array(["b"]).dictionary_encode()]), ["a", "b"]),
    ],
    ids=lambda part: str(part.type) if hasattr(part, "type") else "",
)
def test_arrow_types_become_numbers_labels_missing_or_invalid(array: Any, expected: list[Any]) -> None:
    batch = one(arrow({"time": [T0, T0], "feature.x": array}), ARROW)
    assert values_of(batch, "x") == expected
    assert batch.columns["x"].n_invalid == expected.count(INVALID)
    assert set(batch.columns["x"].levels) <= set(expected)


@pytest.mark.parametrize("kind", [pa.float32(), pa.float64()])
def test_arrow_floats_are_used_where_they_lie(kind: Any) -> None:
    value = arrow({"time": [T0, T0], "feature.x": pa.array([0.1, NAN], kind)})
    numbers = one(value, ARROW).columns["x"].numbers
    assert numbers is not None
    assert numbers.dtype == kind.to_pandas_dtype()
    assert np.shares_memory(numbers, np.frombuffer(value, np.uint8))


@pytest.mark.parametrize("prediction", [0.83, "approve", True])
def test_a_prediction_is_a_number_or_a_label(prediction: Any) -> None:
    expected = "true" if prediction is True else prediction
    assert values_of(one(row(prediction=prediction)), "prediction") == [expected]
    assert values_of(one(columns(predictions=[None, prediction])), "prediction") == [None, expected]


def test_class_probabilities_give_the_likeliest_label_its_confidence_and_the_entropy() -> None:
    rows = [{"yes": 0.75, "no": 0.25}, {"yes": 0.5, "no": 0.5}]
    by_column = {"time": [T0, T0], "prediction.yes": [0.75, 0.5], "prediction.no": [0.25, 0.5]}
    for batch in (one(columns(predictions=rows)), one(arrow(by_column), ARROW)):
        assert values_of(batch, "prediction") == ["yes", "no"]
        assert values_of(batch, "confidence") == [0.75, 0.5]
        assert values_of(batch, "prediction.no") == [0.25, 0.5]
        entropy = -(0.75 * np.log(0.75) + 0.25 * np.log(0.25))
        np.testing.assert_allclose(values_of(batch, "entropy"), [entropy, np.log(2)], rtol=1e-12)


def test_predictions_of_all_kinds_stand_side_by_side() -> None:
    given = [{"yes": 0.75, "no": 0.25}, "maybe", 0.5, None, {}, {"no": 1}, "yes", [1]]
    batch = one(columns(times=[T0] * 8, columns={}, predictions=given))
    assert values_of(batch, "prediction") == ["yes", "maybe", 0.5, None, None, "no", "yes", INVALID]
    assert values_of(batch, "confidence") == [0.75, None, None, None, None, 1.0, None, None]


def test_objects_of_too_many_classes_are_invalid_predictions() -> None:
    many = {f"c{n}": 0.01 for n in range(101)}
    assert values_of(one(row(prediction=many)), "prediction") == [INVALID]
    assert values_of(one(row(prediction={"c" * 201: 1})), "prediction") == [INVALID]
    table = {"time": [T0], **{f"prediction.{name}": [0.01] for name in many}}
    batch = one(arrow(table), ARROW)
    assert (values_of(batch, "prediction"), len(batch.columns)) == ([INVALID], 1)


@pytest.mark.parametrize("value", ["fast", [1], {}])
def test_a_latency_or_error_of_the_wrong_type_costs_that_value_alone(value: Any) -> None:
    batch = one(row(latency_ms=value, error=value))
    expected = value if isinstance(value, str) else INVALID
    assert (values_of(batch, "latency_ms"), values_of(batch, "error")) == ([expected], [expected])
    assert values_of(batch, "x") == [1.5]


def test_features_named_like_derived_series_are_kept_apart() -> None:
    names = [*sorted(DERIVED), "prediction.yes", "features.error", "features.features.error", "features.x"]
    features = {name: n for n, name in enumerate(names)}
    derived = {"prediction": {"yes": 1}, "latency_ms": 1, "error": "e"}
    table = {f"feature.{name}": [n] for name, n in features.items()}
    for batch in (one(row(features=features, **derived)), one(arrow({"time": [T0], **table}), ARROW)):
        assert [values_of(batch, feature_column(name))[0] for name in names] == list(range(len(names)))
    assert len({feature_column(name) for name in names}) == len(names)
    assert feature_column("features.x") == "features.x"


def test_tombstones_are_counted_and_skipped() -> None:
    decoded = decode([record(None), record(row(), 1), record(None, 2)])
    assert (decoded.n_tombstones, decoded.rejected, decoded.batches[0].offsets.tolist()) == (2, [], [1])


def test_an_empty_poll_is_nothing() -> None:
    assert decode([]) == ([], [], 0)


def test_the_header_decides_before_the_first_byte() -> None:
    stream = arrow({"time": [T0], "feature.x": [1]})
    assert one(stream).times.tolist() == [T0]
    assert one(stream, "Application/vnd.Apache.arrow.stream; x=y").times.tolist() == [T0]
    assert one(stream, "application/octet-stream").times.tolist() == [T0]
    assert one(row(), "application/json; charset=utf-8").times.tolist() == [T0]
    assert decode([record(stream, 0, "application/json")]).rejected[0].reason == "not_json"
    assert decode([record(row(), 0, ARROW)]).rejected[0].reason == "arrow_invalid"


def test_the_last_of_several_content_types_counts() -> None:
    headers = [("Content-Type", b"text/csv"), ("traceparent", b"00"), ("content-type", b"application/json")]
    assert not decode([record(row())._replace(headers=headers)]).rejected


def test_unknown_fields_are_ignored() -> None:
    assert one(row(later=1)).times.tolist() == [T0]
    assert one(columns(later=1)).times.tolist() == [T0, T0 + 1]


def test_a_row_with_a_feature_named_columns_is_a_row() -> None:
    assert values_of(one(row(features={"columns": 3})), "columns") == [3.0]


def test_messages_without_rows_leave_nothing() -> None:
    assert decode([record(columns(times=[], columns={}))]) == ([], [], 0)
    assert decode([record(arrow({"time": pa.array([], pa.int64())}))]) == ([], [], 0)


def test_rows_without_features_count() -> None:
    assert one(row(features={})).columns == {}


def test_the_largest_message_is_accepted_to_its_last_row() -> None:
    n_rows = events.MAX_ROWS
    batch = one(columns(times=[T0] * n_rows, columns={"x": list(range(n_rows))}))
    assert values_of(batch, "x")[-1] == n_rows - 1
    assert len(one(row(features={f"f{n}": n for n in range(2_000)})).columns) == 2_000
    wide = {"time": [T0], "id": ["a"], "prediction": [1], **{f"feature.{n}": [n] for n in range(2_000)}}
    assert len(one(arrow(wide), ARROW).columns) == 2_001


def test_a_part_of_a_column_counts_its_own_invalid_values() -> None:
    column = one(columns(times=[T0] * 4, columns={"x": [[1], None, 2, {}]})).columns["x"]
    assert [column.take(slice(at, at + 2)).n_invalid for at in (0, 2)] == [1, 1]
    assert column.take(np.array([False, True, True, False])).n_invalid == 0
    assert column.take([0, 3, 3]).n_invalid == 3
