"""The throughput benchmark in a tiny form: it measures what it says, and its figures have their names."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import orjson
import pytest

from benchmarks import figures
from benchmarks.throughput.line import Line
from benchmarks.throughput.run import N_PARTITIONS, Size, measure, summary
from benchmarks.throughput.traffic import ENCODINGS, NAMES, Encoding, Traffic
from benchmarks.throughput.watched import BenchmarkError, Watched, free_page
from schemas.columns import Batch
from schemas.events import decode
from schemas.records import PlainRecord
from tests.brokers import Kafka, start_kafka

NOW_MS = 1_800_000_000_000
TINY = Size(arrow=24_000, columns=24_000, single=12_000, stock=1_000, pair=24_000, floor_s=0.0)
PROMISED = {
    "columns_rows_per_s",
    "arrow_rows_per_s",
    "single_rows_per_s",
    "poll_only_rows_per_s",
    "decode_only_rows_per_s",
    "stock_faust_rows_per_s",
    "peak_rss_mib",
    "cpu_s_per_million_rows",
    "two_workers_cpu_ratio",
    "wide_cpu_ratio",
    "columns_replay_of_live",
}


@pytest.fixture(scope="module")
def own_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kafka]:
    """A broker of the benchmark's own: it deletes topics."""
    broker = start_kafka(tmp_path_factory.mktemp("bench-kafka"))
    yield broker
    broker.close()


@pytest.mark.kafka
@pytest.mark.slow
@pytest.mark.timeout(420)
def test_a_tiny_run_has_every_promised_figure(own_kafka: Kafka, tmp_path: Path) -> None:
    found = measure(own_kafka.bootstrap_servers, tmp_path, TINY)
    path = figures.write("throughput", found, started=figures.now(), measured_on=figures.versions(), folder=tmp_path)
    written = orjson.loads(path.read_bytes())
    beside = {name: written.pop(name) for name in ("versions", "command", "started")}
    assert written.keys() >= PROMISED
    assert all(isinstance(value, float) and value > 0 for value in written.values())
    assert beside["versions"]["faust-streaming"] == "0.15.3"


@pytest.mark.kafka
def test_a_broker_with_topics_of_ours_is_refused(own_kafka: Kafka, tmp_path: Path) -> None:
    line = Line(own_kafka.bootstrap_servers, tmp_path, 1)
    line.clear()
    with pytest.raises(BenchmarkError, match="empty broker"):
        Line(own_kafka.bootstrap_servers, tmp_path, 1)
    line.delete()


def decoded(encoding: Encoding) -> Batch:
    """Return 4,000 rows that went through an encoding and the product's own decoder."""
    traffic = Traffic(encoding, 4_000, N_PARTITIONS, NOW_MS)
    messages = list(traffic.messages())
    assert len(messages) == traffic.n_messages
    (batch,) = decode(
        [PlainRecord("events", 0, n, NOW_MS, message.value) for n, message in enumerate(messages)]
    ).batches
    return batch


def test_every_encoding_carries_the_same_rows() -> None:
    batches = list(map(decoded, ENCODINGS))
    for name in NAMES:
        columns = [np.asarray(batch.columns[name].numbers, np.float32) for batch in batches]
        assert all(np.array_equal(columns[0], column) for column in columns), name
    assert [batch.times.tolist() for batch in batches] == [batches[0].times.tolist()] * len(ENCODINGS)
    assert all(earlier <= later for earlier, later in pairwise(batches[0].times.tolist()))


def test_complete_windows_are_those_every_partition_has_passed() -> None:
    traffic = Traffic("single", 12_000, N_PARTITIONS, NOW_MS)
    assert list(traffic.windows().values()) == [1_000] * 11


def test_medians_and_ratios_are_of_the_runs_own_parts() -> None:
    def run(speed: float, floor: float) -> dict[str, float]:
        rates = {
            "rows_per_s": speed,
            "poll_only_rows_per_s": 900.0,
            "decode_only_rows_per_s": floor,
            "peak_rss_mib": 1.0,
        }
        return {f"arrow_{name}": value for name, value in rates.items()}

    found = summary([run(100.0, 400.0), run(300.0, 400.0), run(200.0, 400.0)], ["arrow"])
    assert (found["arrow_rows_per_s"], found["arrow_rows_per_s_min"], found["arrow_rows_per_s_max"]) == (200, 100, 300)
    assert found["arrow_of_decode_only"] == 0.5


def test_a_process_that_ends_is_no_measurement(tmp_path: Path) -> None:
    _, page = free_page("/")
    with (
        Watched(["python", "-c", "import sys; sys.exit('broken')"], {}, tmp_path / "log", page, "rows") as process,
        pytest.raises(BenchmarkError, match="broken"),
    ):
        process.until(1, 30.0)
