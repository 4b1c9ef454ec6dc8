"""The published JSON Schemas are those of the types, and judge real messages as the decoders do."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from jsonschema import Draft202012Validator

from schemas import alerts, monitors, published, results
from schemas.alerts import Alert, AlertFeature
from schemas.feedback import Feedback, FeedbackColumns, encode
from schemas.messages import EventColumns, EventRow
from schemas.monitors import FeatureMonitor, FixedLimit, Monitor
from schemas.results import FeatureVerdict, Result, Test, Warning
from tests.schemas.rows import T0, columns, row

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
VERDICT = FeatureVerdict(
    "income", "drift", "moderate", "psi", {"psi": Test(0.2, 0.01, 0.04, 0.19, (0.1, 0.3), True)}, 500,
    top_bins=[("48k-61k", 0.1, 0.2)], counts=[1, 2],
)  # fmt: skip
RESULT = Result(
    "live", "m", "7", "", 1, T0, T0 + 60_000, 1000, False, 500, 0, "m@1", 2, "drift", [VERDICT],
    [Warning("income", "adwin", T0, 1.0, 2.0)], ["state_lost"], 1, T0,
)  # fmt: skip
ALERT = Alert(
    "m/1", 1, "open", None, "drift", "m", "7", "", "major", T0, T0, [AlertFeature("income", T0, 0.3, 0.04, "major")]
)
MONITOR = Monitor("m", features={"city": FeatureMonitor(sensitive=True, statistics=[FixedLimit("psi", 0.2)])})
REAL: list[tuple[str, bytes]] = [
    ("event", row()),
    ("event", row(time="2026-03-01T12:00:00.250Z", id="a", version="7", prediction={"yes": 0.7, "no": 0.3})),
    ("event", row(prediction=0.83, latency_ms=12.5, error=None, slices={"country": "FR"}, entity="c", metadata={})),
    ("event", msgspec.json.encode(EventRow("m", AT, {"x": None}, error=True))),
    ("event-columns", columns(ids=["a", 4], predictions=["yes", None], latencies_ms=[1, None], errors=[None, "x"])),
    ("event-columns", msgspec.json.encode(EventColumns("m", [AT, T0], {"x": [1, "a"]}))),
    ("feedback", encode(Feedback("m", AT, "label", 1, id="a"))),
    ("feedback", encode(Feedback("m", T0, "verbatim", "bien", trace_id="ab" * 16, span_id="cd" * 8))),
    ("feedback-columns", encode(FeedbackColumns("m", [T0, AT], [True, "x"], ids=["a", 4], kinds=["thumbs", "edit"]))),
    ("monitor", monitors.encode(MONITOR)),
    ("monitor", b'{"model": "m"}'),
    ("result", results.encode(RESULT)),
    ("alert", alerts.encode(ALERT)),
]
BROKEN: list[tuple[str, dict[str, Any]]] = [
    ("event", {"model": ""}),
    ("event", {"model": "x" * 201}),
    ("event", {"time": 1.5}),
    ("event", {"time": None}),
    ("event", {"features": [1]}),
    ("event", {"features": {"x" * 201: 1}}),
    ("event", {"prediction": [1]}),
    ("event", {"latency_ms": "fast"}),
    ("event", {"error": 500}),
    ("event-columns", {"times": T0}),
    ("event-columns", {"columns": {"x": 1}}),
    ("event-columns", {"latencies_ms": ["fast"]}),
    ("feedback", {"kind": ""}),
    ("feedback", {"value": None}),
    ("feedback", {"trace_id": "xyz"}),
    ("feedback-columns", {"values": 1}),
    ("monitor", {"budget": 0}),
    ("monitor", {"window": "2h"}),
    ("monitor", {"bugdet": 1}),
    ("monitor", {"features": {"city": {"type": "number"}}}),
    ("result", {"state": "fine"}),
    ("result", {"features": [{"verdict": "ok"}]}),
    ("alert", {"state": "closed"}),
]


def complaints(name: str, message: Any) -> list[str]:
    validator = Draft202012Validator(published.schema(name), format_checker=Draft202012Validator.FORMAT_CHECKER)
    return [error.message for error in validator.iter_errors(message)]


@pytest.mark.parametrize("name", published.MESSAGES)
def test_the_file_is_what_the_types_give(name: str) -> None:
    stands = published.path(name).read_text(encoding="utf-8")
    assert stands == published.text(name), "run `python -m schemas.published`"


def test_every_file_is_that_of_a_message() -> None:
    assert {path.stem for path in published.FOLDER.iterdir()} == set(published.MESSAGES)


@pytest.mark.parametrize("name", published.MESSAGES)
def test_each_is_a_valid_schema_with_an_identity_and_a_description(name: str) -> None:
    schema = published.schema(name)
    Draft202012Validator.check_schema(schema)
    assert schema["$id"] == f"urn:driftgauge:schema:{name}:v1"
    assert schema["description"] == schema["description"].strip()
    assert "\n   " not in schema["description"]


@pytest.mark.parametrize(("name", "message"), REAL, ids=lambda part: part if isinstance(part, str) else "")
def test_real_messages_validate(name: str, message: bytes) -> None:
    assert complaints(name, json.loads(message)) == []


@pytest.mark.parametrize(("name", "changes"), BROKEN, ids=str)
def test_broken_messages_do_not_validate(name: str, changes: dict[str, Any]) -> None:
    good = next(json.loads(message) for kind, message in REAL if kind == name)
    assert complaints(name, good) == []
    assert complaints(name, {**good, **changes}) != []


@pytest.mark.parametrize("name", published.MESSAGES)
def test_a_message_without_a_required_field_does_not_validate(name: str) -> None:
    good = next(json.loads(message) for kind, message in REAL if kind == name)
    for field in published.schema(name)["required"]:
        assert complaints(name, {key: value for key, value in good.items() if key != field}) != []


@pytest.mark.parametrize(("name", "message"), REAL, ids=lambda part: part if isinstance(part, str) else "")
def test_a_schema_names_every_field_of_its_messages(name: str, message: bytes) -> None:
    assert set(json.loads(message)) <= set(published.schema(name)["properties"])


def test_results_alerts_and_monitors_come_back_as_they_were() -> None:
    assert results.decode(results.encode(RESULT)) == RESULT
    assert alerts.decode(alerts.encode(ALERT)) == ALERT
    assert monitors.decode(monitors.encode(MONITOR)) == MONITOR
