"""The line under test on a broker of its own: topics, baseline, `run detect`, and what came out."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence, Set
from contextlib import ExitStack
from pathlib import Path

from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient

from benchmarks.throughput.traffic import MODEL, N_WINDOWS, SHIFTED, Traffic, baseline
from benchmarks.throughput.watched import EVERY_S, BenchmarkError, Speed, Watched, free_page
from detectors.windows import MINUTE_MS
from schemas import results, topics
from schemas.results import Result
from streams.catalogue import records_of
from streams.engine import preflight
from streams.engine.control import publish
from streams.settings import load
from tests.brokers import eventually

TIMEOUT_S = 600.0
JUDGED_S = 180.0
MEMORY_CHUNK_S = 6
MEMORY_BEGINS_MS = 3 * 86_400_000
HELD = rf'driftgauge_lag_records{{[^}}]*partition="(\d+)"[^}}]*topic="{re.escape(topics.EVENTS.name)}"'
ROWS = rf'driftgauge_rows_total{{model="{MODEL}"}} (\S+)'


class Line:
    """The product's topics on a broker that holds none; every run starts from an empty state."""

    def __init__(self, bootstrap_servers: str, folder: Path, n_partitions: int) -> None:
        self.settings = load(bootstrap_servers=bootstrap_servers, partitions=n_partitions)
        self.folder = folder
        self._baseline = baseline()
        self._n_runs = 0
        if ours := self._ours():
            found = ", ".join(sorted(ours))
            raise BenchmarkError(f"{bootstrap_servers} has {found}; topics get deleted here: give it an empty broker")

    def _ours(self) -> set[str]:
        return {topic.name for topic in topics.ALL} & preflight.existing(self.settings).keys()

    def clear(self, *, keep_events: bool = False) -> None:
        """Delete the topics (the events too, unless they are to be read again) and make them anew."""
        self.delete({topics.EVENTS.name} if keep_events else set())
        preflight.create(self.settings)
        planned = preflight.planned(self.settings)
        eventually(lambda: planned.items() <= preflight.existing(self.settings).items(), why="topics are there")
        asyncio.run(publish(self.settings, records_of(self._baseline, 0)))

    def delete(self, kept: Set[str] = frozenset()) -> None:
        """Delete the topics but those to be kept."""
        if unwanted := sorted(self._ours() - kept):
            admin = AdminClient({"bootstrap.servers": self.settings.bootstrap_servers})
            for future in admin.delete_topics(unwanted).values():
                future.result(30.0)
            eventually(lambda: not self._ours() & set(unwanted), why="topics are deleted")

    def measure(self, traffic: Traffic) -> Speed:
        """Run one worker over the events, with everything on, and check its verdicts.

        Raises
        ------
        BenchmarkError
            When a row was not counted or counted twice, or the shifted features were not found.
        """
        self.clear(keep_events=True)
        self._n_runs += 1
        with ExitStack() as running:
            worker = running.enter_context(self._worker(f"bench{self._n_runs}"))
            speed = worker.until(traffic.n_rows, TIMEOUT_S)
            _check(self._judged(traffic), traffic)
        return speed

    def cpu_s_per_million_rows(self, traffic: Traffic, n_workers: int) -> float:
        """Return what rows cost that come while so many workers share the partitions."""
        self.clear()
        self._n_runs += 1
        with ExitStack() as running:
            workers = [running.enter_context(self._worker(f"bench{self._n_runs}")) for _ in range(n_workers)]
            eventually(lambda: self._shared(workers), TIMEOUT_S, why="every worker has its share of the partitions")
            before = sum(worker.sample().cpu_s for worker in workers)
            traffic.send(self.settings.bootstrap_servers)
            _consumed(workers, traffic.n_rows)
            return (sum(worker.sample().cpu_s for worker in workers) - before) / traffic.n_rows * 1e6

    def _shared(self, workers: Sequence[Watched]) -> bool:
        held = [set(re.findall(HELD, worker.page())) for worker in workers]
        return all(len(mine) >= self.settings.partitions // len(workers) for mine in held)

    def rss_mib(self, minutes: Sequence[float], rows_per_s: int) -> list[float]:
        """Return the memory of one worker after each of so many minutes of steady traffic.

        Every chunk of rows spans 12 minutes of event time, so windows come and go all the time; it
        begins days ago, because brokers take no timestamps from the future.
        """
        self.clear()
        self._n_runs += 1
        found: list[float] = []
        n_rows, event_ms = rows_per_s * MEMORY_CHUNK_S, time.time_ns() // 1_000_000 - MEMORY_BEGINS_MS
        with self._worker(f"bench{self._n_runs}") as worker:
            eventually(lambda: self._shared([worker]), TIMEOUT_S, why="the worker has its partitions")
            started, n_sent = time.monotonic(), 0
            while len(found) < len(minutes):
                Traffic("columns", n_rows, self.settings.partitions, event_ms).send(self.settings.bootstrap_servers)
                n_sent, event_ms = n_sent + n_rows, event_ms + N_WINDOWS * MINUTE_MS
                _consumed([worker], n_sent)
                time.sleep(max(0.0, started + n_sent / rows_per_s - time.monotonic()))
                if time.monotonic() - started >= minutes[len(found)] * 60:
                    found.append(worker.rss_mib())
        return found

    def replay_rows_per_s(self) -> float:
        """Return the speed of `driftgauge replay` over the events of the topic, by its own word."""
        command = [sys.executable, "-m", "streams.cli", "replay", "--model", MODEL]
        environment = os.environ | {"DRIFTGAUGE_BOOTSTRAP_SERVERS": self.settings.bootstrap_servers}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
        found = re.search(r"\(([\d,]+)\s+rows/s\)", done.stdout)
        if not found:
            raise BenchmarkError(f"replay has not told its speed:\n{done.stdout[-1000:]}{done.stderr[-1000:]}")
        return float(found[1].replace(",", ""))

    def _worker(self, group: str) -> Watched:
        port, page = free_page("/metrics")
        environment = {
            "DRIFTGAUGE_BOOTSTRAP_SERVERS": self.settings.bootstrap_servers,
            "DRIFTGAUGE_PARTITIONS": str(self.settings.partitions),
            "DRIFTGAUGE_GROUP": group,
            "DRIFTGAUGE_METRICS_PORT": str(port),
            "DRIFTGAUGE_LOG_LEVEL": "WARNING",
        }
        command = [sys.executable, "-m", "streams.cli", "run", "detect"]
        return Watched(command, environment, self.folder / f"{group}-{port}.log", page, ROWS)

    def _judged(self, traffic: Traffic) -> dict[int, Result]:
        """Wait until every window that has ended is judged with all its rows; return the last revisions."""
        wanted = traffic.windows()
        newest: dict[int, Result] = {}
        deadline = time.monotonic() + JUDGED_S
        for result in self._results(deadline):
            if result.scale == 1 and (known := newest.get(result.window_start, result)).revision <= result.revision:
                del known
                newest[result.window_start] = result
            if all(start in newest and newest[start].rows == rows for start, rows in wanted.items()):
                return {start: newest[start] for start in wanted}
        found = {start: result.rows for start, result in newest.items()}
        raise BenchmarkError(f"not every window was judged with all its rows: wanted {wanted}, found {found}")

    def _results(self, deadline: float) -> Iterator[Result]:
        consumer = Consumer({"bootstrap.servers": self.settings.bootstrap_servers, "group.id": "benchmark-results"})
        consumer.assign([TopicPartition(topics.RESULTS.name, n, 0) for n in range(self.settings.partitions)])
        try:
            while time.monotonic() < deadline:
                for message in consumer.consume(100, 0.5):
                    if not message.error() and (value := message.value()):
                        yield results.decode(value)
        finally:
            consumer.close()


def _consumed(workers: Sequence[Watched], n_rows: int) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while (rows := sum(worker.rows() for worker in workers)) < n_rows:
        if time.monotonic() > deadline:
            raise BenchmarkError(f"{rows} of {n_rows} rows in {TIMEOUT_S:.0f} s")
        time.sleep(EVERY_S)


def _check(judged: dict[int, Result], traffic: Traffic) -> None:
    """Refuse a speed that was reached without judging right."""
    for start, result in judged.items():
        drifted = {feature.feature for feature in result.features if feature.verdict == "drift"}
        wanted = set(SHIFTED) if start >= traffic.shift_ms else set()
        if not drifted >= wanted or (not wanted and drifted):
            raise BenchmarkError(
                f"the window at {start} should show drift of {sorted(wanted)} and shows {sorted(drifted)}"
            )
