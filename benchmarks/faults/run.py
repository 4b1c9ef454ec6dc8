"""One seed: the line with everything around it, its faults, then the quiet in which it is compared."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.background import Background
from benchmarks.faults import reference
from benchmarks.faults.compare import Found, Topics, compare, compare_messages, compare_store
from benchmarks.faults.fleet import Fleet
from benchmarks.faults.outside import Outside
from benchmarks.faults.progress import Positions, Progress, takeovers
from benchmarks.faults.schedule import KNOWN, LEARNED, MAX_DETECT, SESSION_S, Fault, Schedule, words
from benchmarks.faults.traffic import N_PARTITIONS, SLOT_S, Traffic
from schemas import evidence, monitors, topics
from schemas.codec import partition_of
from schemas.monitors import Monitor
from streams.catalogue import monitor_record, records_of
from streams.engine import preflight
from streams.engine.control import publish
from streams.settings import Settings
from tests.brokers import Kafka, eventually
from tests.engine import traffic as engine_traffic
from tests.kafka.server import KafkaUnavailable

BEGIN_S = 240.0
SLOW_START = 4
SETTLE_S = 300.0
NEVER_S = 86_400.0
EVENTS = [topics.EVENTS.name]
INPUTS = {
    "detect": [topic.name for topic in topics.INPUTS.values()],
    "store": [topics.RESULTS.name, topics.ALERTS.name, topics.EVENTS.name],
    "notify": [topics.ALERTS.name],
    "forward": [topics.SPANS.name],
}
MONITORS = (
    Monitor(model=LEARNED, monitor_version=1, learn_rows=2_000, idle_s=3.0),
    *(Monitor(model=model, monitor_version=1, window="1m", idle_s=NEVER_S) for model in KNOWN),
)
APPLIED: tuple[dict[str, Any], ...] = ({"sensitivity": "high"}, {"budget": 0.1}, {"owner": "team-b"})

Say = Callable[[str], None]


class Seed:
    """One run of a schedule."""

    def __init__(
        self, kafka: Kafka, store_url: str, folder: Path, schedule: Schedule, say: Say, program: list[str] | None = None
    ) -> None:
        self._kafka, self._store_url, self._folder = kafka, store_url, folder
        self._schedule, self._say, self._program = schedule, say, program
        self._settings = Settings(
            bootstrap_servers=kafka.bootstrap_servers, partitions=N_PARTITIONS, session_timeout_s=SESSION_S
        )
        self._database = f"faults_{schedule.seed}_{int(time.time())}"
        self._kills: list[float] = []
        self._disturbances: list[float] = []
        self._down: list[tuple[float, float]] = []
        self._mending: threading.Thread | None = None
        self._n_commands = len(MONITORS)
        self._missed: list[str] = []

    def run(self) -> Found:
        """Prepare, disturb, wait for quiet, compare."""
        self._prepare()
        self._traffic = Traffic(self._kafka.bootstrap_servers, self._schedule.seed)
        self._progress = Progress(self._kafka.bootstrap_servers, self._settings.group)
        with Background() as background:
            self._outside = Outside(background, self._store_url)
            self._fleet = Fleet(self._folder, self._environment(), self._program)
            try:
                for role in ("detect",) * self._schedule.detect + ("store", "notify", "forward"):
                    self._fleet.add(role)
                self._wait_for_work()
                self._progress.start()
                self._disturb()
                self._heal()
                unread = self._quiet()
                self._progress.stop()
                return self._compared(unread)
            finally:
                self._fleet.close()
                self._progress.close()

    def _environment(self) -> dict[str, str]:
        return {
            "DRIFTGAUGE_BOOTSTRAP_SERVERS": self._kafka.bootstrap_servers,
            "DRIFTGAUGE_PARTITIONS": str(N_PARTITIONS),
            "DRIFTGAUGE_SESSION_TIMEOUT_S": str(SESSION_S),
            "DRIFTGAUGE_CHECKPOINT_S": "1",
            "DRIFTGAUGE_FLUSH_S": "0.3",
            "DRIFTGAUGE_CLICKHOUSE_URL": self._outside.store.url,
            "DRIFTGAUGE_CLICKHOUSE_DATABASE": self._database,
            "DRIFTGAUGE_SLACK_WEBHOOK_URL": self._outside.slack.url,
            "DRIFTGAUGE_OTLP_ENDPOINT": self._outside.otlp.url,
        }

    def _prepare(self) -> None:
        preflight.create(self._settings)
        wanted = preflight.planned(self._settings)
        eventually(lambda: wanted.items() <= preflight.existing(self._settings).items(), why="topics are there")
        records = [monitor_record(monitor) for monitor in MONITORS]
        for model in KNOWN:
            first, second = engine_traffic.baseline(model), engine_traffic.baseline(model, seed=2)
            second = msgspec.structs.replace(second, baseline_id=f"{model}@2", number=2)
            records += [*records_of(first, 0), *records_of(second, None)]
        asyncio.run(publish(self._settings, records))

    def _wait_for_work(self) -> None:
        """Wait until `detect` holds all partitions, then send slowly until windows are judged.

        A run that begins half-started measures its start; and a judge that hears of a source only when others
        have gone on for long has let its detectors take their blocks in another order than a replay does.
        """
        deadline = time.monotonic() + BEGIN_S
        held: Positions = {}
        while not self._progress.holds_any(topics.RESULTS.name):
            held = held if len(held) == N_PARTITIONS else self._progress.committed("detect", EVENTS, N_PARTITIONS)
            if len(held) == N_PARTITIONS:
                self._traffic.send_slot()
            self._traffic.poll()
            self._fleet.watch()
            if time.monotonic() > deadline:
                raise RuntimeError(f"detect did not begin within {BEGIN_S:g} s; its logs stand in {self._folder}")
            time.sleep(SLOW_START * SLOT_S)

    def _disturb(self) -> None:
        begun = time.monotonic()
        due = list(self._schedule.faults)
        next_slot, over = begun, begun + 60.0 * self._schedule.minutes
        while (now := time.monotonic()) < over:
            while due and now - begun >= due[0].at_s:
                fault = due.pop(0)
                done = self._do(fault)
                self._say(words(fault) + ("" if done else "  (nobody there)"))
            if now >= next_slot:
                self._traffic.send_slot()
                next_slot += SLOT_S
            self._traffic.poll()
            self._fleet.watch()
            time.sleep(0.02)

    def _do(self, fault: Fault) -> bool:
        now = time.monotonic()
        done = True
        if fault.kind == "kill":
            done = self._fleet.signal(fault.role, fault.index, signal.SIGKILL)
            self._note(fault, now, self._kills, done)
        elif fault.kind == "term":
            done = self._fleet.signal(fault.role, fault.index, signal.SIGTERM)
            self._note(fault, now, self._disturbances, done)
        elif fault.kind == "stop":
            others = len(self._fleet.running(fault.role)) > 1
            done = self._fleet.stop(fault.role, fault.index, fault.s)
            self._note(fault, now, self._kills if others else self._disturbances, done)
            self._note(fault, now + fault.s, self._disturbances, done)
        elif fault.kind == "add":
            done = self._fleet.kept("detect") < MAX_DETECT
            if done:
                self._fleet.add("detect")
                self._disturbances.append(now)
        elif fault.kind == "remove":
            done = self._fleet.kept("detect") > 1 and self._fleet.signal(
                "detect", fault.index, signal.SIGTERM, again=False
            )
            self._note(fault, now, self._disturbances, done)
        elif fault.kind == "broker":
            done = self._mending is None or not self._mending.is_alive()
            if done:
                self._kafka.kill()
                self._mending = threading.Thread(target=partial(self._mend, now, fault.s))
                self._mending.start()
        elif fault.kind in ("clickhouse", "slack", "otlp"):
            self._outside.plan(fault.kind, fault.plan)
        elif fault.kind in ("apply", "promote"):
            self._command(fault)
        else:
            self._traffic.disturb(fault)
        return done

    def _note(self, fault: Fault, moment: float, where: list[float], done: bool) -> None:
        if done and fault.role == "detect":
            where.append(moment)
            self._disturbances.append(moment)

    def _mend(self, since: float, seconds: float) -> None:
        time.sleep(seconds)
        try:
            self._kafka.restart()
        except KafkaUnavailable as error:
            self._missed.append(f"the broker did not come back: {error}")
        self._down.append((since, time.monotonic()))

    def _command(self, fault: Fault) -> None:
        if fault.kind == "apply":
            self._n_commands += 1
            monitor = Monitor(model=fault.model, window="1m", idle_s=NEVER_S, **APPLIED[fault.n % len(APPLIED)])
            message: Any = evidence.Apply(fault.model, monitors.encode(monitor))
        else:
            message = evidence.Promote(fault.model, f"{fault.model}@2")
        self._traffic.command(partition_of(fault.model, N_PARTITIONS), fault.model, evidence.encode(message))

    def _heal(self) -> None:
        self._outside.heal()
        self._fleet.heal()
        if self._mending is not None:
            self._mending.join()
        self._traffic.close_windows()
        if left := self._traffic.flush(60.0):
            self._missed.append(f"{left} messages of the traffic were not delivered")

    def _quiet(self) -> dict[tuple[str, str, int], int]:
        """Wait until every role has committed the end of its inputs twice in a row; return what is left."""
        deadline, calm = time.monotonic() + SETTLE_S, 0
        self._say("healed; reading to the end")
        left: dict[tuple[str, str, int], int] = {}
        while calm < 3 and time.monotonic() < deadline:
            self._fleet.watch()
            left = self._progress.left(INPUTS, N_PARTITIONS)
            calm = 0 if left else calm + 1
            time.sleep(0.7)
        return left

    def _compared(self, unread: dict[tuple[str, str, int], int]) -> Found:
        out = self._folder / "reference.json"
        command = [sys.executable, "-m", "benchmarks.faults.reference", "--out", str(out)]
        command += ["--bootstrap-servers", self._kafka.bootstrap_servers, "--partitions", str(N_PARTITIONS)]
        subprocess.run(command, check=True, timeout=300)
        said, truth = Topics(self._kafka.bootstrap_servers), self._traffic.truth
        (self._folder / "results.json").write_bytes(msgspec.json.encode(said.results))
        (self._folder / "evidence.txt").write_text("\n".join(said.evidence()), encoding="utf-8")
        found = compare(said, reference.read(out), truth, self._n_commands)
        compare_store(found, said, truth, self._store_url, self._database)
        allowed = self._outside.n_uncertain + self._fleet.n_killed.get("notify", 0) + len(self._down)
        compare_messages(found, said, self._outside.slack_messages(), allowed, truth.spans, self._outside.spans())
        found.add("unread", [f"{key}: {n} records" for key, n in unread.items()])
        found.add("not_sent", self._missed)
        found.figures["crashes"] = len(self._fleet.crashes)
        found.details += [f"crash: {text}" for text in self._fleet.crashes]
        found.load_average = round(os.getloadavg()[1], 1)
        found.takeovers = takeovers(self._progress.advances, self._kills, self._disturbances, self._down)
        return found
