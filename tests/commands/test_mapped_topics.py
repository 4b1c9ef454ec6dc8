"""Topics, doctor, monitors and replay know the topics that monitors map."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from schemas.monitors import Monitor
from schemas.sources import Source
from schemas.topics import snapshots
from streams.catalogue import monitor_record, records_of
from streams.engine.control import publish
from tests.commands.conftest import Run
from tests.engine import traffic
from tests.engine.running import Cluster
from tests.engine.traffic import MINUTE_MS, START_MS, Message

SOURCE: Any = {"topic": "scores", "fields": {"model": "m", "time": "at", "features": "in"}}
SNAPSHOTS = "drift.snapshots.profile.scores.v1"


def monitor(**source: Any) -> Monitor:
    """A monitor of model m that maps the topic scores."""
    sources = msgspec.convert([{**SOURCE, **source}], list[Source])
    return msgspec.structs.replace(traffic.monitor("m"), sources=sources)


def apply(cluster: Cluster, *monitors: Monitor) -> None:
    """Publish monitors and a baseline as if they had been applied."""
    records = [*map(monitor_record, monitors), *records_of(traffic.baseline("m"), 0)]
    asyncio.run(publish(cluster.settings, records))


def states(shown: Any) -> dict[str, str]:
    """The state of each topic or system."""
    return {line.get("topic") or line["system"]: line["state"] for line in shown}


def test_topics_and_doctor_tell_of_mapped_topics_and_make_what_they_need(
    embedded_cluster: Callable[..., Cluster], on: Callable[[Cluster], Run]
) -> None:
    cluster = embedded_cluster()
    driftgauge = on(cluster)
    assert states(driftgauge("doctor", "--json").json)["mapped topics"] == "not set"
    apply(cluster, monitor())
    checked = driftgauge("topics", "check", "--json")
    assert checked.code == 2
    assert states(checked.json)["scores"] == "missing: mapped by m"
    assert states(driftgauge("doctor", "--json").json)["mapped topics"] == "wrong"
    cluster.broker.create_topics({"scores": 3})
    checked = driftgauge("topics", "check", "--json")
    assert (states(checked.json)["scores"], states(checked.json)[SNAPSHOTS]) == ("mapped", "missing")
    created = {line["topic"]: line["result"] for line in driftgauge("topics", "create", "--json").json}
    assert created[SNAPSHOTS] == "created"
    assert states(driftgauge("topics", "check", "--json").json)[SNAPSHOTS] == "ok"
    assert states(driftgauge("doctor", "--json").json)["mapped topics"] == "ok"


def test_applying_says_what_will_be_read(
    embedded_cluster: Callable[..., Cluster], on: Callable[[Cluster], Run], tmp_path: Path
) -> None:
    cluster = embedded_cluster()
    cluster.broker.create_topics({"scores": 1})
    (tmp_path / "m.yaml").write_text(
        "model: m\nsources:\n"
        "  - {topic: scores, fields: {time: at, features: in}}\n  - {topic: later, fields: {time: at, features: in}}\n"
    )
    told = on(cluster)("monitor", "apply", "m.yaml", "--dry-run")
    assert told.code == 0, told.err
    assert "Read from their beginning: scores." in told.out
    assert "later does not exist" in told.out


def test_replay_covers_mapped_topics(embedded_cluster: Callable[..., Cluster], on: Callable[[Cluster], Run]) -> None:
    cluster = embedded_cluster()
    cluster.broker.create_topics({"scores": 1})
    apply(cluster, monitor(), msgspec.structs.replace(monitor(models="all"), model="other"))
    rows = [
        {"m": model, "at": START_MS + at * MINUTE_MS // 20, "in": {"age": 40.0 + at % 9}}
        for at in range(200)
        for model in ("m", "x")
    ]
    cluster.produce([Message(0, json.dumps(row).encode(), []) for row in rows], "scores")
    judged = on(cluster)("replay", "--model", "m", "--json").json
    assert sum(result["rows"] for result in judged if result["scale"] == 1) == 200


def test_a_long_topic_name_has_a_snapshot_topic_of_its_own() -> None:
    names = {snapshots(f"profile.{'a' * 240}{last}").name for last in "bc"}
    assert len(names) == 2
    assert max(map(len, names)) <= 249
