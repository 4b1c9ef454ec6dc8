"""The roles as processes: killed, stopped, added, removed, and started again as a supervisor would."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from streams.engine.app import EXIT_CRASHED
from tests.kafka.server import free_port

RESTART_S = 0.5
ENDED_WELL = (0, -signal.SIGKILL, -signal.SIGTERM)
REASON = re.compile(r"leaving: (.*)")


class Worker:
    """One process of a role; `kept` says that it is started again when it ends."""

    def __init__(self, role: str, log: Path, environment: Mapping[str, str], program: list[str]) -> None:
        self.role, self.kept = role, True
        self.log = log
        self._environment, self._program = environment, program
        self.asleep_until = 0.0
        self.again_at = 0.0
        self.start()

    def start(self) -> None:
        """Start the process."""
        environment = {**os.environ, **self._environment, "DRIFTGAUGE_METRICS_PORT": str(free_port())}
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(
                [*self._program, self.role], env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=out
            )
        self.again_at = 0.0

    @property
    def runs(self) -> bool:
        """Whether the process has not ended and is not stopped."""
        return self.process.poll() is None and not self.asleep_until

    def wake(self) -> None:
        """Let a stopped process go on."""
        if self.asleep_until:
            self.asleep_until = 0.0
            if self.process.poll() is None:
                self.process.send_signal(signal.SIGCONT)


class Fleet:
    """All processes of all roles.

    Parameters
    ----------
    program
        The command before the role's name.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str], program: list[str] | None = None) -> None:
        self._folder, self._environment = folder, environment
        self._program = program or [sys.executable, "-m", "streams.roles"]
        self.workers: list[Worker] = []
        self.crashes: list[str] = []
        self.n_killed: dict[str, int] = {}
        self._n_started = 0

    def add(self, role: str) -> None:
        """Start one more worker of a role."""
        self._n_started += 1
        log = self._folder / f"{role}-{self._n_started}.log"
        self.workers.append(Worker(role, log, self._environment, self._program))

    def running(self, role: str) -> list[Worker]:
        """Return the workers of a role that run and are to go on."""
        return [worker for worker in self.workers if worker.role == role and worker.kept and worker.runs]

    def kept(self, role: str) -> int:
        """Return how many workers of a role there are to be."""
        return sum(worker.role == role and worker.kept for worker in self.workers)

    def signal(self, role: str, index: int, number: signal.Signals, *, again: bool = True) -> bool:
        """Send a signal to one of the running workers of a role; tell whether there was one."""
        running = self.running(role)
        if not running:
            return False
        worker = running[index % len(running)]
        worker.kept = again
        worker.process.send_signal(number)
        self.n_killed[role] = self.n_killed.get(role, 0) + 1
        return True

    def stop(self, role: str, index: int, seconds: float) -> bool:
        """Let one worker of a role sleep; tell whether there was one."""
        running = self.running(role)
        if not running:
            return False
        worker = running[index % len(running)]
        worker.process.send_signal(signal.SIGSTOP)
        worker.asleep_until = time.monotonic() + seconds
        self.n_killed[role] = self.n_killed.get(role, 0) + 1
        return True

    def watch(self) -> None:
        """Wake who has slept enough, start again who has ended."""
        now = time.monotonic()
        for worker in list(self.workers):
            if worker.asleep_until and now >= worker.asleep_until:
                worker.wake()
            code = worker.process.poll()
            if code is None:
                continue
            if not worker.again_at:
                self._note(worker, code)
                worker.again_at = now + RESTART_S
            if not worker.kept:
                self.workers.remove(worker)
            elif now >= worker.again_at:
                worker.start()

    def _note(self, worker: Worker, code: int) -> None:
        """Remember an end nobody asked for, with its reason."""
        worker.asleep_until = 0.0
        if code in ENDED_WELL:
            return
        self.n_killed[worker.role] = self.n_killed.get(worker.role, 0) + 1
        text = worker.log.read_text(errors="replace")[-6_000:]
        reasons = REASON.findall(text)
        last = text.strip().splitlines()[-1:] or [""]
        why = reasons[-1] if reasons and code == EXIT_CRASHED else last[0]
        self.crashes.append(f"{worker.role} ended with {code}: {why[:300]}")

    def heal(self) -> None:
        """Wake everybody."""
        for worker in self.workers:
            worker.wake()

    def close(self) -> None:
        """End every process."""
        for worker in self.workers:
            worker.wake()
            if worker.process.poll() is None:
                worker.process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + 15.0
        for worker in self.workers:
            try:
                worker.process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                worker.process.kill()
                worker.process.wait()
