"""The roles under measurement on a broker of their own, with the default settings."""

from __future__ import annotations

import asyncio
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from benchmarks.background import Background
from benchmarks.faults.outside import identities
from benchmarks.latency.heard import Heard
from benchmarks.latency.traffic import MODELS, SPEED, Traffic, baselines, monitors
from benchmarks.throughput.watched import BenchmarkError, Watched, free_page
from detectors.windows import DAY_MS, MINUTE_MS
from streams.catalogue import monitor_record, records_of
from streams.engine import preflight
from streams.engine.control import publish
from streams.settings import load
from tests.brokers import eventually
from tests.sinks.slack_server import slack_server

N_PARTITIONS = 4
ROWS_TOTAL = r"driftgauge_rows_total\{[^}]*\} (\S+)"
READY_S = 120.0
SETTLE_S = 60.0
MARGIN_S = 2.0
DRAIN_S = 300.0


class Latencies(NamedTuple):
    """Seconds from the end of a window, one value a window of a model or a message."""

    result: list[float]
    page: list[float]
    slack: list[float]


class Line:
    """`detect`, `notify` and `panel` as processes, and everybody who listens."""

    def __init__(self, bootstrap_servers: str, store_url: str, folder: Path) -> None:
        self._bootstrap_servers, self._folder = bootstrap_servers, folder
        settings = load(bootstrap_servers=bootstrap_servers, partitions=N_PARTITIONS)
        preflight.create(settings)
        planned = preflight.planned(settings)
        eventually(lambda: planned.items() <= preflight.existing(settings).items(), why="topics are there")
        records = [monitor_record(monitor) for monitor in monitors()]
        for baseline in baselines():
            records += records_of(baseline, 0)
        asyncio.run(publish(settings, records))
        start_ms = (int(time.time() * 1000) - DAY_MS) // MINUTE_MS * MINUTE_MS
        self.traffic = Traffic(bootstrap_servers, N_PARTITIONS, start_ms)
        self._environment = {
            "DRIFTGAUGE_BOOTSTRAP_SERVERS": bootstrap_servers,
            "DRIFTGAUGE_PARTITIONS": str(N_PARTITIONS),
            "DRIFTGAUGE_CLICKHOUSE_URL": store_url,
            "DRIFTGAUGE_LOG_LEVEL": "WARNING",
        }
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        background = self._stack.enter_context(Background())
        self._slack = background.enter(slack_server())
        self._environment["DRIFTGAUGE_SLACK_WEBHOOK_URL"] = self._slack.url
        port, self.panel_url = free_page("")
        self._environment["DRIFTGAUGE_PANEL_PORT"] = str(port)
        self._detect = self._role("detect", ROWS_TOTAL)
        self._role("notify", "never (0)")
        self._role("panel", "never (0)")
        eventually(lambda: _answers(f"{self.panel_url}/healthz"), READY_S, "the panel answers")
        self.heard = self._stack.enter_context(Heard(self._bootstrap_servers, N_PARTITIONS, self.panel_url))
        eventually(self.heard.connected.is_set, READY_S, "the page's stream is open")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def _role(self, role: str, pattern: str) -> Watched:
        port, page = free_page("/metrics")
        command = [sys.executable, "-m", "streams.roles", role]
        environment = {**self._environment, "DRIFTGAUGE_METRICS_PORT": str(port)}
        log = self._folder / f"{role}.log"
        return self._stack.enter_context(Watched(command, environment, log, page, pattern))

    def capacity(self, n_rows: int) -> float:
        """Return how many rows a second the worker takes of a backlog of these messages."""
        self.traffic.burst(20 * 1200, MINUTE_MS)  # warm
        self._detect.until(self.traffic.n_rows, DRAIN_S)
        self.traffic.burst(n_rows, 10 * MINUTE_MS)
        return self._detect.until(self.traffic.n_rows, DRAIN_S).rows_per_s

    def latencies(self, rows_per_s: float, seconds: float, say: Callable[[str], None]) -> Latencies:
        """Send at a pace and return what was heard of the windows that ended meanwhile."""
        begun = time.monotonic()
        self.traffic.pace(rows_per_s, seconds)
        over = time.monotonic()
        say(f"{rows_per_s:,.0f} rows/s for {seconds:.0f} s sent")
        window_s = MINUTE_MS / 1000 / SPEED

        def inside(end_ms: int) -> bool:
            """Windows that began and ended at this pace."""
            return begun + window_s < self.traffic.moment(end_ms) < over - MARGIN_S

        def known(heard: dict[tuple[str, int], float]) -> dict[tuple[str, int], float]:
            return {key: moment for key, moment in heard.items() if inside(key[1])}

        first = int((begun - self.traffic.moment(0)) * 1000 * SPEED) // MINUTE_MS * MINUTE_MS
        ends = [end for end in range(first, first + int((seconds + 120) * SPEED * 1000), MINUTE_MS) if inside(end)]
        n_wanted = len(ends) * len(MODELS)
        try:
            eventually(lambda: len(known(self.heard.results)) >= n_wanted, SETTLE_S)
        except AssertionError:
            n_found = len(known(self.heard.results))
            late = f"{n_found} of {n_wanted} windows were judged {SETTLE_S:.0f} s after the last row"
            raise BenchmarkError(late) from None
        eventually(lambda: len(known(self.heard.pages)) >= n_wanted, SETTLE_S, "the page heard of every window")
        alerts = {key for key, alert in self.heard.alerts.items() if inside(alert.time)}
        if not alerts:
            raise BenchmarkError("no window that ended at this pace opened or closed an alert: nothing reached Slack")
        eventually(lambda: alerts <= self._messages().keys(), SETTLE_S, "Slack got every alert")
        messages = self._messages()
        return Latencies(
            [moment - self.traffic.moment(end) for (_, end), moment in known(self.heard.results).items()],
            [moment - self.traffic.moment(end) for (_, end), moment in known(self.heard.pages).items()],
            [messages[key] - self.traffic.moment(self.heard.alerts[key].time) for key in alerts],
        )

    def _messages(self) -> dict[tuple[str, int], float]:
        """Return when Slack was asked to take each state; the server's clock is the monotonic one."""
        found: dict[tuple[str, int], float] = {}
        for body, moment in zip(list(self._slack.bodies), list(self._slack.times), strict=False):
            for identity in identities(body):
                found.setdefault(identity, moment)
        return found


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False
