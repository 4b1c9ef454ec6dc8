"""Single inferences, from `log` to driftgauge's decoder."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from typing import Any

import numpy as np
import pandas as pd
import pytest
from driftgauge_client import Client

from tests.brokers import eventually
from tests.client.support import Line

T0 = 1_772_366_400_000


def test_row_arrives_with_every_field(client: Client, line: Line) -> None:
    client.log(
        "credit-risk",
        {"age": 41, "income": 32000.5, "city": "Lyon", "text": None},
        prediction=0.83,
        id="req-81f",
        time="2026-03-01T12:00:00.250Z",
        version="7",
        latency_ms=12.5,
        error=ValueError("odd"),
        slices={"country": "FR"},
        entity="customer-17",
        feature_version="2026-02",
        metadata={"release": "r41"},
    )
    assert client.flush()
    assert line.messages() == [
        {
            "model": "credit-risk",
            "version": "7",
            "ids": ["req-81f"],
            "times": [T0 + 250],
            "predictions": [0.83],
            "latencies_ms": [12.5],
            "errors": ["ValueError: odd"],
            "slices": {"country": ["FR"]},
            "entities": ["customer-17"],
            "feature_versions": ["2026-02"],
            "metadata": [{"release": "r41"}],
            "columns": {"age": [41], "income": [32000.5], "city": ["Lyon"], "text": [None]},
        }
    ]


def test_driftgauge_decodes_what_the_client_encodes(client: Client, line: Line) -> None:
    for number in range(2_500):
        client.log("m", {"x": number / 3, "c": "ab"[number % 2]}, prediction=number, id=number, time=T0 + number)
    assert client.flush()
    (batch,) = line.batches()
    assert batch.ids == [str(number) for number in range(2_500)]
    assert batch.times.tolist() == [T0 + number for number in range(2_500)]
    assert batch.columns["x"].numbers is not None
    assert batch.columns["x"].numbers.tolist() == [number / 3 for number in range(2_500)]
    assert batch.columns["c"].levels == ("a", "b")
    assert client.stats().delivered == client.stats().sent == 2_500


def test_record_has_the_model_as_key_and_a_content_type(client: Client, line: Line) -> None:
    client.log("modèle", {"x": 1})
    assert client.flush()
    (record,) = line.records(line.events_topic)
    assert record.key == "modèle".encode()
    assert record.headers == [("content-type", b"application/json")]


def test_rows_leave_without_flush(client: Client, line: Line) -> None:
    client.log("m", {"x": 1}, id="a")
    eventually(lambda: client.stats().delivered == 1, timeout_s=5)
    assert line.ids() == ["a"]


def test_rows_of_a_moment_travel_in_one_message(line: Line) -> None:
    with Client(**line.arguments(), linger_ms=60_000, batch_rows=500) as client:
        for number in range(1_200):
            client.log("m", {"x": number})
    assert [len(message["times"]) for message in line.messages()] == [500, 500, 200]


def test_versions_and_models_are_kept_apart(client: Client, line: Line) -> None:
    for model, version in (("a", "1"), ("b", ""), ("a", 2), ("a", "1")):
        client.log(model, {"x": 1}, version=version)
    assert client.flush()
    kept = sorted((message["model"], message["version"], len(message["times"])) for message in line.messages())
    assert kept == [("a", "1", 2), ("a", "2", 1), ("b", "", 1)]


def test_rows_with_different_features_share_columns_with_null(client: Client, line: Line) -> None:
    client.log("m", {"a": 1, "b": 2})
    client.log("m", {"b": 3, "c": "x"}, slices={"s": 1})
    client.log("m", {}, slices={"t": "y"})
    assert client.flush()
    (message,) = line.messages()
    assert message["columns"] == {"a": [1, None, None], "b": [2, 3, None], "c": [None, "x", None]}
    assert message["slices"] == {"s": [None, "1", None], "t": [None, None, "y"]}


def test_time_is_now_when_left_out(client: Client, line: Line) -> None:
    before = time.time_ns() // 1_000_000
    client.log("m", {"x": 1})
    assert client.flush()
    (batch,) = line.batches()
    assert before <= batch.times[0] <= time.time_ns() // 1_000_000


def test_times_become_epoch_milliseconds(client: Client, line: Line) -> None:
    moments = [
        T0,
        float(T0),
        np.int64(T0),
        "2026-03-01T12:00:00Z",
        "2026-03-01T14:00:00+02:00",
        datetime(2026, 3, 1, 12, tzinfo=UTC),
        datetime(2026, 3, 1, 12),
        pd.Timestamp("2026-03-01T12:00:00"),
        np.datetime64("2026-03-01T12:00:00"),
    ]
    for moment in moments:
        client.log("m", {"x": 1}, time=moment)
    assert client.flush()
    assert line.messages()[0]["times"] == [T0] * len(moments)


class Colour(Enum):
    RED = "red"


VALUES: list[tuple[Any, Any]] = [
    (np.float64(0.1), 0.1),
    (np.float32(0.5), 0.5),
    (np.int64(3), 3),
    (np.bool_(True), True),
    (np.str_("x"), "x"),
    (np.array(2.5), 2.5),
    (np.array([1.0, np.nan]), [1.0, None]),
    (np.arange(6.0).reshape(2, 3)[:, 1], [1.0, 4.0]),
    (np.datetime64("2026-03-01T12:00:00"), T0),
    (np.datetime64("NaT"), None),
    (float("nan"), None),
    (float("inf"), None),
    (pd.NA, None),
    (pd.NaT, None),
    (datetime(2026, 3, 1, 12, tzinfo=UTC), T0),
    (datetime(2026, 3, 1).date(), T0 - 43_200_000),
    (Decimal("1.5"), 1.5),
    (Colour.RED, "red"),
    ((1, 2), [1, 2]),
    (2**70, float(2**70)),
    ("half \ud800", "half ?"),
]


def test_values_of_services_arrive_as_json_values(client: Client, line: Line) -> None:
    client.log("m", {f"{type(value).__name__} {number}": value for number, (value, _) in enumerate(VALUES)})
    assert client.flush()
    assert [column[0] for column in line.messages()[0]["columns"].values()] == [arrives for _, arrives in VALUES]
    assert client.stats().unusable_values == 0


def test_predictions_are_numbers_labels_or_class_probabilities(client: Client, line: Line) -> None:
    predictions: list[tuple[Any, Any]] = [
        (np.float32(0.25), 0.25),
        (np.array([0.25]), 0.25),
        (np.array([0.25, 0.75]), {"0": 0.25, "1": 0.75}),
        ({"no": np.float64(0.25), "yes": 0.75}, {"no": 0.25, "yes": 0.75}),
        ("cat", "cat"),
        (True, True),
    ]
    for prediction, _ in predictions:
        client.log("m", {"x": 1}, prediction=prediction)
    assert client.flush()
    assert line.messages()[0]["predictions"] == [arrives for _, arrives in predictions]


def test_a_value_json_cannot_carry_becomes_null_and_is_counted(
    client: Client, line: Line, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):
        client.log("m", {"good": 1, "bad": object(), 7: 1j})  # type: ignore[dict-item]  # what services do
    assert client.flush()
    assert line.messages()[0]["columns"] == {"good": [1, 1, 1], "bad": [None] * 3, "7": [None] * 3}
    assert client.stats().unusable_values == 6
    assert [record.message for record in caplog.records if "null" in record.message] == [
        "driftgauge: 2 values of 'm' cannot be sent and became null"
    ]


def test_a_row_is_what_it_was_when_it_was_logged(line: Line) -> None:
    features: dict[str, Any] = {"x": 1, "vector": np.zeros(2)}
    with Client(**line.arguments(), linger_ms=60_000) as client:
        client.log("m", features)
        features["x"] = 2
        features["vector"][0] = 9.0
    assert line.messages()[0]["columns"] == {"x": [1], "vector": [[0.0, 0.0]]}


def test_wide_rows_are_split_below_the_limit_of_a_message(client: Client, line: Line) -> None:
    wide = [{f"only-{row}-{number}": 0.123456789 for number in range(300)} for row in range(60)]
    for row, features in enumerate(wide):
        client.log("m", features, id=row)
    assert client.flush()
    assert max(len(record.value or b"") for record in line.records(line.events_topic)) <= 900_000
    seen = [one for message in line.messages() for one in message["ids"]]
    assert seen == [str(row) for row in range(60)]


def test_a_row_too_large_for_kafka_is_refused_and_counted(client: Client, line: Line) -> None:
    client.log("m", {"text": "x" * 1_000_000})
    client.log("m", {"text": "x"})
    assert client.flush()
    assert client.stats().invalid == 1
    assert client.stats().delivered == len(line.messages()) == 1
