"""Several workers under one supervisor, restarted one after the other while traffic goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from streams.settings import Settings
from streams.supervisor import workers_of
from tests.brokers import eventually
from tests.engine import traffic
from tests.engine.running import Cluster, eventually_equal, expected, free_port, newest

pytestmark = [pytest.mark.scenario, pytest.mark.kafka, pytest.mark.timeout(300)]

MODELS = ("alpha", "beta")
SESSION_S = 6.0
TAKE_OVER_S = SESSION_S + 10.0
MINUTES = 30


class Paced:
    """Produces a minute of event time a time, and remembers when."""

    def __init__(self, cluster: Cluster, every_s: float) -> None:
        self._cluster, self._every_s = cluster, every_s
        self._messages = traffic.messages(MODELS, n_partitions=2, minutes=MINUTES)
        self.sent_ms: list[float] = []
        self._thread = threading.Thread(target=self._produce)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def join(self) -> None:
        """Wait for the last message."""
        self._thread.join(300)

    def _produce(self) -> None:
        size = len(self._messages) // MINUTES
        for minute in range(MINUTES):
            end = (minute + 1) * size if minute < MINUTES - 1 else len(self._messages)
            self._cluster.produce(self._messages[minute * size : end])
            self.sent_ms.append(time.time() * 1000)
            threading.Event().wait(self._every_s)


def test_a_rolling_restart_delays_no_verdict_longer_than_a_take_over(kafka_cluster: Cluster, tmp_path: Path) -> None:
    cluster = kafka_cluster
    cluster.publish_baselines(MODELS)
    log = tmp_path / "supervisor.log"
    port = free_port()
    environment = {
        **os.environ, **cluster.environment,
        "DRIFTGAUGE_METRICS_PORT": str(port), "DRIFTGAUGE_SESSION_TIMEOUT_S": str(SESSION_S),
    }  # fmt: skip
    command = [sys.executable, "-m", "streams.cli", "run", "detect", "--workers", "2"]
    with open(log, "wb") as output:
        supervisor = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
    paced = Paced(cluster, 0.8)
    try:
        workers = workers_of(["detect"], Settings(metrics_port=port), {"detect": 2})
        eventually(lambda: all(worker.ready() for worker in workers), 90)
        paced.start()
        eventually(cluster.results, 90)
        supervisor.send_signal(signal.SIGHUP)
        eventually(lambda: "detect-2 was restarted" in log.read_text(), 90)
        paced.join()
        wanted = expected(cluster, MODELS)
        eventually_equal(lambda: newest(cluster.results()), wanted, 90)
        supervisor.send_signal(signal.SIGTERM)
        assert supervisor.wait(20) == 0, log.read_text()[-4_000:]
    finally:
        paced.join()
        if supervisor.poll() is None:
            supervisor.kill()

    first: dict[tuple[str, int], int] = {}
    for result in cluster.results():
        if result.scale == 1:
            key = (result.model, result.window_start)
            first[key] = min(first.get(key, result.produced_at), result.produced_at)
    delays = {
        key: judged - paced.sent_ms[minute + 1]
        for key, judged in first.items()
        if 0 <= (minute := (key[1] - traffic.START_MS) // traffic.MINUTE_MS) < MINUTES - 1
    }
    assert len(delays) >= len(MODELS) * (MINUTES - 1)
    late = {key: delay for key, delay in delays.items() if delay > TAKE_OVER_S * 1000}
    assert not late, late
