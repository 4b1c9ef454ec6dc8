"""Forks with a client made, and used, before; nobody closes it."""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading

from driftgauge_client import Client

client = Client(linger_ms=60_000)


def serve(name: str, n_rows: int = 50) -> None:
    for number in range(n_rows):
        client.log("m", {"x": number}, id=f"{name}/{number}")


def task(number: int) -> None:
    client.log("m", {"x": number}, id=f"task/{number}")


def children(n_children: int) -> None:
    """Fork, let each child log and end like a worker, and wait for all."""
    pids = []
    for child in range(n_children):
        pid = os.fork()
        if pid == 0:
            assert client.stats().buffered == 0
            serve(f"child {child}")
            sys.exit(0)
        pids.append(pid)
    for pid in pids:
        _, status = os.waitpid(pid, 0)
        assert status == 0, status


if sys.argv[1] == "fork":
    serve("flushed")
    assert client.flush()
    serve("parent")  # still in memory when the children come
    children(3)
    serve("after")
elif sys.argv[1] == "unused":
    children(2)
elif sys.argv[1] == "busy":
    threads = [threading.Thread(target=serve, args=(f"thread {number}", 2_000)) for number in range(4)]
    for thread in threads:
        thread.start()
    children(5)
    for thread in threads:
        thread.join()
elif sys.argv[1] == "pool":
    serve("parent")
    with multiprocessing.get_context("fork").Pool(3) as pool:
        pool.map(task, range(200), chunksize=5)
        pool.close()
        pool.join()
