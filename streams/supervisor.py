"""Workers as child processes, started again when they end and restarted one after the other on demand."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import NamedTuple

from streams.roles import port_of
from streams.settings import Settings, SettingsError

log = logging.getLogger(__name__)

STOP_TIMEOUT_S = 10.0
READY_TIMEOUT_S = 60.0
MAX_PAUSE_S = 30.0
STABLE_S = 30.0
PORT_STEP = 10
REFUSED = 2


class RoleRefused(SettingsError):
    """A worker cannot run with these settings; starting it again would not help."""


class Worker(NamedTuple):
    """One process of a role, the address of its pages, and its place among the workers of its role."""

    role: str
    host: str
    port: int
    number: int = 1
    group_instance_id: str | None = None

    @property
    def name(self) -> str:
        """The role, with a number from the second worker on."""
        return self.role if self.number == 1 else f"{self.role}-{self.number}"

    @property
    def environment(self) -> dict[str, str]:
        """The worker's own variables: a port, `PORT_STEP` from the next, and as a static member its own name."""
        own = {"DRIFTGAUGE_PANEL_PORT" if self.role == "panel" else "DRIFTGAUGE_METRICS_PORT": str(self.port)}
        if self.group_instance_id is not None:
            own["DRIFTGAUGE_GROUP_INSTANCE_ID"] = f"{self.group_instance_id}-{self.number}"
        return own

    def ready(self) -> bool:
        """Tell whether the worker has partitions and answers."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        try:
            with urllib.request.urlopen(f"http://{host}:{self.port}/readyz", timeout=1) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, TimeoutError, OSError):
            return False


def workers_of(roles: Iterable[str], settings: Settings, n_workers: Mapping[str, int]) -> list[Worker]:
    """Return the workers of some roles; `n_workers` says of which role there are several.

    >>> [f"{w.name}:{w.port}" for w in workers_of(["detect"], Settings(), {"detect": 2})]
    ['detect:8601', 'detect-2:8611']
    """
    static = settings.group_instance_id
    return [
        Worker(role, settings.bind, port_of(role, settings) + PORT_STEP * (number - 1), number, static)
        for role in roles
        for number in range(1, n_workers.get(role, 1) + 1)
    ]


class Child:
    """A worker's process and how often it has ended."""

    def __init__(self, worker: Worker, environment: Mapping[str, str], log_path: Path | None) -> None:
        self.worker = worker
        self._environment, self._log_path = {**environment, **worker.environment}, log_path
        self._n_ends = 0
        self._started = 0.0
        self._again_at = 0.0
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the process; the pipe to it breaks when we die, and then it ends."""
        self._started = time.monotonic()
        output = open(self._log_path, "ab") if self._log_path else None  # noqa: SIM115  # the child keeps it
        command = [sys.executable, "-m", "streams.roles", self.worker.role, "--supervised"]
        environment = {**os.environ, **self._environment}
        self.process = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=output, stderr=output)
        if output:
            output.close()

    def watch(self) -> None:
        """Start the process again when it has ended, later each time it ends soon.

        Raises
        ------
        RoleRefused
            When it says that it cannot run with these settings.
        """
        now = time.monotonic()
        if self.process is None:
            if now >= self._again_at:
                self.start()
        elif (code := self.process.poll()) is not None:
            self._forget()
            if code == REFUSED:
                where = f"; see {self._log_path}" if self._log_path else ", see above"
                raise RoleRefused(f"{self.worker.name} cannot run with these settings{where}")
            self._n_ends = self._n_ends + 1 if now - self._started < STABLE_S else 1
            pause = min(MAX_PAUSE_S, 0.5 * 2 ** (self._n_ends - 1))
            log.warning("%s ended with code %d; starting it again in %.1f s", self.worker.name, code, pause)
            self._again_at = now + pause

    def stop(self) -> None:
        """Ask the process to end."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)

    def join(self, deadline: float) -> None:
        """Wait for the end, then make it end."""
        if self.process is None:
            return
        try:
            self.process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            log.warning("%s did not end within %.0f s and is killed", self.worker.name, STOP_TIMEOUT_S)
            self.process.kill()
            self.process.wait()
        self._forget()

    def _forget(self) -> None:
        if self.process is not None and self.process.stdin is not None:
            self.process.stdin.close()
        self.process = None


class Supervisor:
    """Runs workers as child processes.

    Parameters
    ----------
    environment
        Added to the environment of every child.
    logs
        Folder for one log file a worker; None leaves their output where ours goes.
    """

    def __init__(self, workers: Sequence[Worker], environment: Mapping[str, str], logs: Path | None = None) -> None:
        if logs:
            logs.mkdir(parents=True, exist_ok=True)
        self.children = [Child(w, environment, logs / f"{w.name}.log" if logs else None) for w in workers]
        self._stopping, self._restarting = threading.Event(), threading.Event()

    def start(self) -> None:
        """Start every worker."""
        for child in self.children:
            child.start()

    def watch(self) -> None:
        """Start again what has ended; call now and then."""
        if not self._stopping.is_set():
            for child in self.children:
                child.watch()

    def waiting(self) -> list[str]:
        """Return the workers that are not ready yet."""
        return [child.worker.name for child in self.children if not child.worker.ready()]

    def restart(self) -> None:
        """Restart the workers one after the other, each once the one before is ready again.

        The others take over meanwhile, so verdicts go on. A worker that does not become ready ends the restart.
        """
        for child in self.children:
            child.stop()
            child.join(time.monotonic() + STOP_TIMEOUT_S)
            if self._stopping.is_set():
                return
            child.start()
            deadline = time.monotonic() + READY_TIMEOUT_S
            while not child.worker.ready():
                if self._stopping.wait(0.2):
                    return
                if time.monotonic() > deadline:
                    log.error("%s is not ready after its restart; the others are left running", child.worker.name)
                    return
                self.watch()
            log.info("%s was restarted", child.worker.name)

    def run(self) -> None:
        """Run until SIGTERM or SIGINT says stop; SIGHUP restarts the workers one after the other.

        Raises
        ------
        RoleRefused
            When a worker cannot run with these settings; the others are stopped first.
        """

        def told(number: int, _frame: FrameType | None) -> None:
            (self._restarting if number == signal.SIGHUP else self._stopping).set()

        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, told)
        try:
            self.start()
            while not self._stopping.wait(0.2):
                self.watch()
                if self._restarting.is_set():
                    self._restarting.clear()
                    self.restart()
        finally:
            self.stop()

    def stop(self) -> None:
        """Stop every worker; those that do not end in time are killed."""
        self._stopping.set()
        for child in self.children:
            child.stop()
        deadline = time.monotonic() + STOP_TIMEOUT_S
        for child in self.children:
            child.join(deadline)
