"""One worker for a fleet of models: rows a second, memory, pauses, and how long all windows take to close."""

from __future__ import annotations

import re
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import NamedTuple

from confluent_kafka import Consumer, TopicPartition

from benchmarks.scale.fleet import Fleet
from benchmarks.throughput.watched import BenchmarkError, Watched, free_page
from schemas import results, topics
from streams.engine import preflight
from streams.settings import Settings, load
from tests.brokers import eventually

Figures = dict[str, float]
N_PARTITIONS = 8
TIMEOUT_S = 1_800.0
EVERY_S = 0.5
LAG = re.compile(rf'driftgauge_lag_records{{[^}}]*topic="{re.escape(topics.EVENTS.name)}"[^}}]*}} (\S+)')
BUCKET = r'driftgauge_{name}_bucket{{([^}}]*)le="([^"]+)"[^}}]*}} (\S+)'


class Size(NamedTuple):
    """How many models of how many features, their rows a window and a message, spread over partitions or not."""

    models: int = 200
    features: int = 50
    rows: int = 40
    message: int = 5
    spread: bool = False


SHORT = {"keyed": Size(), "spread": Size(100, spread=True), "wide": Size(1, 1_000, 2_000, 100, True)}
LONG = {
    "keyed": Size(2_000, rows=100),
    "spread": Size(2_000, rows=80, spread=True),
    "wide": Size(4, 1_000, 20_000, 200, True),
}


def measure(bootstrap_servers: str, folder: Path, name: str, size: Size) -> Figures:
    """Return the figures of one fleet; the broker holds no topics of ours."""
    settings = load(bootstrap_servers=bootstrap_servers, partitions=N_PARTITIONS)
    preflight.create(settings)
    planned = preflight.planned(settings)
    eventually(lambda: planned.items() <= preflight.existing(settings).items(), why="topics are there")
    fleet = Fleet(
        size.models, size.features, size.rows, size.message, spread=size.spread, now_ms=time.time_ns() // 1_000_000
    )
    fleet.publish(settings)
    n_bytes = fleet.send(settings)
    port, page = free_page("/metrics")
    environment = {
        "DRIFTGAUGE_BOOTSTRAP_SERVERS": bootstrap_servers,
        "DRIFTGAUGE_PARTITIONS": str(N_PARTITIONS),
        "DRIFTGAUGE_METRICS_PORT": str(port),
        "DRIFTGAUGE_LOG_LEVEL": "WARNING",
    }
    command = [sys.executable, "-m", "streams.cli", "run", "detect"]
    with Watched(command, environment, folder / f"{name}.log", page, r"driftgauge_rows_total{[^}]*} (\S+)") as worker:
        seconds = _consumed(worker, page)
        started = time.monotonic()
        fleet.close(settings)
        _judged(settings, fleet)
        close_s = time.monotonic() - started
        text = _read(page)
        found = {
            "models": size.models,
            "features": size.features,
            "rows": fleet.n_rows,
            "mb": n_bytes / 1e6,
            "rows_per_s": fleet.n_rows / seconds,
            "close_s": close_s,
            "peak_rss_mib": worker.peak_rss_mib(),
            "cpu_s": worker.sample().cpu_s,
        }
    for metric in ("ingest_pause_seconds", "loop_stall_seconds", "checkpoint_seconds"):
        if (p99 := quantile(text, metric, 0.99)) is not None:
            found[f"{metric.removesuffix('_seconds')}_p99_s"] = p99
    return found


def _read(page: str) -> str:
    try:
        with urllib.request.urlopen(page, timeout=60) as answer:
            return str(answer.read().decode())
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return ""


def _consumed(worker: Watched, page: str) -> float:
    """Wait until nothing is left to be read; return the seconds since the first row was."""
    deadline = time.monotonic() + TIMEOUT_S
    begun = None
    while time.monotonic() < deadline:
        if worker.rows() and begun is None:
            begun = time.monotonic() - EVERY_S
        lags = [float(lag) for lag in LAG.findall(_read(page))]
        if begun is not None and len(lags) == N_PARTITIONS and not any(lags):
            return time.monotonic() - begun
        time.sleep(EVERY_S)
    raise BenchmarkError(f"the rows were not read in {TIMEOUT_S:.0f} s")


def _judged(settings: Settings, fleet: Fleet) -> None:
    """Wait until the last window of every model is judged with all its rows, exactly."""
    consumer = Consumer({"bootstrap.servers": settings.bootstrap_servers, "group.id": "benchmark-results"})
    consumer.assign([TopicPartition(topics.RESULTS.name, n, 0) for n in range(settings.partitions)])
    rows: dict[str, int] = {}
    deadline = time.monotonic() + TIMEOUT_S
    try:
        while time.monotonic() < deadline:
            for message in consumer.consume(500, 0.5):
                if not message.error() and (value := message.value()):
                    result = results.decode(value)
                    if result.scale == 1 and result.window_start == fleet.last_start_ms:
                        rows[result.model] = max(rows.get(result.model, 0), result.rows)
            if len(rows) == fleet.n_models and set(rows.values()) == {fleet.rows_per_window}:
                return
    finally:
        consumer.close()
    whole = sum(n == fleet.rows_per_window for n in rows.values())
    raise BenchmarkError(f"{whole} of {fleet.n_models} models were judged with all {fleet.rows_per_window} rows")


def quantile(text: str, name: str, q: float) -> float | None:
    """Return the upper end of the bucket in which a quantile of a histogram lies; None without observations.

    >>> lines = ['le="0.1"} 98', 'le="0.5"} 100', 'le="+Inf"} 100']
    >>> quantile("".join(f"driftgauge_x_seconds_bucket{{{line}" + chr(10) for line in lines), "x_seconds", 0.99)
    0.5
    """
    counts: dict[float, float] = {}
    for _, end, n in re.findall(BUCKET.format(name=name), text):
        counts[float(end)] = counts.get(float(end), 0.0) + float(n)
    total = counts.get(float("inf"), 0.0)
    return next((end for end, n in sorted(counts.items()) if n >= q * total), None) if total else None
