"""How a child process of ours ends."""

from __future__ import annotations

import subprocess


def end(process: subprocess.Popen[str], timeout_s: float) -> None:
    """Ask a process to end, make it end after `timeout_s` seconds, and close its pipes; twice is fine."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None and not pipe.closed:
            pipe.close()
