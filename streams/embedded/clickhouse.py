"""The embedded store: ClickHouse's HTTP interface over chdb in a process of its own, for the demo, laptops and tests.

By hand: ``python -m streams.embedded.clickhouse --path .demo/store --port 8123``. It prints one line of JSON
with its address when it answers, and ends with exit code 0 at SIGTERM. With ``--control`` it also ends when
standard input ends, so with its parent; that is how `EmbeddedClickHouse` starts it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from streams.embedded.children import end
from streams.embedded.engine import Engine, StoreLocked
from streams.embedded.http import MAX_BODY_BYTES, Front

PASSWORD = "DRIFTGAUGE_CLICKHOUSE_PASSWORD"


class EmbeddedStoreError(RuntimeError):
    """The embedded store did not start; the message says why."""


class EmbeddedClickHouse:
    """The embedded store in a child process that ends with this one.

    Parameters
    ----------
    path
        Where the data lives; it is there again after a restart.
    port
        0 takes a free one.
    start_timeout_s
        How long to wait for it, in seconds.

    Raises
    ------
    EmbeddedStoreError
        When it does not start, with the reason.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as path, EmbeddedClickHouse(path) as store:
    ...     store.url.rpartition(":")[0]
    'http://127.0.0.1'
    """

    def __init__(self, path: Path | str, *, port: int = 0, start_timeout_s: float = 60.0) -> None:
        command = [sys.executable, "-m", __name__, "--path", str(path), "--port", str(port), "--control"]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.pid = self._process.pid
        try:
            self.url: str = self._ready(start_timeout_s)
        except BaseException:
            self.close()
            raise

    def _ready(self, timeout_s: float) -> str:
        assert self._process.stdout is not None
        deadline = time.monotonic() + timeout_s
        while (left_s := deadline - time.monotonic()) > 0:
            readable, _, _ = select.select([self._process.stdout], [], [], left_s)
            if readable:
                line = self._process.stdout.readline()
                answer = (
                    json.loads(line)
                    if line
                    else {"error": f"exit code {self._process.wait()}; standard error says why"}
                )
                if "url" in answer:
                    return str(answer["url"])
                raise EmbeddedStoreError(f"the embedded store did not start: {answer['error']}")
        raise EmbeddedStoreError(f"the embedded store was not ready within {timeout_s:g} s")

    def close(self, timeout_s: float = 20.0) -> None:
        """End the process; closing twice is fine."""
        end(self._process, timeout_s)

    def __enter__(self) -> EmbeddedClickHouse:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def serve(
    path: Path, port: int, *, password: str = "", control: bool = False, max_body_bytes: int = MAX_BODY_BYTES
) -> None:
    """Serve a directory on 127.0.0.1 until SIGTERM, or with `control` until standard input ends.

    Raises
    ------
    StoreLocked
        When another process serves the directory.
    ModuleNotFoundError
        Without chdb.
    OSError
        When the port is taken.
    """
    engine = Engine(path)
    try:
        asyncio.run(_serve(Front(engine, password=password, max_body_bytes=max_body_bytes), port, control))
    finally:
        engine.close()


async def _serve(front: Front, port: int, control: bool) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    # Ctrl-C reaches a whole terminal group: under a parent the store has to outlive the roles that still write.
    loop.add_signal_handler(signal.SIGINT, (lambda: None) if control else stop.set)
    if control:

        def parent_ended() -> None:
            if not os.read(sys.stdin.fileno(), 4096):
                loop.remove_reader(sys.stdin.fileno())
                stop.set()

        loop.add_reader(sys.stdin.fileno(), parent_ended)
    async with front.listening(port) as url:
        print(json.dumps({"url": url}), flush=True)
        await stop.wait()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the store; exit code 2 for a bad argument, 3 when the directory, the port or chdb is not to be had."""
    parser = argparse.ArgumentParser(prog="python -m streams.embedded.clickhouse", description=__doc__)
    parser.add_argument("--path", type=Path, required=True, metavar="DIR")
    parser.add_argument("--port", type=int, default=0, metavar="P", help="0 (default) takes a free one")
    parser.add_argument("--max-body-bytes", type=int, default=MAX_BODY_BYTES, metavar="N")
    parser.add_argument("--control", action="store_true", help="end when standard input ends")
    options = parser.parse_args(arguments)
    try:
        serve(
            options.path,
            options.port,
            password=os.environ.get(PASSWORD, ""),
            control=options.control,
            max_body_bytes=options.max_body_bytes,
        )
    except (StoreLocked, ModuleNotFoundError, OSError) as refused:
        if options.control:
            print(json.dumps({"error": str(refused)}), flush=True)
        else:
            print(refused, file=sys.stderr)
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
