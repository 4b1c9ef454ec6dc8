"""Arguments that cannot be right: counted, said once, never raised into the service."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from driftgauge_client import Client

CALLS: list[tuple[str, Callable[[Any], None], int]] = [
    ("model is empty", lambda client: client.log("", {"x": 1}), 1),
    ("model is no text", lambda client: client.log(7, {"x": 1}), 1),
    ("model is too long", lambda client: client.log("m" * 201, {"x": 1}), 1),
    ("features is a number", lambda client: client.log("m", 5), 1),
    ("features is None", lambda client: client.log("m", None), 1),
    ("time is in seconds", lambda client: client.log("m", {"x": 1}, time=1_772_366_400.5), 1),
    ("time is no time", lambda client: client.log("m", {"x": 1}, time="yesterday"), 1),
    ("time is a bool", lambda client: client.log("m", {"x": 1}, time=True), 1),
    ("latency is text", lambda client: client.log("m", {"x": 1}, latency_ms="fast"), 1),
    ("slices is a list", lambda client: client.log("m", {"x": 1}, slices=["FR"]), 1),
    ("id is an object", lambda client: client.log("m", {"x": 1}, id=object()), 1),
    ("feedback of nothing", lambda client: client.feedback("m", value=1), 1),
    ("feedback with half a span", lambda client: client.feedback("m", trace_id="ab", value=1), 1),
    ("feedback without a value", lambda client: client.feedback("m", id="a"), 1),
    ("feedback of NaN", lambda client: client.feedback("m", id="a", value=float("nan")), 1),
    ("feedback without a kind", lambda client: client.feedback("m", id="a", value=1, kind=""), 1),
    ("columns differ in length", lambda client: client.log_many("m", {"x": [1, 2], "y": [1]}), 2),
    ("predictions differ in length", lambda client: client.log_many("m", {"x": [1, 2]}, predictions=[1]), 2),
    ("times differ in length", lambda client: client.log_many("m", {"x": [1, 2]}, times=[1, 2, 3]), 2),
    ("no such column", lambda client: client.log_many("m", {"x": [1, 2]}, predictions="score"), 2),
    ("a column is a number", lambda client: client.log_many("m", {"x": 5}), 1),
    ("columns is text", lambda client: client.log_many("m", "abc"), 3),
    ("no columns", lambda client: client.log_many("m", {}), 1),
    ("a column without dimensions", lambda client: client.log_many("m", {"x": np.array(1.0)}), 1),
    ("feedback columns without ids", lambda client: client.feedback_many("m", values=[1, 0]), 2),
    ("feedback columns differ in length", lambda client: client.feedback_many("m", values=[1, 0], ids=["a"]), 2),
]


@pytest.mark.parametrize(("call", "n_rows"), [call[1:] for call in CALLS], ids=[call[0] for call in CALLS])
def test_impossible_arguments_are_counted_and_logged_once(
    unreachable: Callable[..., Client], caplog: pytest.LogCaptureFixture, call: Callable[[Any], None], n_rows: int
) -> None:
    client = unreachable()
    for _ in range(3):
        call(client)
    assert client.stats().invalid == 3 * n_rows
    assert client.stats().buffered == 0
    assert len([record for record in caplog.records if "refused" in record.message]) == 1


def test_log_lines_never_quote_values(unreachable: Callable[..., Client], caplog: pytest.LogCaptureFixture) -> None:
    client = unreachable()
    client.log("m", {"x": 1}, time="born 1975-12-01")
    client.feedback("m", id="a", value={"name": "Ada"})
    client.log_many("m", {"x": ["Ada"]}, times=["born 1975-12-01"])
    assert client.stats().invalid == 3
    assert "Ada" not in caplog.text
    assert "born" not in caplog.text


def test_a_failing_log_handler_does_not_reach_the_service(
    unreachable: Callable[..., Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("the disk is full")

    monkeypatch.setattr("driftgauge_client.notices.logger.warning", fail)
    client = unreachable()
    client.log("", {})
    assert client.stats().invalid == 1
    monkeypatch.undo()
