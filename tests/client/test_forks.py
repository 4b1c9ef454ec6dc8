"""Clients made before a fork: plain forks, pools, gunicorn with --preload."""

from __future__ import annotations

import gc
import re
import signal
import subprocess
import sys
import weakref
from urllib.request import urlopen

import pytest
from driftgauge_client.processes import abandon

from tests.client.support import PROGRAMS, Line, finish, start


def names(prefix: str, n_rows: int = 50) -> list[str]:
    return [f"{prefix}/{number}" for number in range(n_rows)]


EXPECTED = {
    "fork": [*names("flushed"), *names("parent"), *names("after"), *(n for c in range(3) for n in names(f"child {c}"))],
    "unused": [name for child in range(2) for name in names(f"child {child}")],
    "busy": [
        *(name for thread in range(4) for name in names(f"thread {thread}", 2_000)),
        *(name for child in range(5) for name in names(f"child {child}")),
    ],
    "pool": [*names("parent"), *names("task", 200)],
}


@pytest.mark.parametrize("way", EXPECTED)
def test_every_row_arrives_once_from_parents_and_children(line: Line, way: str) -> None:
    process = start("forks.py", way, environment=line.environment())
    _, errors = finish(process)
    assert process.returncode == 0, errors
    assert sorted(map(str, line.ids())) == sorted(EXPECTED[way])


def test_an_abandoned_producer_is_never_freed() -> None:
    class Producer:
        pass

    producer = Producer()
    still_there = weakref.ref(producer)
    abandon(producer)
    del producer
    gc.collect()
    assert still_there() is not None


def test_gunicorn_with_preload_delivers_the_rows_of_all_workers(line: Line) -> None:
    command = [sys.executable, "-m", "gunicorn", "--preload", "--workers", "2", "--bind", "127.0.0.1:0"]
    process = subprocess.Popen(
        [*command, "--chdir", str(PROGRAMS), "preloaded:app"],
        env=line.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        address = next(found[0] for text in process.stderr if (found := re.search(r"http://127\.0\.0\.1:\d+", text)))
        paths = [f"/request/{number}" for number in range(40)]
        pids = set()
        for path in paths:
            with urlopen(address + path, timeout=20) as answer:
                pids.add(int(answer.read()))
        process.send_signal(signal.SIGTERM)
        _, errors = finish(process)
    finally:
        process.kill()
    assert process.returncode == 0, errors
    assert process.pid not in pids
    assert sorted(map(str, line.ids())) == sorted(["preload", *paths])
