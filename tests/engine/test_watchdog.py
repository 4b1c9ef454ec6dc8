"""What Faust leaves unnoticed ends the process; what passes by itself does not."""

from __future__ import annotations

import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable

import pytest

from streams.engine.app import EXIT_CRASHED
from tests.brokers import Embedded, eventually
from tests.engine import traffic
from tests.engine.running import Cluster, eventually_equal, expected, free_port, newest

pytestmark = pytest.mark.scenario

MODELS = ("alpha",)
JOIN, HEARTBEAT, SYNC = 11, 12, 14
UNKNOWN_SERVER_ERROR, INVALID_REQUEST, GROUP_AUTHORIZATION_FAILED = -1, 42, 30
DOWN_S = 10.0


def _start(cluster: Cluster) -> tuple[subprocess.Popen[bytes], str]:
    port = free_port()
    return cluster.start("detect", DRIFTGAUGE_METRICS_PORT=str(port)), f"http://127.0.0.1:{port}"


def _ready(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/readyz", timeout=1) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, TimeoutError, OSError):
        return False


def _broker(cluster: Cluster) -> Embedded:
    assert isinstance(cluster.broker, Embedded)
    return cluster.broker


@pytest.mark.parametrize("error", [INVALID_REQUEST, GROUP_AUTHORIZATION_FAILED])
def test_a_coordinator_error_while_joining_ends_the_worker(
    embedded_cluster: Callable[..., Cluster], error: int
) -> None:
    cluster = embedded_cluster()
    _broker(cluster).fail_next(SYNC, [error])
    worker, _ = _start(cluster)
    assert cluster.wait_dead(worker, 40.0) == EXIT_CRASHED, cluster.log("detect")
    assert "coordinator failed" in cluster.log("detect")


def test_a_coordinator_error_while_running_ends_the_worker_within_seconds(
    embedded_cluster: Callable[..., Cluster],
) -> None:
    cluster = embedded_cluster()
    worker, address = _start(cluster)
    eventually(lambda: _ready(address), 60.0)
    _broker(cluster).fail_next(HEARTBEAT, [GROUP_AUTHORIZATION_FAILED])
    started = time.monotonic()
    assert cluster.wait_dead(worker, 30.0) == EXIT_CRASHED, cluster.log("detect")
    assert time.monotonic() - started < 15.0, "a heartbeat interval of 2 s, the watchdog's 1 s, and a busy machine"


def test_a_worker_started_again_after_a_coordinator_error_goes_on(embedded_cluster: Callable[..., Cluster]) -> None:
    cluster = embedded_cluster()
    cluster.publish_baselines(MODELS)
    messages = traffic.messages(MODELS, n_partitions=2, minutes=8)
    cluster.produce(messages[: len(messages) // 2])
    worker, address = _start(cluster)
    eventually(lambda: _ready(address) and cluster.results(), 60.0)
    _broker(cluster).fail_next(HEARTBEAT, [GROUP_AUTHORIZATION_FAILED])
    cluster.wait_dead(worker, 30.0)
    cluster.produce(messages[len(messages) // 2 :])
    worker, _ = _start(cluster)
    eventually_equal(lambda: newest(cluster.results()), expected(cluster, MODELS), 60.0)
    assert cluster.stop(worker) == 0


def test_a_broker_that_is_away_for_a_while_costs_nothing(embedded_cluster: Callable[..., Cluster]) -> None:
    cluster = embedded_cluster()
    cluster.publish_baselines(MODELS)
    messages = traffic.messages(MODELS, n_partitions=2, minutes=8)
    cluster.produce(messages[: len(messages) // 2])
    worker, address = _start(cluster)
    eventually(lambda: _ready(address) and cluster.results(), 60.0)
    _broker(cluster).down()
    back = time.monotonic() + DOWN_S
    eventually(lambda: time.monotonic() > back or worker.poll() is not None, DOWN_S + 5.0)
    _broker(cluster).up()
    assert worker.poll() is None, cluster.log("detect")
    cluster.produce(messages[len(messages) // 2 :])
    eventually_equal(lambda: newest(cluster.results()), expected(cluster, MODELS), 90.0)
    assert worker.poll() is None, f"it recovered by itself\n{cluster.log('detect')}"
    assert cluster.stop(worker) == 0
