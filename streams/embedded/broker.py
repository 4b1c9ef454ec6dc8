"""The embedded broker: a mock Kafka cluster in a process of its own, for the demo, laptops and tests.

By hand: ``python -m streams.embedded.broker --topics drift.events.v1:4,drift.results.v1:1``. It prints one
line of JSON with its address when it accepts connections, and ends with exit code 0 at SIGTERM.
With ``--control`` it also reads commands as lines of JSON from standard input, answers each with one line,
and ends with its parent; that is how `EmbeddedBroker` drives it.
"""

from __future__ import annotations

import argparse
import json
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from types import FrameType, TracebackType
from typing import Any

from streams.embedded.children import end
from streams.embedded.mock import MockCluster, MockClusterError

COMMANDS = frozenset(
    {
        "create_topics",
        "set_down",
        "set_up",
        "set_round_trip",
        "push_errors",
        "clear_errors",
        "set_topic_error",
        "delete_records",
    }
)


class EmbeddedBrokerError(RuntimeError):
    """The embedded broker did not start, ended, or refused a command."""


class EmbeddedBroker:
    """A mock Kafka cluster in a child process that ends with this one.

    Parameters
    ----------
    topics
        Topic name to number of partitions.
    n_brokers
        How many brokers the cluster has.
    start_timeout_s
        How long to wait for its address, in seconds.

    Raises
    ------
    EmbeddedBrokerError
        When it is not ready in time, with what it wrote to standard error.

    Examples
    --------
    >>> with EmbeddedBroker({"drift.events.v1": 4}) as broker:
    ...     broker.bootstrap_servers.rpartition(":")[0]
    '127.0.0.1'
    """

    def __init__(self, topics: Mapping[str, int], *, n_brokers: int = 1, start_timeout_s: float = 20.0) -> None:
        command = [sys.executable, "-m", __name__, "--control", "--brokers", str(n_brokers)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1, start_new_session=True
        )
        self.pid = self._process.pid
        try:
            self.bootstrap_servers: str = self._answer(start_timeout_s)["bootstrap_servers"]
            self.create_topics(topics)
        except BaseException:
            self.close()
            raise

    def create_topics(self, topics: Mapping[str, int]) -> None:
        """Create topics with exactly the given numbers of partitions."""
        self.command("create_topics", topics=dict(topics))

    def command(self, name: str, **arguments: Any) -> None:
        """Run one method of `MockCluster` in the broker's process; `COMMANDS` names them.

        Raises
        ------
        EmbeddedBrokerError
            When the broker refuses it or has ended.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"command": name, "arguments": arguments}) + "\n")
            self._process.stdin.flush()
        except (OSError, ValueError) as gone:
            raise EmbeddedBrokerError(f"the embedded broker has ended (exit code {self._process.poll()})") from gone
        if error := self._answer(30.0).get("error"):
            raise EmbeddedBrokerError(error)

    def close(self, timeout_s: float = 10.0) -> None:
        """End the process; closing twice is fine."""
        end(self._process, timeout_s)

    def _answer(self, timeout_s: float) -> dict[str, Any]:
        assert self._process.stdout is not None
        deadline = time.monotonic() + timeout_s
        readable: Sequence[Any] = ()
        while not readable and (left_s := deadline - time.monotonic()) > 0:
            readable, _, _ = select.select([self._process.stdout], [], [], left_s)
        if not readable:
            raise EmbeddedBrokerError(f"the embedded broker did not answer within {timeout_s:g} s")
        if not (line := self._process.stdout.readline()):
            code = self._process.wait()
            raise EmbeddedBrokerError(f"the embedded broker ended with exit code {code}; standard error says why")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def __enter__(self) -> EmbeddedBroker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def parse_topics(text: str) -> dict[str, int]:
    """Return topic names and partition counts from ``name:partitions,…``.

    >>> parse_topics("drift.events.v1:4,drift.results.v1:1")
    {'drift.events.v1': 4, 'drift.results.v1': 1}
    """
    topics: dict[str, int] = {}
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        name, separator, count = part.rpartition(":")
        if not (separator and name and count.isdecimal() and int(count) >= 1):
            raise argparse.ArgumentTypeError(f"--topics: {part!r} is not name:partitions, as in drift.events.v1:4")
        topics[name] = int(count)
    return topics


def serve(cluster: MockCluster) -> None:
    """Carry out commands from standard input until it ends."""
    for line in sys.stdin:
        answer: dict[str, Any] = {}
        try:
            request = json.loads(line)
            name = request["command"]
            if name not in COMMANDS:
                raise MockClusterError(f"unknown command {name!r}; known: {', '.join(sorted(COMMANDS))}")
            getattr(cluster, name)(**request["arguments"])
        except (MockClusterError, ValueError, KeyError, TypeError) as refused:
            answer["error"] = str(refused)
        print(json.dumps(answer), flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the broker until SIGTERM, or with ``--control`` until standard input ends."""
    parser = argparse.ArgumentParser(prog="python -m streams.embedded.broker", description=__doc__)
    parser.add_argument("--topics", type=parse_topics, default={}, metavar="NAME:PARTITIONS,…")
    parser.add_argument("--brokers", type=int, default=1, metavar="N")
    parser.add_argument("--control", action="store_true", help="read commands from standard input, end with it")
    options = parser.parse_args(arguments)

    def leave(_number: int, _frame: FrameType | None) -> None:
        raise SystemExit(0)

    signal.signal(signal.SIGTERM, leave)
    # Ctrl-C reaches a whole terminal group: under a parent the broker has to outlive the roles that still commit.
    signal.signal(signal.SIGINT, signal.SIG_IGN if options.control else leave)
    try:
        with MockCluster(options.topics, n_brokers=options.brokers) as cluster:
            print(json.dumps({"bootstrap_servers": cluster.bootstrap_servers}), flush=True)
            if options.control:
                serve(cluster)
            else:
                while True:
                    signal.pause()
    except MockClusterError as refused:
        print(refused, file=sys.stderr)
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
