"""One child process per role, started again when it ends: for laptops and the demo."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType

log = logging.getLogger(__name__)

STOP_TIMEOUT_S = 10.0
MAX_PAUSE_S = 30.0
STABLE_S = 30.0


class Child:
    """A role's process and how often it has ended."""

    def __init__(self, role: str, environment: Mapping[str, str], log_path: Path | None) -> None:
        self.role = role
        self._environment, self._log_path = dict(environment), log_path
        self._n_ends = 0
        self._started = 0.0
        self._again_at = 0.0
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the process."""
        self._started = time.monotonic()
        output = open(self._log_path, "ab") if self._log_path else None  # noqa: SIM115  # the child keeps it
        command = [sys.executable, "-m", "streams.roles", self.role]
        self.process = subprocess.Popen(command, env={**os.environ, **self._environment}, stdout=output, stderr=output)
        if output:
            output.close()

    def watch(self) -> None:
        """Start the process again when it has ended, later each time it ends soon."""
        now = time.monotonic()
        if self.process is None:
            if now >= self._again_at:
                self.start()
        elif (code := self.process.poll()) is not None:
            self._n_ends = self._n_ends + 1 if now - self._started < STABLE_S else 1
            pause = min(MAX_PAUSE_S, 0.5 * 2 ** (self._n_ends - 1))
            log.warning("%s ended with code %d; starting it again in %.1f s", self.role, code, pause)
            self.process, self._again_at = None, now + pause

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
            log.warning("%s did not end within %.0f s and is killed", self.role, STOP_TIMEOUT_S)
            self.process.kill()
            self.process.wait()


class Supervisor:
    """Runs roles as child processes.

    Parameters
    ----------
    environment
        Added to the environment of every child.
    own
        Added to the environment of one role's child.
    logs
        Folder for one log file a role; None leaves their output where ours goes.
    """

    def __init__(
        self,
        roles: Sequence[str],
        environment: Mapping[str, str],
        logs: Path | None = None,
        own: Mapping[str, Mapping[str, str]] | None = None,
    ) -> None:
        if logs:
            logs.mkdir(parents=True, exist_ok=True)
        self.children = [
            Child(role, {**environment, **(own or {}).get(role, {})}, logs / f"{role}.log" if logs else None)
            for role in roles
        ]
        self._stopping = False

    def start(self) -> None:
        """Start every role."""
        for child in self.children:
            child.start()

    def watch(self) -> None:
        """Start again what has ended; call now and then."""
        if not self._stopping:
            for child in self.children:
                child.watch()

    def run(self) -> None:
        """Run until a signal says stop."""

        def stop(_number: int, _frame: FrameType | None) -> None:
            self._stopping = True

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, stop)
        self.start()
        while not self._stopping:
            self.watch()
            time.sleep(0.2)
        self.stop()

    def stop(self) -> None:
        """Stop every role; those that do not end in time are killed."""
        self._stopping = True
        for child in self.children:
            child.stop()
        deadline = time.monotonic() + STOP_TIMEOUT_S
        for child in self.children:
            child.join(deadline)
