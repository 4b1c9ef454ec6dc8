"""A cluster of a test's own, once on each kind of broker."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.brokers import Broker, Embedded, start_kafka
from tests.engine.running import Cluster


@pytest.fixture(params=["embedded", pytest.param("kafka", marks=pytest.mark.kafka)])
def cluster(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Cluster]:
    """Our topics on a fresh broker: the names of topics are fixed, so tests cannot share one."""
    folder = tmp_path / "kafka"
    folder.mkdir()
    broker: Any = start_kafka(folder) if request.param == "kafka" else Embedded({})
    made = Cluster(broker, tmp_path)
    yield made
    made.close()
    broker.close()


@pytest.fixture
def kafka_cluster(tmp_path: Path) -> Iterator[Cluster]:
    """A cluster on a fresh Apache Kafka only: where several members join at once the embedded broker errs."""
    folder = tmp_path / "kafka"
    folder.mkdir()
    broker = start_kafka(folder)
    made = Cluster(broker, tmp_path)
    yield made
    made.close()
    broker.close()


@pytest.fixture
def embedded_cluster(tmp_path: Path) -> Iterator[Callable[..., Cluster]]:
    """Return a function that makes a cluster on a fresh embedded broker."""
    made: list[tuple[Cluster, Broker]] = []

    def make(**settings: Any) -> Cluster:
        broker = Embedded({})
        made.append((Cluster(broker, tmp_path, **settings), broker))
        return made[-1][0]

    yield make
    for cluster, broker in made:
        cluster.close()
        broker.close()  # type: ignore[attr-defined]  # every broker made here has it
