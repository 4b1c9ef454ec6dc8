"""The line under test on a broker of its own: topics, baseline, `run detect`, and what came out."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Iterator, Set
from contextlib import ExitStack
from pathlib import Path

from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient

from benchmarks.throughput.traffic import MODEL, SHIFTED, Traffic, baseline
from benchmarks.throughput.watched import BenchmarkError, Speed, Watched, free_page
from schemas import results, topics
from schemas.results import Result
from streams.catalogue import records_of
from streams.engine import preflight
from streams.engine.control import publish
from streams.settings import load
from tests.brokers import eventually

TIMEOUT_S = 300.0
JUDGED_S = 60.0
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
        return Watched(command, environment, self.folder / f"{group}.log", page, ROWS)

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


def _check(judged: dict[int, Result], traffic: Traffic) -> None:
    """Refuse a speed that was reached without judging right."""
    for start, result in judged.items():
        drifted = {feature.feature for feature in result.features if feature.verdict == "drift"}
        wanted = set(SHIFTED) if start >= traffic.shift_ms else set()
        if not drifted >= wanted or (not wanted and drifted):
            raise BenchmarkError(
                f"the window at {start} should show drift of {sorted(wanted)} and shows {sorted(drifted)}"
            )
