"""A process under measurement: its rows by asking its web page, its CPU and memory by asking Linux."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from tests.kafka.server import free_port

EVERY_S = 0.25
FAIR_SHARE = 0.5
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class BenchmarkError(Exception):
    """The measurement cannot be trusted or could not be made; the text says why."""


class Sample(NamedTuple):
    """Rows consumed and CPU seconds used up to a moment (monotonic seconds)."""

    moment: float
    rows: int
    cpu_s: float


class Speed(NamedTuple):
    """Between two moments of consuming, at least half of the rows apart."""

    rows_per_s: float
    cpu_s_per_million_rows: float
    peak_rss_mib: float
    seconds: float


class Watched:
    """A child process that serves how many rows it has consumed.

    Parameters
    ----------
    page, pattern
        Where it tells its rows, and the expression whose group is the number; matches are summed, no match is none.
    """

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str], log: Path, page: str, pattern: str
    ) -> None:
        self._page, self._pattern, self._log = page, re.compile(pattern), log
        with log.open("ab") as out:
            self._process = subprocess.Popen(
                command, env=os.environ | dict(environment), stdin=subprocess.DEVNULL, stdout=out, stderr=out
            )
        self.pid = self._process.pid

    def __enter__(self) -> Self:
        """Return the process."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the process."""
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(20)

    def rows(self) -> int:
        """Ask the process how many rows it has consumed."""
        return int(sum(map(float, self._pattern.findall(self.page()))))

    def sample(self) -> Sample:
        """Return rows and CPU at this moment."""
        rows = self.rows()
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return Sample(time.monotonic(), rows, (int(fields[11]) + int(fields[12])) / TICKS_PER_S)

    def peak_rss_mib(self) -> float:
        """Return the most memory the process has had at once."""
        return self._status("VmHWM:")

    def rss_mib(self) -> float:
        """Return the memory the process has now."""
        return self._status("VmRSS:")

    def _status(self, name: str) -> float:
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(status.partition(name)[2].split()[0]) / 1024

    def until(self, n_rows: int, timeout_s: float) -> Speed:
        """Wait until all rows are consumed; return the speed in the middle of it.

        Raises
        ------
        BenchmarkError
            When they are not consumed in time, or more are.
        """
        deadline = time.monotonic() + timeout_s
        samples = [self.sample()]
        while samples[-1].rows < n_rows:
            if time.monotonic() > deadline:
                raise BenchmarkError(f"{samples[-1].rows} of {n_rows} rows in {timeout_s:.0f} s:\n{self._tail()}")
            time.sleep(EVERY_S)
            samples.append(self.sample())
        if samples[-1].rows > n_rows:
            raise BenchmarkError(f"{samples[-1].rows} rows were consumed and {n_rows} sent")
        first, last = _middle(samples)
        rows, seconds = last.rows - first.rows, last.moment - first.moment
        return Speed(rows / seconds, (last.cpu_s - first.cpu_s) / rows * 1e6, self.peak_rss_mib(), seconds)

    def page(self) -> str:
        """Return what the page says now, nothing while it cannot be reached."""
        if self._process.poll() is not None:
            raise BenchmarkError(f"the process has ended with {self._process.returncode}:\n{self._tail()}")
        try:
            with urllib.request.urlopen(self._page, timeout=30) as answer:
                text: str = answer.read().decode()
                return text
        except (urllib.error.URLError, ConnectionError):
            return ""

    def _tail(self) -> str:
        """Return the end of the log."""
        return self._log.read_text(errors="replace")[-2000:]


def _middle(samples: Sequence[Sample]) -> tuple[Sample, Sample]:
    """Return the first and the last sample while rows were consumed; where they leave out too much, all of it."""
    first = next(n for n, sample in enumerate(samples) if sample.rows)
    if samples[-2].rows - samples[first].rows >= FAIR_SHARE * samples[-1].rows:
        return samples[first], samples[-2]
    return samples[max(0, first - 1)], samples[-1]


def free_page(path: str) -> tuple[int, str]:
    """Return a free port and the address of a page on it."""
    port = free_port()
    return port, f"http://127.0.0.1:{port}{path}"
