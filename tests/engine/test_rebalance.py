"""Workers come, go, die and sleep: the results are those of one that never stopped."""

from __future__ import annotations

import signal
import time

import pytest

from streams.engine.app import EXIT_CRASHED
from tests.brokers import eventually
from tests.engine import traffic
from tests.engine.running import DIED, Cluster, eventually_equal, expected, newest
from tests.engine.workers import Workers

pytestmark = [pytest.mark.scenario, pytest.mark.kafka]

MODELS = ("alpha", "beta", "gamma")
SESSION_S = 6.0


def _parts(cluster: Cluster, n_parts: int) -> list[list[traffic.Message]]:
    cluster.publish_baselines(MODELS)
    messages = traffic.messages(MODELS, n_partitions=2, minutes=12)
    size = -(-len(messages) // n_parts)
    return [messages[start : start + size] for start in range(0, len(messages), size)]


def test_workers_that_come_and_go_change_nothing(kafka_cluster: Cluster) -> None:
    cluster = kafka_cluster
    workers, parts = Workers(cluster), _parts(cluster, 4)
    first = workers.add()
    cluster.produce(parts[0])
    workers.until(cluster.results)

    second = workers.add()
    cluster.produce(parts[1])
    n_results = len(cluster.results())
    workers.until(lambda: len(cluster.results()) > n_results)
    assert workers.end(first, signal.SIGTERM) == 0, cluster.log("detect")

    cluster.produce(parts[2])
    workers.add()
    n_results = len(cluster.results())
    workers.until(lambda: len(cluster.results()) > n_results)
    assert workers.end(second, signal.SIGKILL) in (DIED, EXIT_CRASHED)

    cluster.produce(parts[3])
    wanted = expected(cluster, MODELS)
    workers.until(lambda: newest(cluster.results()).keys() == wanted.keys(), 90.0)
    eventually_equal(lambda: newest(cluster.results()), wanted, 90.0)
    workers.stop()


def test_a_worker_that_wakes_after_its_session_counts_nothing_twice(kafka_cluster: Cluster) -> None:
    cluster = kafka_cluster
    workers, parts = Workers(cluster), _parts(cluster, 3)
    sleeper = workers.add()
    cluster.produce(parts[0])
    workers.until(cluster.results)

    sleeper.send_signal(signal.SIGSTOP)
    cluster.produce(parts[1])
    asleep_until = time.monotonic() + SESSION_S + 2.0
    workers.add()
    n_results = len(cluster.results())
    eventually(lambda: time.monotonic() > asleep_until and len(cluster.results()) > n_results, 90.0)
    sleeper.send_signal(signal.SIGCONT)

    cluster.produce(parts[2])
    wanted = expected(cluster, MODELS)
    workers.until(lambda: newest(cluster.results()).keys() == wanted.keys(), 90.0)
    eventually_equal(lambda: newest(cluster.results()), wanted, 90.0)
    states: dict[tuple[str, int], set[str]] = {}
    for alert in cluster.alerts():
        states.setdefault((alert.episode_id, alert.sequence), set()).add(alert.state)
    assert states
    assert all(len(told) == 1 for told in states.values()), "a state told twice is told the same"
