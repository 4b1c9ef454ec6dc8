"""The latency benchmark in a tiny form: every promised figure is there and is a time."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.latency.__main__ import measure, table
from benchmarks.latency.traffic import CYCLE, MODELS, Traffic
from tests.brokers import Kafka, start_kafka
from tests.real import require_real

PROMISED = ("result_p99_s", "page_p99_s", "slack_p99_s", "log_p99_ms")


@pytest.fixture
def own_kafka(tmp_path: Path) -> Iterator[Kafka]:
    """A broker without topics of ours."""
    folder = tmp_path / "kafka"
    folder.mkdir()
    broker = start_kafka(folder)
    yield broker
    broker.close()


@pytest.mark.kafka
@pytest.mark.scenario
@pytest.mark.timeout(420)
def test_a_tiny_run_has_every_promised_figure(own_kafka: Kafka, tmp_path: Path) -> None:
    require_real("chdb")
    found = measure(own_kafka.bootstrap_servers, tmp_path, tmp_path / "logs", 25.0, 24_000)
    assert all(math.isfinite(found[name]) and found[name] > 0 for name in PROMISED), found
    assert found["result_n_10"] >= len(MODELS)
    assert found["slack_n_80"] >= len(MODELS) / CYCLE
    assert table(found).row_count > len(PROMISED)


def test_event_time_reaches_a_moment_when_the_pace_says() -> None:
    traffic = Traffic("127.0.0.1:9", 2, 1_000_000)
    assert traffic.moment(1_060_000) - traffic.moment(1_000_000) == pytest.approx(5.0)
