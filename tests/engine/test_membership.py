"""A place in the group: kept over a restart when a worker has a name of its own, left when two have the same."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from streams.engine.agent import StatefulAgent
from streams.engine.app import EXIT_CRASHED
from streams.engine.watchdog import FENCED_WITHIN_S, FencingGuard, Watchdog
from tests.brokers import Embedded, eventually
from tests.engine import traffic
from tests.engine.running import DIED, Cluster, eventually_equal, expected, newest

MODELS = ("alpha", "beta")


def test_three_losses_within_a_minute_are_one_too_many() -> None:
    guard = FencingGuard("worker-1")
    assert guard.fenced(0.0) is None
    assert guard.fenced(20.0) is None
    assert guard.fenced(FENCED_WITHIN_S + 1.0) is None, "the first is forgotten"
    assert "'worker-1'" in (guard.fenced(FENCED_WITHIN_S + 2.0) or "")


def test_a_worker_without_a_name_of_its_own_is_never_fenced_for_good() -> None:
    guard = FencingGuard(None)
    assert [guard.fenced(float(second)) for second in range(10)] == [None] * 10


def test_what_is_said_of_a_partition_goes_with_it() -> None:
    class Agent(StatefulAgent):
        topic = "events"

        def __init__(self) -> None:
            self.held = {n: SimpleNamespace(position=1, age_s=lambda: 2.0) for n in (0, 1)}  # type: ignore[misc]  # enough of it

        def lags(self) -> dict[int, int]:
            return dict.fromkeys(self.held, 0)

    forgotten: list[tuple[str, str, int]] = []
    ages: list[tuple[int, float]] = []
    metrics = SimpleNamespace(
        lag=lambda *_place: None,
        stuck=lambda _seconds: None,
        checkpoint_age=lambda _role, _topic, partition, seconds: ages.append((partition, seconds)),
        forget_partition=lambda *place: forgotten.append(place),
    )
    agent = Agent()
    app: Any = SimpleNamespace(role="detect", ready=True, agents_of_role=[agent], metrics_of_role=metrics)
    watchdog = Watchdog(app, 0.0)
    watchdog.look(1.0)
    assert (ages, forgotten) == ([(0, 2.0), (1, 2.0)], [])
    del agent.held[0]
    watchdog.look(2.0)
    watchdog.look(3.0)
    assert forgotten == [("detect", "events", 0)]


@pytest.mark.scenario
def test_a_stop_without_brokers_takes_less_than_ten_seconds(embedded_cluster: Callable[..., Cluster]) -> None:
    cluster = embedded_cluster(checkpoint_s=300)
    cluster.publish_baselines(MODELS)
    messages = traffic.messages(MODELS, n_partitions=2, minutes=8)
    cluster.produce(messages[: len(messages) // 2])
    worker = cluster.start("detect")
    eventually(cluster.results, 90.0)
    assert isinstance(cluster.broker, Embedded)
    cluster.broker.down()
    started = time.monotonic()
    worker.send_signal(signal.SIGTERM)
    code = cluster.wait_dead(worker, 20.0)
    assert time.monotonic() - started < 10.0
    assert code in (0, EXIT_CRASHED), cluster.log("detect")
    cluster.broker.up()
    cluster.produce(messages[len(messages) // 2 :])
    worker = cluster.start("detect")
    eventually_equal(lambda: newest(cluster.results()), expected(cluster, MODELS), 90.0)
    assert cluster.stop(worker) == 0


@pytest.mark.scenario
@pytest.mark.kafka
def test_a_named_worker_that_is_killed_goes_on_where_it_was(kafka_cluster: Cluster) -> None:
    cluster = kafka_cluster
    cluster.publish_baselines(MODELS)
    messages = traffic.messages(MODELS, n_partitions=2, minutes=8)
    half = len(messages) // 2
    cluster.produce(messages[:half])
    worker = cluster.start("detect", DRIFTGAUGE_GROUP_INSTANCE_ID="one")
    eventually(cluster.results, 90.0)
    worker.send_signal(signal.SIGKILL)
    assert cluster.wait_dead(worker) == DIED
    cluster.produce(messages[half:])
    worker = cluster.start("detect", DRIFTGAUGE_GROUP_INSTANCE_ID="one")
    eventually_equal(lambda: newest(cluster.results()), expected(cluster, MODELS), 90.0)
    assert cluster.stop(worker) == 0


@pytest.mark.long
@pytest.mark.kafka
def test_two_workers_of_one_name_do_not_go_on_for_ever(kafka_cluster: Cluster) -> None:
    cluster = kafka_cluster
    cluster.publish_baselines(MODELS)
    workers = [cluster.start("detect", DRIFTGAUGE_GROUP_INSTANCE_ID="same") for _ in range(2)]
    eventually(lambda: any(worker.poll() is not None for worker in workers), 100.0)
    ended = next(worker for worker in workers if worker.poll() is not None)
    assert ended.returncode == EXIT_CRASHED
    assert any("another live worker has the same" in path.read_text() for path in cluster.folder.glob("detect-*.log"))
