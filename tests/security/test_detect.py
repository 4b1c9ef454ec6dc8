"""The whole `detect` role behind TLS and SASL, with the rights of the table alone, is as exact as in the open."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from aiokafka import TopicPartition

from schemas import topics
from streams.engine.connection import admin
from tests.brokers import eventually_async
from tests.engine import traffic
from tests.engine.running import Cluster, eventually_equal, expected, newest
from tests.kafka.secured import CLIENT_SECRET, PASSWORD, USER, WAYS, SecuredKafka, start_secured

MODELS = ("alpha", "beta")


def _no_secret(cluster: Cluster) -> None:
    logs = [path.read_text() for path in cluster.folder.glob("*.log")]
    assert all("DEBUG" in log for log in logs), "the roles logged all they have to say"
    assert not [log for log in logs if PASSWORD in log or CLIENT_SECRET in log]


@pytest.fixture
def secured_cluster(tmp_path: Path) -> Iterator[Cluster]:
    """Our topics on a broker of this test's own, where the worker may do what the table says."""
    folder = tmp_path / "kafka"
    folder.mkdir()
    broker = start_secured(folder)
    broker.allow_role(USER, "detect")
    cluster = Cluster(broker, tmp_path)
    yield cluster
    cluster.close()
    broker.close()


def _feed(cluster: Cluster, messages: Sequence[traffic.Message]) -> None:
    """Produce messages and wait until a worker has committed behind them."""
    cluster.produce(messages)
    places = [record.partition for record in cluster.records(topics.EVENTS.name)]
    ends = {TopicPartition(topics.EVENTS.name, partition): places.count(partition) for partition in (0, 1)}

    async def wait() -> None:
        client = admin(cluster.settings)
        await client.start()

        async def committed() -> bool:
            found = await client.list_consumer_group_offsets(f"{cluster.settings.group}-detect", partitions=list(ends))
            return {place: commit.offset for place, commit in found.items()} == ends

        try:
            await eventually_async(committed, 240.0)
        finally:
            await client.close()

    asyncio.run(wait())


def _slices(messages: Sequence[traffic.Message], n: int) -> list[Sequence[traffic.Message]]:
    size = -(-len(messages) // n)
    return [messages[start : start + size] for start in range(0, len(messages), size)]


@pytest.mark.timeout(240)
def test_detect_is_exact_behind_tls_and_scram(secured_cluster: Cluster) -> None:
    cluster, broker = secured_cluster, secured_cluster.broker
    assert isinstance(broker, SecuredKafka)
    cluster.publish_baselines(MODELS)
    cluster.produce(traffic.messages(MODELS, n_partitions=2, minutes=8))
    cluster.environment |= broker.environment(broker.way("SCRAM-SHA-512", log_level="DEBUG"))
    worker = cluster.start("detect")
    eventually_equal(lambda: newest(cluster.results()), expected(cluster, MODELS), 180.0)
    assert cluster.stop(worker) == 0, cluster.log("detect")
    _no_secret(cluster)


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_each_worker_comes_in_another_way_and_takes_over_where_the_last_left(secured_cluster: Cluster) -> None:
    cluster, broker = secured_cluster, secured_cluster.broker
    assert isinstance(broker, SecuredKafka)
    cluster.publish_baselines(MODELS)
    parts = _slices(traffic.messages(MODELS, n_partitions=2, minutes=15), len(WAYS))
    for name, part in zip(WAYS, parts, strict=True):
        cluster.environment |= broker.environment(broker.way(name, log_level="DEBUG"))
        worker = cluster.start("detect")
        _feed(cluster, part)
        assert cluster.stop(worker) == 0, cluster.log("detect")
    cluster.environment |= broker.environment(broker.way(WAYS[0], log_level="DEBUG"))
    worker = cluster.start("detect")
    eventually_equal(lambda: newest(cluster.results()), expected(cluster, MODELS), 180.0)
    assert cluster.stop(worker) == 0, cluster.log("detect")
    _no_secret(cluster)
