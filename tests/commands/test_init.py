"""`driftgauge init`: files to start from that are right as they are, and mappings proposed from messages."""

from __future__ import annotations

import json
import random
import tomllib
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from schemas.monitors import Monitor
from schemas.proposal import Proposal, propose
from schemas.records import PlainRecord
from streams.commands.monitors import read_monitor
from streams.settings import Settings
from tests.commands.conftest import Run
from tests.engine.running import Cluster
from tests.engine.traffic import Message

T0 = 1_772_366_400_000
RNG = random.Random(7)


def records(make: Callable[[int], Any], headers: Any = ()) -> list[PlainRecord]:
    """A hundred messages, a second apart."""
    return [PlainRecord("t", 0, at, T0 + at * 1000, json.dumps(make(at)).encode(), None, headers) for at in range(100)]


def flat(at: int) -> dict[str, Any]:
    """A message whose fields stand side by side."""
    return {
        "uuid": str(uuid.UUID(int=RNG.getrandbits(128))), "ts": (T0 + at * 1000) / 1000, "age": at % 70,
        "city": RNG.choice("ab"), "score": RNG.random(), "email": f"someone{at % 7}@example.org", "ok": True,
    }  # fmt: skip


def nested(at: int) -> dict[str, Any]:
    """A message in Java's manner."""
    return {
        "meta": {
            "modelName": "credit", "modelVersion": "3", "requestId": f"r{at}", "createdAt": "2026-03-01T12:00:00Z",
            "receivedAt": "2026-03-01T12:00:09Z",
        },
        "input": {"age": at, "address": {"city": "Lyon"}},
        "output": {"probability": {"yes": 0.3, "no": 0.7}},
        "durationMs": 3.5,
    }  # fmt: skip


def fields(proposal: Proposal) -> dict[str, Any]:
    """The places proposed."""
    assert proposal.source is not None
    return {
        name: value
        for name in proposal.source.fields.__struct_fields__
        if (value := getattr(proposal.source.fields, name))
    }


def test_a_flat_message_is_taken_apart_by_name_type_and_variety() -> None:
    found = propose("t", records(flat))
    features = {name: name for name in ("age", "city", "email", "ok")}
    assert fields(found) == {"id": "uuid", "time": "ts", "prediction": "score", "features": features}
    assert found.source is not None
    assert (found.source.format, found.source.time_format) == ("json", "s")
    assert [leaf.path for leaf in found.leaves if leaf.personal] == ["email"]


def test_a_nested_message_in_camel_case_is_understood() -> None:
    found = propose("t", records(nested))
    assert fields(found) == {
        "model": "meta.modelName", "version": "meta.modelVersion", "id": "meta.requestId", "time": "meta.createdAt",
        "prediction": "output.probability", "latency_ms": "durationMs",
        "features": {"age": "input.age", "city": "input.address.city"},
    }  # fmt: skip
    assert found.models == ["credit"]
    assert any("meta.receivedAt" in line for line in found.undecided)


@pytest.mark.parametrize(
    ("value", "form"),
    [
        (T0, "ms"), (T0 // 1000, "s"), (T0 * 1000, "us"), (str(T0), "ms"),
        ("2026-03-01T12:00:00Z", "rfc3339"), ("2026-03-01 12:00:00", "utc"),
    ],
)  # fmt: skip
def test_the_unit_of_a_time_is_found(value: Any, form: str) -> None:
    found = propose("t", records(lambda at: {"event_time": value, "x": at, "y": "a"}))
    assert found.source is not None
    assert (found.source.fields.time, found.source.time_format) == ("event_time", form)


def test_without_a_time_the_records_own_is_taken_and_said() -> None:
    found = propose("t", records(lambda at: {"x": at, "y": 1.5}))
    assert found.source is not None
    assert found.source.time_format == "record"
    assert any("event time" in line for line in found.undecided)


def test_a_list_of_objects_is_a_row_for_each() -> None:
    found = propose("t", records(lambda at: {"timestamp": T0 + at, "rows": [{"x": 1.0, "y": "a", "pred": 0.1}] * 3}))
    assert fields(found)["features"] == {"x": "rows[*].x", "y": "rows[*].y"}
    assert fields(found)["prediction"] == "rows[*].pred"


@pytest.mark.parametrize("named", [True, False])
def test_inference_payloads_are_recognised_with_and_without_cloud_events(named: bool) -> None:
    attributes = {
        "specversion": "1.0",
        "type": "org.kubeflow.serving.inference.request",
        "id": "1",
        "inferenceservicename": "iris",
    }
    headers = [(f"ce_{name}", text.encode()) for name, text in attributes.items()] if named else []
    found = propose("t", records(lambda _: {"instances": [[1, 2]]}, headers))
    assert found.format == "open-inference"
    assert found.models == (["iris"] if named else [])
    assert any("feature_names" in line for line in found.undecided)


def test_a_cloud_event_is_read_by_its_data() -> None:
    headers = [(f"ce_{name}", b"1") for name in ("specversion", "type", "id")] + [("ce_time", b"2026-03-01T12:00:00Z")]
    found = propose("t", records(lambda at: {"features": {"a": at}, "score": 1.5}, headers))
    assert found.format == "cloudevents"
    assert fields(found) | {"id": "id"} == {
        "id": "id", "time": "time", "features": "data.features", "prediction": "data.score"
    }  # fmt: skip


@pytest.mark.parametrize("value", [b"\0\0\0\0\1abc", b"{", b"3", b'"text"', b"{}", b"[]", b"[[1,2]]", b"null"])
def test_what_cannot_be_mapped_is_said(value: bytes) -> None:
    found = propose("t", [PlainRecord("t", 0, at, T0, value) for at in range(10)])
    assert found.source is None
    assert found.undecided


def test_any_messages_get_a_valid_proposal_or_a_reason() -> None:
    rng = random.Random(11)
    names = ["id", "time", "model", "score", "features", "x", "rows", "error", "version", "a.b", 'q"', "input", ""]

    def value(depth: int) -> Any:
        if depth == 0 or rng.random() < 0.4:
            return rng.choice([None, True, T0, 1.5, "text", "2026-03-01T12:00:00Z", -1, 10**30])
        if rng.random() < 0.4:
            return [value(depth - 1) for _ in range(rng.randint(0, 3))]
        return {rng.choice(names): value(depth - 1) for _ in range(rng.randint(0, 4))}

    for _ in range(300):
        sample = [value(4) for _ in range(5)]
        made = [PlainRecord("t", 0, at, T0, json.dumps(sample[at % 5]).encode()) for at in range(10)]
        found = propose("t", made)
        assert found.source is not None or found.undecided


def test_init_writes_files_to_start_from_and_never_over_others(run: Run, tmp_path: Path) -> None:
    assert run("init").code == 0
    assert read_monitor(tmp_path / "monitor.yaml") == Monitor("my-model")
    settings = (tmp_path / "driftgauge.toml").read_text()
    everything = "\n".join(line.removeprefix("# ") if " = " in line else line for line in settings.splitlines())
    assert tomllib.loads(everything).keys() <= Settings.model_fields.keys()
    again = run("init")
    assert (again.code, "--force" in again.err) == (2, True)
    assert run("init", "--force", "--model", "other").code == 0
    assert read_monitor(tmp_path / "monitor.yaml").model == "other"


def test_every_commented_line_of_the_monitor_is_right(run: Run, tmp_path: Path) -> None:
    run("init")
    lines = (tmp_path / "monitor.yaml").read_text().splitlines()
    allowed = [line for line in lines[2:] if not line.startswith("# runbook")]
    path = tmp_path / "all.yaml"
    path.write_text("\n".join(line.removeprefix("# ") for line in allowed))
    monitor = read_monitor(path)
    assert monitor.sources[0].topic == "scores"
    assert set(monitor.features) == {"city", "internal_id", "legacy_score"}


def test_init_proposes_a_mapping_that_can_be_applied(
    embedded_cluster: Callable[..., Cluster], on: Callable[[Cluster], Run], tmp_path: Path
) -> None:
    cluster = embedded_cluster()
    cluster.broker.create_topics({"scores": 2})
    driftgauge = on(cluster)
    assert "holds no messages" in driftgauge("init", "--from-topic", "scores").err
    cluster.produce(
        [Message(at % 2, json.dumps({**nested(at), "email": "a@example.org"}).encode(), []) for at in range(120)],
        "scores",
    )
    shown = driftgauge("init", "--from-topic", "scores", "--write", "credit.yaml")
    assert shown.code == 0, shown.err
    for part in ("meta.createdAt", "100 rows from 100 messages", "row 3", "by its name", "also look like times"):
        assert part in shown.out
    assert "example.org" not in shown.out
    assert "Lyon" not in shown.out
    monitor = read_monitor(tmp_path / "credit.yaml")
    assert (monitor.model, monitor.sources[0].topic) == ("credit", "scores")
    told = driftgauge("init", "--from-topic", "scores", "--show-values")
    assert "2026-03-01T12:00:00Z" in told.out
    assert "example.org" not in told.out
    assert yaml.safe_load(told.out[told.out.index("# Proposed") :])["model"] == "credit"
    plain = driftgauge("init", "--from-topic", "scores", "--json").json
    assert (plain["rows"], plain["model"], plain["source"]["topic"]) == (100, "credit", "scores")
    assert driftgauge("init", "--from-topic", "nothing").code == 2
    assert driftgauge("init", "--from-topic", "drift.evidence.v1").code == 2


def test_several_models_need_a_choice(embedded_cluster: Callable[..., Cluster], on: Callable[[Cluster], Run]) -> None:
    cluster = embedded_cluster()
    cluster.broker.create_topics({"scores": 1})
    driftgauge = on(cluster)
    rows = [{"model": "ab"[at % 2], "time": T0 + at, "features": {"x": at}} for at in range(50)]
    cluster.produce([Message(0, json.dumps(row).encode(), []) for row in rows], "scores")
    refused = driftgauge("init", "--from-topic", "scores")
    assert (refused.code, "--model" in refused.err) == (2, True)
    chosen = driftgauge("init", "--from-topic", "scores", "--model", "b")
    assert (chosen.code, "model: b" in chosen.out, "25 rows from 50 messages" in chosen.out) == (0, True, True)
