"""Existing topics that monitors map: read exactly, through crashes too, and from the moment a monitor names them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
import pytest

from schemas import topics
from schemas.control import Effective
from schemas.monitors import Monitor
from schemas.records import PlainRecord
from schemas.results import Result
from schemas.sources import Source
from streams.catalogue import Catalogue, monitor_record, records_of
from streams.engine.control import publish
from streams.replay.run import Replay
from tests.brokers import eventually
from tests.engine import traffic
from tests.engine.running import DIED, Cluster, Key, eventually_equal, newest
from tests.engine.traffic import MINUTE_MS, START_MS, Message

SCORES, KSERVE = "team.scores", "kserve-logger"
PARTITIONS = {SCORES: 3, KSERVE: 1}
FIELDS = {"model": "m", "id": "rid", "time": "at", "features": "in", "prediction": "out.score"}
SCORES_SOURCE: Any = {"pattern": r"team\..*", "fields": FIELDS, "time_format": "s"}
KSERVE_SOURCE: Any = {"topic": KSERVE, "format": "open-inference", "pair_timeout_s": 20}
REQUEST = "org.kubeflow.serving.inference.request"


def monitor(model: str, *sources: Any) -> Monitor:
    """A monitor of one-minute windows with these sources."""
    return msgspec.structs.replace(traffic.monitor(model), sources=msgspec.convert(list(sources), list[Source]))


MONITORS = (monitor("alpha", SCORES_SOURCE, KSERVE_SOURCE), monitor("beta", SCORES_SOURCE))


def scores(minutes: int, seed: int = 3) -> list[Message]:
    """Rows of alpha and beta as a team of its own writes them, some broken, in disorder, in three partitions."""
    rng = np.random.default_rng(seed)
    made = []
    for minute in range(minutes):
        for partition in range(PARTITIONS[SCORES]):
            for model in ("alpha", "beta", "nobodys"):
                values = traffic.columns(rng, 40, 1.0 if model == "alpha" and minute >= minutes // 2 else 0.0)
                times = START_MS + minute * MINUTE_MS + np.sort(rng.integers(0, MINUTE_MS, 40))
                times[rng.random(40) < 0.1] -= 45_000
                for at in range(40):
                    row = {name: column[at] for name, column in values.items()}
                    whole = {"m": model, "rid": str(at), "at": times[at] / 1000, "in": row, "out": {"score": 0.5}}
                    made.append(Message(partition, json.dumps(whole).encode(), []))
            made.append(Message(partition, [b"{no", b'{"m": "alpha", "in": {}}', None][minute % 3], []))
    end = START_MS / 1000 + (minutes + 3) * 60
    last = [{"m": model, "at": end, "in": {"age": 40.0}} for model in ("alpha", "beta")]
    return made + [Message(p, json.dumps(one).encode(), []) for p in range(PARTITIONS[SCORES]) for one in last]


def inferences(minutes: int, seed: int = 5) -> list[Message]:
    """Requests and responses of alpha as KServe's logger writes them, some without the other."""
    rng = np.random.default_rng(seed)
    made: list[Message] = []
    for number, at in enumerate(np.sort(rng.integers(0, minutes * MINUTE_MS, 40 * minutes)).tolist()):
        values = {name: column[0] for name, column in traffic.columns(rng, 1, 0.0).items()}
        halves = _halves(number, START_MS + at, values)
        made += [half for half in halves if rng.random() > 0.1]
    end = START_MS + (minutes + 3) * MINUTE_MS  # passes every window before it
    return [*made, *_halves(-1, end, {"age": 40.0})]


def _halves(number: int, time_ms: int, values: Any) -> Iterator[Message]:
    for kind, data in (("request", {"instances": [values]}), ("response", {"predictions": [number / 7]})):
        time = f"{np.datetime64(time_ms, 'ms')}Z"
        event = {"specversion": "1.0", "id": f"r{number}", "type": REQUEST.replace("request", kind), "time": time}
        yield Message(0, json.dumps(data).encode(), [(f"ce_{name}", text.encode()) for name, text in event.items()])


def prepared(cluster: Cluster, monitors: Sequence[Monitor] = MONITORS) -> None:
    """Make the mapped topics, baselines and monitors."""
    cluster.broker.create_topics(PARTITIONS)
    records = [record for one in monitors for record in records_of(traffic.baseline(one.model), 0)]
    asyncio.run(publish(cluster.settings, [*records, *map(monitor_record, monitors)]))


def replayed(cluster: Cluster) -> tuple[dict[Key, Result], dict[str, int]]:
    """Return the last revisions, and the dead letters by reason, of a replay of all the topics rows come in by."""
    catalogue = Catalogue()
    for one in MONITORS:
        catalogue.add_baseline(traffic.baseline(one.model))
        catalogue.add_effective(Effective(one.model, f"{one.model}@1", 0))
        catalogue.add_monitor(one)
    run = Replay(catalogue, "expected")
    by_place: dict[tuple[str, int], list[PlainRecord]] = {}
    for topic in (topics.EVENTS.name, SCORES, KSERVE):
        for record in cluster.records(topic):
            by_place.setdefault((topic, record.partition), []).append(record)
    made: list[Any] = []
    for start in range(0, max(map(len, by_place.values())), 100):
        for records in by_place.values():
            if part := records[start : start + 100]:
                made += run.add(part)
        made += run.judge()
    return judged(newest([item for item in made if isinstance(item, Result)])), run.metrics.n_dead


def judged(made: Mapping[Key, Result]) -> dict[Key, Result]:
    """Return results without warnings: these depend on which source is heard of first."""
    return {key: msgspec.structs.replace(result, warnings=[]) for key, result in made.items()}


def dead(cluster: Cluster) -> set[tuple[str, str, str, str]]:
    """Return reason, topic, partition and offset of every dead letter, each once."""
    names = ("driftgauge.reason", *(f"__connect.errors.{name}" for name in ("topic", "partition", "offset")))
    found = (dict(record.headers) for record in cluster.records(topics.DEAD.name))
    return {(one[names[0]].decode(), *(one[name].decode() for name in names[1:])) for one in found}  # type: ignore[misc]  # four of them


@pytest.mark.timeout(300)
def test_mapped_topics_are_judged_as_a_replay_of_them_is(cluster: Cluster) -> None:
    prepared(cluster)
    cluster.produce(scores(8), SCORES)
    cluster.produce(inferences(8), KSERVE)
    wanted, n_dead = replayed(cluster)
    worker = cluster.start("detect")
    eventually_equal(lambda: judged(newest(cluster.results())), wanted, 180.0)
    assert {result.model for result in wanted.values()} == {"alpha", "beta"}
    assert any(result.state == "drift" for result in wanted.values())
    assert sum(result.rows for result in wanted.values() if (result.model, result.scale) == ("beta", 1)) > 800
    assert {"not_json", "missing_field"} <= n_dead.keys()
    eventually(lambda: len(dead(cluster)) == sum(n_dead.values()), why=f"dead letters as in the replay: {n_dead}")
    assert cluster.stop(worker) == 0


@pytest.mark.scenario
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "point",
    [
        pytest.param("after_outputs", marks=pytest.mark.long),
        pytest.param("between_chunks", marks=pytest.mark.long),
        "after_snapshot",
        "after_commit",
    ],
)
def test_a_killed_worker_changes_nothing_about_mapped_topics(kafka_cluster: Cluster, point: str) -> None:
    cluster = kafka_cluster
    prepared(cluster)
    rows, calls = scores(8), inferences(8)
    for third in range(3):
        cluster.produce(rows[third * len(rows) // 3 : (third + 1) * len(rows) // 3], SCORES)
        cluster.produce(calls[third * len(calls) // 3 : (third + 1) * len(calls) // 3], KSERVE)
        if third < 2:
            assert cluster.wait_dead(cluster.start("detect", point, 2 - third), 150.0) == DIED, cluster.log("detect")
    wanted, n_dead = replayed(cluster)
    worker = cluster.start("detect")
    eventually_equal(lambda: judged(newest(cluster.results())), wanted, 180.0)
    eventually(lambda: len(dead(cluster)) == sum(n_dead.values()), why=f"dead letters as in the replay: {n_dead}")
    assert cluster.stop(worker) == 0


@pytest.mark.scenario
@pytest.mark.timeout(600)
def test_running_workers_take_up_a_new_source_from_its_first_row(kafka_cluster: Cluster) -> None:
    cluster = kafka_cluster
    prepared(cluster, [])
    cluster.produce(scores(6), SCORES)
    cluster.produce(inferences(6), KSERVE)
    workers = [cluster.start("detect") for _ in range(2)]
    eventually(lambda: cluster.records(topics.SNAPSHOTS[0].name), 150.0, why="a worker has taken its partitions")
    for one in MONITORS:
        records = [*records_of(traffic.baseline(one.model), 0), monitor_record(one)]
        asyncio.run(publish(cluster.settings, records))
    wanted, _ = replayed(cluster)
    eventually_equal(lambda: judged(newest(cluster.results())), wanted, 240.0)
    assert all(worker.poll() is None for worker in workers)
    assert [cluster.stop(worker) for worker in workers] == [0, 0]
