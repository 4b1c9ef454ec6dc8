"""Several workers of one role, started again when they leave."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable

from streams.engine.app import EXIT_CRASHED
from tests.brokers import eventually
from tests.engine.running import Cluster


class Workers:
    """Workers of one role; one that leaves with 70 is started again, as the supervisor does."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self.running: list[subprocess.Popen[bytes]] = []
        self.codes: list[int] = []

    def add(self) -> subprocess.Popen[bytes]:
        """Start one more."""
        self.running.append(self._cluster.start("detect"))
        return self.running[-1]

    def watch(self) -> None:
        """Start again what has left."""
        for worker in [worker for worker in self.running if worker.poll() is not None]:
            self.running.remove(worker)
            self.codes.append(worker.returncode)
            assert worker.returncode == EXIT_CRASHED, self._cluster.log("detect")
            self.add()

    def end(self, worker: subprocess.Popen[bytes], number: signal.Signals) -> int:
        """End one with a signal and return its code."""
        self.watch()
        if worker in self.running:
            self.running.remove(worker)
        worker.send_signal(number)
        return worker.wait(30)

    def until(self, condition: Callable[[], object], timeout_s: float = 180.0) -> None:
        """Keep the workers running until something is true."""

        def met() -> bool:
            self.watch()
            return bool(condition())

        try:
            eventually(met, timeout_s)
        except AssertionError as late:
            raise AssertionError(f"{late}; workers left with {self.codes}\n{self._cluster.log('detect')}") from None

    def stop(self) -> None:
        """Stop all, in order; the embedded broker refuses commits while the others still say goodbye."""
        allowed = {0} if self._cluster.broker.name == "kafka" else {0, EXIT_CRASHED}
        for worker in self.running:
            worker.send_signal(signal.SIGTERM)
            assert worker.wait(30) in allowed, self._cluster.log("detect")
        self.running.clear()
