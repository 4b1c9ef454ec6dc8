"""The bounded memory between the service's threads and the background thread.

What fills it: rows waiting to be grouped, messages waiting to be sent, messages Kafka's library
holds until the broker has them. When it is full the newest is refused and counted. No method
blocks except `add_message(wait=True)` and `wait_settled`. The lock is reentrant because a signal
handler may log while the interrupted code holds it.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass
from itertools import islice
from queue import SimpleQueue

from driftgauge_client.rows import Kind

ROW_OVERHEAD_BYTES = 48
GROUP_BYTES = 256 * 1024


@dataclass(slots=True)
class Group:
    """Rows of one model and version that will be sent together."""

    kind: Kind
    model: str
    version: str
    opened_s: float
    rows: list[bytes]
    n_bytes: int = 0
    epoch: int = 0


@dataclass(slots=True)
class Message:
    """One encoded Kafka message."""

    kind: Kind
    model: str
    value: bytes
    content_type: str
    n_rows: int
    epoch: int = 0

    @property
    def n_bytes(self) -> int:
        """Return what it takes in memory."""
        return len(self.value) + ROW_OVERHEAD_BYTES


@dataclass(frozen=True, slots=True)
class Stats:
    """What became of the rows so far in this process.

    sent: handed to Kafka's library; delivered: confirmed by the brokers; dropped: lost for want of room,
    at the end or by a failed delivery; invalid: refused for their arguments; unusable_values: values
    sent as null because JSON cannot carry them; buffered: rows still in memory, with their bytes.
    """

    sent: int = 0
    delivered: int = 0
    dropped: int = 0
    invalid: int = 0
    unusable_values: int = 0
    buffered: int = 0
    buffered_bytes: int = 0


class Buffer:
    """Rows and messages in order per model, at most `limit_bytes` of them."""

    def __init__(self, limit_bytes: int, batch_rows: int, linger_s: float) -> None:
        self.wake: SimpleQueue[None] = SimpleQueue()
        self.in_flight_bytes = 0
        self.closed = False
        self._limit_bytes = limit_bytes
        self._batch_rows = batch_rows
        self._linger_s = linger_s
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._open: dict[tuple[Kind, str, str], Group] = {}
        self._ready: deque[Group | Message] = deque()
        self._unsettled: dict[int, int] = {}
        self._epoch = 0
        self._held_bytes = 0
        self._waiting_rows = 0
        self._in_flight_rows = 0
        self._counts = {"sent": 0, "delivered": 0, "dropped": 0, "invalid": 0, "unusable_values": 0}

    def add_row(self, kind: Kind, model: str, version: str, row: bytes) -> bool:
        """Take a row, or count it as dropped."""
        n_bytes = len(row) + ROW_OVERHEAD_BYTES
        with self._lock:
            if self._held_bytes + n_bytes > self._limit_bytes or self.closed:
                self._counts["dropped"] += 1
                return False
            key = (kind, model, version)
            group = self._open.get(key)
            if group is None:
                group = self._open[key] = Group(kind, model, version, time.monotonic(), [])
                if len(self._open) == 1:
                    self.wake.put(None)
            group.rows.append(row)
            group.n_bytes += n_bytes
            self._held_bytes += n_bytes
            if len(group.rows) >= self._batch_rows or group.n_bytes >= GROUP_BYTES:
                self._seal(key)
                self.wake.put(None)
            return True

    def add_message(self, message: Message, wait: bool) -> bool:
        """Take a message behind all rows of its model; `wait` blocks until half of the memory is free.

        The other half stays for those who do not wait.
        """
        limit_bytes = self._limit_bytes // 2 if wait else self._limit_bytes
        with self._lock:
            for key in [key for key in self._open if key[:2] == (message.kind, message.model)]:
                self._seal(key)
            while wait and not self.closed and self._held_bytes and self._held_bytes + message.n_bytes > limit_bytes:
                self._changed.wait(1.0)
            if self.closed or (not wait and self._held_bytes + message.n_bytes > limit_bytes):
                self._counts["dropped"] += message.n_rows
                return False
            self._ready.append(message)
            self._enter(message)
            self._waiting_rows += message.n_rows
            self._held_bytes += message.n_bytes
            self.wake.put(None)
            return True

    def _seal(self, key: tuple[Kind, str, str]) -> None:
        group = self._open.pop(key)
        self._ready.append(group)
        self._enter(group)
        self._waiting_rows += len(group.rows)

    def _enter(self, item: Group | Message) -> None:
        item.epoch = self._epoch
        self._unsettled[self._epoch] = self._unsettled.get(self._epoch, 0) + 1

    def take(self) -> Group | Message | None:
        """Return what is to be sent next, None when nothing is due."""
        with self._lock:
            due_s = time.monotonic() - self._linger_s
            while self._open and (oldest := next(iter(self._open.values()))).opened_s <= due_s:
                self._seal((oldest.kind, oldest.model, oldest.version))
            return self._ready.popleft() if self._ready else None

    def replace(self, group: Group, messages: list[Message]) -> None:
        """Account for the messages a taken group became; the rows of none are invalid."""
        with self._lock:
            self._held_bytes += sum(message.n_bytes for message in messages) - group.n_bytes
            n_rows = sum(message.n_rows for message in messages)
            self._waiting_rows += n_rows - len(group.rows)
            self._counts["invalid"] += len(group.rows) - n_rows
            self._leave(group.epoch, 1 - len(messages))

    def handed_over(self, message: Message) -> None:
        """Account for a message that Kafka's library holds now."""
        with self._lock:
            self.in_flight_bytes += message.n_bytes
            self._in_flight_rows += message.n_rows
            self._waiting_rows -= message.n_rows
            self._counts["sent"] += message.n_rows

    def settled(self, message: Message, delivered: bool, in_flight: bool = True) -> None:
        """Account for a message that was delivered or is lost."""
        with self._lock:
            if self.closed:
                return
            if in_flight:
                self.in_flight_bytes -= message.n_bytes
                self._in_flight_rows -= message.n_rows
            else:
                self._waiting_rows -= message.n_rows
            self._counts["delivered" if delivered else "dropped"] += message.n_rows
            self._held_bytes -= message.n_bytes
            self._leave(message.epoch, 1)

    def _leave(self, epoch: int, n_items: int) -> None:
        self._unsettled[epoch] -= n_items
        if not self._unsettled[epoch]:
            del self._unsettled[epoch]
        self._changed.notify_all()

    def count(self, name: str, n: int = 1) -> None:
        """Add to one of the counts."""
        with self._lock:
            self._counts[name] += n

    def seal_all(self) -> int:
        """Make everything due and return the mark to give to `is_settled`."""
        with self._lock:
            for key in list(self._open):
                self._seal(key)
            self._epoch += 1
            self.wake.put(None)
            return self._epoch

    def is_settled(self, mark: int) -> bool:
        """Return whether nothing from before the mark is left."""
        with self._lock:
            return all(epoch >= mark for epoch in islice(self._unsettled, 1))

    def wait_settled(self, mark: int, timeout_s: float) -> bool:
        """Wait until nothing from before the mark is left."""
        with self._lock:
            return self._changed.wait_for(lambda: self.is_settled(mark), timeout_s)

    def due_in_s(self) -> float | None:
        """Return the seconds until the next group is due, None when nothing waits."""
        with self._lock:
            if self._ready:
                return 0.0
            if not self._open:
                return None
            return max(next(iter(self._open.values())).opened_s + self._linger_s - time.monotonic(), 0.0)

    @property
    def crowded(self) -> bool:
        """Return whether more than half of the memory is taken."""
        return 2 * self._held_bytes > self._limit_bytes

    def close(self) -> int:
        """Refuse everything from now on, count what is left as dropped and return the number of its rows."""
        with self._lock:
            self.closed = True
            n_rows = self._waiting_rows + self._in_flight_rows + sum(len(group.rows) for group in self._open.values())
            self._counts["dropped"] += n_rows
            self._open.clear()
            self._ready.clear()
            self._unsettled.clear()
            self._held_bytes = self._waiting_rows = self._in_flight_rows = self.in_flight_bytes = 0
            self._changed.notify_all()
            return n_rows

    def stats(self) -> Stats:
        """Return the counts."""
        with self._lock:
            n_open = sum(len(group.rows) for group in self._open.values())
            n_rows = n_open + self._waiting_rows + self._in_flight_rows
            return Stats(**self._counts, buffered=n_rows, buffered_bytes=self._held_bytes)
