"""`store` killed between insert and commit, and after a commit: the tables hold what the topics say, once."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import pytest
from msgspec.structs import replace

from schemas import alerts, feedback, results, topics
from schemas.dead import read_dead
from schemas.results import Result
from streams.embedded.clickhouse import EmbeddedClickHouse
from streams.sinks.clickhouse import ClickHouse
from tests.brokers import eventually
from tests.engine.running import DIED, PARTITIONS, Cluster, committed
from tests.engine.traffic import START_MS, Message
from tests.real import require_real
from tests.sinks.alerts import alert
from tests.sinks.results import a_feature, a_result

pytestmark = pytest.mark.scenario

MODEL = "credit-risk"
DATABASE = "exactness"
INPUTS = (topics.RESULTS, topics.ALERTS, topics.EVENTS, topics.FEEDBACK)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedClickHouse]:
    """One embedded store for the tests of this file."""
    require_real("chdb")
    with EmbeddedClickHouse(tmp_path_factory.mktemp("store")) as running:
        yield running


class Flow:
    """What services, judge and people send, wave by wave, and what of it the tables must hold."""

    def __init__(self) -> None:
        self.results: dict[tuple[str, int], Result] = {}
        self.predictions: set[tuple[str, float]] = set()
        self.thumbs: dict[str, str] = {}
        self.alerts: set[tuple[str, int]] = set()
        self._wave = 0

    def wave(self) -> list[tuple[str, Message]]:
        """Return (topic, message) of the next wave: it revises windows and statements of the wave before."""
        made: list[tuple[str, Message]] = []
        wave, self._wave = self._wave, self._wave + 1
        for hour in range(5 * wave - 5 * bool(wave), 5 * wave + 5):
            known = self.results.get((MODEL, hour))
            revision = known.revision + 7 if known else 2 * hour
            features = [a_feature("income", effect=hour / 100), a_feature("age", drifted=hour % 2 == 0)]
            result = replace(a_result(hour=hour, revision=revision, features=features), rows=revision, produced_at=0)
            made.append((topics.RESULTS.name, Message(0, results.encode(result), [])))
            if known and hour % 3 == 0:  # an older revision that comes late changes nothing
                made.append((topics.RESULTS.name, Message(0, results.encode(known), [])))
            self.results[MODEL, hour] = result
        for partition in range(PARTITIONS):
            ids = [f"w{wave}-p{partition}-{n}" for n in range(40)]
            scores = [round((wave * 40 + n) / 1_000, 3) for n in range(40)]
            self.predictions |= set(zip(ids, scores, strict=True))
            value = {
                "model": MODEL, "ids": ids, "times": [START_MS + wave * 1_000 + n for n in range(40)],
                "columns": {"age": [40.0] * 40}, "predictions": scores,
            }  # fmt: skip
            made.append((topics.EVENTS.name, Message(partition, orjson.dumps(value), [])))
            for identity in ids[:10]:
                for at, word in enumerate(("down", "up")):
                    said = feedback.Feedback(
                        MODEL, START_MS + 1_000 * wave + at, "thumbs", f"{word}-{wave}", id=identity, source="app"
                    )
                    made.append((topics.FEEDBACK.name, Message(partition, feedback.encode(said), [])))
                self.thumbs[identity] = f"up-{wave}"
        opened = alert(episode_id=f"{MODEL}/{wave}", sequence=1)
        self.alerts.add((opened.episode_id, 1))
        made.append((topics.ALERTS.name, Message(0, alerts.encode(opened), [])))
        return made

    def held(self) -> dict[str, Any]:
        """Return what the tables must hold."""
        windows = {(model, hour): (result.revision, result.rows) for (model, hour), result in self.results.items()}
        return {
            "windows": sorted((r.window_start, *windows[key]) for key, r in self.results.items()),
            "results": sorted(
                (r.window_start, f.feature, r.revision, f.verdict) for r in self.results.values() for f in r.features
            ),
            "predictions": sorted(self.predictions),
            "feedback": sorted(self.thumbs.items()),
            "alerts": sorted(self.alerts),
        }


QUERIES = {
    "windows": "SELECT toUnixTimestamp64Milli(window_start), revision, rows FROM windows FINAL",
    "results": "SELECT toUnixTimestamp64Milli(window_start), feature, revision, verdict FROM results FINAL",
    "predictions": "SELECT id, prediction FROM predictions FINAL",
    "feedback": "SELECT id, value_text FROM feedback FINAL",
    "alerts": "SELECT episode_id, sequence FROM alerts FINAL",
}


def held(store: EmbeddedClickHouse, database: str) -> dict[str, Any]:
    """Return what the tables hold."""

    async def read() -> dict[str, Any]:
        async with ClickHouse(store.url, database=database) as client:
            return {table: sorted(map(tuple, await client.query(sql))) for table, sql in QUERIES.items()}

    return asyncio.run(read())


def _send(cluster: Cluster, wave: Sequence[tuple[str, Message]]) -> None:
    for topic in INPUTS:
        cluster.produce([message for name, message in wave if name == topic.name], topic.name)


def _has_committed(cluster: Cluster, topic: str, partition: int, end: int) -> bool:
    return committed(cluster, "store", topic, partition)[0] == end


def _wait_committed(cluster: Cluster) -> None:
    """Wait until `store` has committed the end of each input."""
    for topic in INPUTS:
        for partition in range(PARTITIONS):
            end = max((r.offset + 1 for r in cluster.records(topic.name) if r.partition == partition), default=0)
            if end:
                eventually(
                    partial(_has_committed, cluster, topic.name, partition, end),
                    60.0,
                    f"{topic.name}/{partition} at {end}",
                )


@pytest.mark.parametrize("point", ["after_insert", "after_commit"])
def test_a_killed_store_writes_every_row_once(cluster: Cluster, store: EmbeddedClickHouse, point: str) -> None:
    database = f"{DATABASE}_{cluster.broker.name}_{point}"
    environment: dict[str, Any] = {"DRIFTGAUGE_CLICKHOUSE_URL": store.url, "DRIFTGAUGE_CLICKHOUSE_DATABASE": database}
    flow = Flow()
    for n_left in (1, 4, 2):
        _send(cluster, flow.wave())
        _send(cluster, flow.wave())
        assert cluster.wait_dead(cluster.start("store", point, n_left, **environment)) == DIED, cluster.log("store")
    _send(cluster, flow.wave())
    worker = cluster.start("store", **environment)
    _wait_committed(cluster)
    found, wanted = held(store, database), flow.held()
    for table in QUERIES:
        assert found[table] == wanted[table], table
    assert cluster.stop(worker) == 0


def test_one_bad_result_is_a_dead_letter_and_its_neighbours_are_stored(
    embedded_cluster: Any, store: EmbeddedClickHouse, tmp_path: Path
) -> None:
    del tmp_path
    cluster = embedded_cluster(clickhouse_url=store.url, clickhouse_database=f"{DATABASE}_bad")
    good = [Message(0, results.encode(a_result(hour=hour)), []) for hour in range(3)]
    cluster.produce([good[0], Message(0, b'{"run_id": 5}', []), *good[1:], Message(0, None, [])], topics.RESULTS.name)
    worker = cluster.start("store")
    letters = eventually(lambda: [read_dead(record) for record in cluster.records(topics.DEAD.name)], 60.0)
    assert [(letter.topic, letter.offset, letter.reason) for letter in letters] == [
        (topics.RESULTS.name, 1, "store_rejected")
    ]
    assert "run_id" in letters[0].detail
    _wait_committed(cluster)
    assert len(held(store, f"{DATABASE}_bad")["windows"]) == 3
    assert cluster.stop(worker) == 0
