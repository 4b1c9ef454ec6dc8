"""One run: for each encoding the floors and the worker within the same minute, then the stock agent."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from benchmarks.throughput import floors
from benchmarks.throughput.line import Line
from benchmarks.throughput.traffic import ENCODINGS, Encoding, Traffic
from benchmarks.throughput.watched import Speed, Watched, free_page
from benchmarks.throughput.width import cpu_us_per_row
from schemas import topics
from tests.brokers import eventually

Figures = dict[str, float]
STOCK_TIMEOUT_S = 180.0
PLAIN: Encoding = "columns"
"""The encoding whose floors and costs also stand without a prefix."""


class Size(NamedTuple):
    """How many rows of each encoding, how many the stock agent gets, how often all is repeated.

    `pair` rows go to one worker and to two; memory is read after each of the `minutes`.
    """

    arrow: int = 3_000_000
    columns: int = 2_000_000
    single: int = 400_000
    stock: int = 12_000
    pair: int = 1_000_000
    minutes: tuple[float, ...] = ()
    repeats: int = 1
    floor_s: float = floors.AT_LEAST_S


SHORT = Size()
LONG = Size(
    arrow=6_000_000, columns=4_000_000, single=1_000_000, stock=24_000, pair=3_000_000, minutes=(5.0, 20.0), repeats=3
)
N_PARTITIONS = 4
WIDTHS = (20, 80)
STEADY_ROWS_PER_S = 20_000


def measure(
    bootstrap_servers: str,
    folder: Path,
    size: Size,
    *,
    encodings: Sequence[Encoding] = ENCODINGS,
    progress: Callable[[str], None] = lambda _text: None,
) -> Figures:
    """Return the figures; of repeated ones the median.

    Parameters
    ----------
    bootstrap_servers
        A broker without topics of ours; they are made and deleted again.
    folder
        Takes the logs of the processes.
    """
    line = Line(bootstrap_servers, folder, N_PARTITIONS)
    runs: list[Figures] = []
    try:
        for number in range(size.repeats):
            progress("wider rows")
            figures = width()
            for encoding in encodings:
                progress(f"{encoding}: run {number + 1} of {size.repeats}")
                figures |= _encoding(line, encoding, size)
            if PLAIN in encodings:
                progress("one worker and two")
                figures |= workers(line, size)
            runs.append(figures)
        if size.minutes:
            progress(f"memory over {size.minutes[-1]:.0f} minutes")
            runs = [figures | memory(line, size) for figures in runs[:1]] + runs[1:]
    finally:
        line.delete()
    return summary(runs, encodings)


def width() -> Figures:
    """Return what a feature costs in wide rows, of what it costs in narrow ones."""
    narrow, wide = map(cpu_us_per_row, WIDTHS)
    return {"cpu_us_per_row_80_features": wide, "wide_cpu_ratio": wide / WIDTHS[1] / (narrow / WIDTHS[0])}


def workers(line: Line, size: Size) -> Figures:
    """Return what a row costs two workers, of what it costs one."""
    traffic = Traffic(PLAIN, size.pair, N_PARTITIONS, time.time_ns() // 1_000_000)
    one, two = (line.cpu_s_per_million_rows(traffic, n_workers) for n_workers in (1, 2))
    return {"two_workers_cpu_s_per_million_rows": two, "two_workers_cpu_ratio": two / one}


def memory(line: Line, size: Size) -> Figures:
    """Return the memory of a worker over time."""
    early, *_, late = line.rss_mib(size.minutes, STEADY_ROWS_PER_S)
    return {"rss_early_mib": early, "rss_late_mib": late, "rss_growth": late / early}


def summary(runs: Sequence[Figures], encodings: Sequence[Encoding]) -> Figures:
    """Return medians of the runs, ratios of each run's own parts, and the spread of the rates."""
    figures = {name: median(run[name] for run in runs if name in run) for name in runs[0]}
    for encoding in encodings:
        rates = [run[f"{encoding}_rows_per_s"] for run in runs]
        figures[f"{encoding}_rows_per_s_min"], figures[f"{encoding}_rows_per_s_max"] = min(rates), max(rates)
        for other in ("poll_only", "decode_only", "scipy", "stock_faust"):
            if f"{encoding}_{other}_rows_per_s" in figures:
                ratios = [run[f"{encoding}_rows_per_s"] / run[f"{encoding}_{other}_rows_per_s"] for run in runs]
                figures[f"{encoding}_of_{other}"] = median(ratios)
    if "single" in encodings:
        figures["stock_faust_rows_per_s"] = figures["single_stock_faust_rows_per_s"]
    if PLAIN in encodings:
        for name in ("poll_only_rows_per_s", "decode_only_rows_per_s", "scipy_rows_per_s", "cpu_s_per_million_rows"):
            figures[name] = figures[f"{PLAIN}_{name}"]
    figures["peak_rss_mib"] = max(figures[f"{encoding}_peak_rss_mib"] for encoding in encodings)
    return figures


def _encoding(line: Line, encoding: Encoding, size: Size) -> Figures:
    traffic = Traffic(encoding, getattr(size, encoding), N_PARTITIONS, time.time_ns() // 1_000_000)
    servers = line.settings.bootstrap_servers
    line.clear()
    traffic.send(servers)
    poll_only = floors.rate(servers, traffic, floors.drop, size.floor_s)
    decode_only = floors.rate(servers, traffic, floors.decoder(encoding), size.floor_s)
    speed = line.measure(traffic)
    replay = line.replay_rows_per_s() if encoding == PLAIN else None
    scipy = floors.rate(servers, traffic, floors.ScipyPerWindow(encoding), 0.0)
    figures = {
        "rows_per_s": speed.rows_per_s,
        "mb_per_s": speed.rows_per_s * traffic.n_bytes / traffic.n_rows / 1e6,
        "bytes_per_row": traffic.n_bytes / traffic.n_rows,
        "cpu_s_per_million_rows": speed.cpu_s_per_million_rows,
        "rows_per_cpu_s": 1e6 / speed.cpu_s_per_million_rows,
        "peak_rss_mib": speed.peak_rss_mib,
        "seconds": speed.seconds,
        "poll_only_rows_per_s": poll_only,
        "decode_only_rows_per_s": decode_only,
        "scipy_rows_per_s": scipy,
    }
    if replay is not None:
        figures |= {"replay_rows_per_s": replay, "replay_of_live": replay / speed.rows_per_s}
    if encoding == "single":
        stock = measure_stock(line, size.stock)
        figures["stock_faust_rows_per_s"] = stock.rows_per_s
        figures["stock_faust_cpu_s_per_million_rows"] = stock.cpu_s_per_million_rows
    return {f"{encoding}_{name}": value for name, value in figures.items()}


def measure_stock(line: Line, n_rows: int) -> Speed:
    """Measure the stock agent over single rows of the same kind."""
    servers = line.settings.bootstrap_servers
    line.clear()
    Traffic("single", n_rows, N_PARTITIONS, time.time_ns() // 1_000_000).send(servers)
    admin = AdminClient({"bootstrap.servers": servers})
    changelog = "benchmark-stock-histograms-changelog"
    _delete(admin, changelog)
    admin.create_topics([NewTopic(changelog, N_PARTITIONS, 1)])[changelog].result(30.0)
    port, page = free_page("/rows")
    environment = {
        "STOCK_BROKER": servers,
        "STOCK_TOPIC": topics.EVENTS.name,
        "STOCK_PARTITIONS": str(N_PARTITIONS),
        "STOCK_PORT": str(port),
    }
    command = [sys.executable, "-m", "benchmarks.throughput.stock", "worker", "--loglevel", "warn"]
    command += ["--web-host", "127.0.0.1", "--web-port", str(port)]
    try:
        with Watched(command, environment, line.folder / "stock.log", page, r"rows (\d+)") as stock:
            return stock.until(n_rows, STOCK_TIMEOUT_S)
    finally:
        _delete(admin, changelog)
        _forget_group(admin, "benchmark-stock")


def _delete(admin: AdminClient, topic: str) -> None:
    if topic in admin.list_topics(timeout=10).topics:
        admin.delete_topics([topic])[topic].result(30.0)
        eventually(lambda: topic not in admin.list_topics(timeout=10).topics, why=f"{topic} is deleted")


def _forget_group(admin: AdminClient, group: str) -> None:
    """Delete the committed offsets, so that the next repeat starts at the beginning."""
    for future in admin.delete_consumer_groups([group]).values():
        future.exception(30.0)
