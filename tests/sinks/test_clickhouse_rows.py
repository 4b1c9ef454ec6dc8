"""Messages become rows with exact types, and only rows that differ have different keys."""

from __future__ import annotations

import numpy as np
import pytest

from schemas import feedback as feedback_messages
from schemas.columns import Column
from schemas.records import PlainRecord
from schemas.results import Warning
from streams.sinks import tables
from streams.sinks.rows import merge, rows_of_batch, rows_of_control, rows_of_feedback, rows_of_result, rows_of_results
from tests.sinks.results import START_MS, a_batch, a_feature, a_result


def test_a_result_gives_one_row_for_each_feature_and_one_for_its_window() -> None:
    warning = Warning("income", "adwin", START_MS + 5, 1.0, 2.0)
    rows = rows_of_result(a_result(features=[a_feature("a"), a_feature("b", counts=())], warnings=[warning]))
    assert {table: batch.num_rows for table, batch in rows.items()} == {
        "results": 2,
        "profiles": 1,
        "warnings": 1,
        "windows": 1,
    }
    assert all(batch.schema == tables.TABLES[table] for table, batch in rows.items())


def test_a_result_without_features_still_has_its_window() -> None:
    assert set(rows_of_result(a_result(features=[]))) == {"windows"}


def test_rows_of_several_results_are_the_rows_of_each() -> None:
    results = [a_result(hour=hour, features=[a_feature(str(hour))]) for hour in range(3)]
    assert merge([rows_of_results(results)]) == merge(map(rows_of_result, results))


def test_merged_rows_merge_again() -> None:
    results = [a_result(hour=hour) for hour in range(4)]
    first = merge(map(rows_of_result, results[:2]))
    assert merge([first, *map(rows_of_result, results[2:])]) == merge(map(rows_of_result, results))


def test_times_are_the_integers_that_came_in() -> None:
    odd_ms = START_MS + 123
    result = a_result(warnings=[Warning("income", "adwin", odd_ms, 1.0, 2.0)])
    assert rows_of_result(result)["warnings"]["time"].cast("int64").to_pylist() == [odd_ms]


def test_rows_of_one_record_without_ids_are_told_apart_by_their_place() -> None:
    batch = a_batch(Column(np.zeros(6)), rows_per_record=3, first_offset=40, step_ms=0)
    rows = rows_of_batch(batch, "drift.events.v1", 2)["predictions"]
    assert rows["source_offset"].to_pylist() == [40, 40, 40, 41, 41, 41]
    assert rows["ordinal"].to_pylist() == [0, 1, 2, 0, 1, 2]
    assert rows["id"].to_pylist() == [""] * 6


def test_the_place_in_a_record_does_not_depend_on_what_else_is_in_the_batch() -> None:
    batch = a_batch(Column(np.arange(6.0)), rows_per_record=3)
    interleaved = np.array([0, 3, 1, 4, 2, 5])
    mixed = batch._replace(offsets=batch.offsets[interleaved])
    assert rows_of_batch(mixed, "t", 0)["predictions"]["ordinal"].to_pylist() == [0, 0, 1, 1, 2, 2]


def test_a_prediction_is_a_number_or_a_label_or_nothing() -> None:
    column = Column(np.array([0.25, np.nan, np.nan]), np.array([-1, 1, -1], np.int32), ("no", "yes"))
    rows = rows_of_batch(a_batch(column), "t", 0)["predictions"]
    assert rows["prediction"].to_pylist() == [0.25, None, None]
    assert rows["label"].to_pylist() == ["", "yes", ""]


def test_float32_predictions_are_kept_exactly() -> None:
    value = np.float32(0.1)
    rows = rows_of_batch(a_batch(Column(np.array([value], np.float32))), "t", 0)["predictions"]
    assert rows["prediction"].to_pylist() == [float(value)]


@pytest.mark.parametrize("column", [None, Column(np.empty(0))])
def test_events_without_predictions_give_no_rows(column: Column | None) -> None:
    batch = a_batch(column or Column(np.zeros(2)))
    if column is None:
        batch = batch._replace(columns={})
    assert rows_of_batch(batch, "t", 0) == {}


def test_feedback_keeps_text_and_number_apart() -> None:
    message = feedback_messages.Feedback("m", START_MS, "label", True, id="a")
    batch, rejected = feedback_messages.decode_message(feedback_messages.encode(message), offset=9)
    assert not rejected
    [row] = rows_of_feedback(batch)["feedback"].to_pylist()
    assert (row["value_number"], row["value_text"], row["id"], row["kind"]) == (1.0, None, "a", "label")


def test_of_two_feedbacks_at_one_time_the_later_offset_is_newer() -> None:
    batches = [
        feedback_messages.decode_message(
            feedback_messages.encode(feedback_messages.Feedback("m", START_MS, "label", 1.0, id="a")), offset=offset
        )[0]
        for offset in (3, 4)
    ]
    early, late = rows_of_feedback(feedback_messages.merge(batches))["feedback"]["revision"].to_pylist()
    assert early < late


def test_a_later_record_is_newer_even_when_its_broker_started_over() -> None:
    before = PlainRecord("drift.monitors.v1", 0, 500, START_MS, b"old", b"m/1")
    after = PlainRecord("drift.monitors.v1", 0, 0, START_MS + 1, b"new", b"m/1")
    old, new = rows_of_control([before, after])["control"]["revision"].to_pylist()
    assert old < new
