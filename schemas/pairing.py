"""Requests and responses that come as messages of their own, put together by their identity.

State of one input partition: a function of its records in order. Time is the records' own, so a crash, another
batching or a replay pairs the same messages.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec

MAX_WAITING = 10_000
MAX_BYTES = 16_000_000


class Half(msgspec.Struct, array_like=True):
    """A request or a response that waits for the other. `arrived` is record time in epoch milliseconds."""

    key: str
    request: bool
    offset: int
    arrived: int
    data: bytes


class Settled(NamedTuple):
    """What came of one or two messages: both, a request alone, or a response alone."""

    request: Any
    response: Any
    offset: int


class _State(msgspec.Struct, array_like=True):
    now_ms: int
    waiting: list[Half]


_decode_state = msgspec.msgpack.Decoder(_State).decode
_decode = msgspec.msgpack.Decoder().decode


class Pairing:
    """What waits in one partition, oldest first.

    A request whose response does not come within `timeout_ms` of record time, or that must make room, is settled
    alone; so is a response without a request. Each message is settled exactly once.

    Parameters
    ----------
    max_waiting, max_bytes
        What waits at most; beyond it the oldest is settled alone.
    """

    def __init__(self, timeout_ms: int, *, max_waiting: int = MAX_WAITING, max_bytes: int = MAX_BYTES) -> None:
        self._timeout_ms, self._max_waiting, self._max_bytes = timeout_ms, max_waiting, max_bytes
        self._waiting: dict[str, Half] = {}
        self._n_bytes = 0
        self._now_ms = -1

    def add(self, key: str, message: Any, *, request: bool, offset: int) -> Iterator[Settled]:
        """Take one message of the record whose time has `passed`; yield what it settles."""
        other = self._waiting.get(key)
        if other is not None and other.request is not request:
            self._remove(other)
            old = _unpacked(other.data)
            pair = (message, old) if request else (old, message)
            yield Settled(*pair, other.offset)
            return
        if other is not None:  # said twice: the earlier stays alone
            yield self._alone(other)
        half = Half(key, request, offset, self._now_ms, _packed(message))
        self._waiting[key] = half
        self._n_bytes += len(half.data)
        while len(self._waiting) > self._max_waiting or self._n_bytes > self._max_bytes:
            yield self._alone(next(iter(self._waiting.values())))

    def passed(self, time_ms: int) -> Iterator[Settled]:
        """Yield what has waited too long once a record of this time has come."""
        self._now_ms = max(self._now_ms, time_ms)
        while self._waiting:
            oldest = next(iter(self._waiting.values()))
            if self._now_ms - oldest.arrived <= self._timeout_ms:
                return
            yield self._alone(oldest)

    def _alone(self, half: Half) -> Settled:
        self._remove(half)
        message = _unpacked(half.data)
        return Settled(message, None, half.offset) if half.request else Settled(None, message, half.offset)

    def _remove(self, half: Half) -> None:
        del self._waiting[half.key]
        self._n_bytes -= len(half.data)

    @property
    def n_waiting(self) -> int:
        """How many messages wait."""
        return len(self._waiting)

    def encode(self) -> bytes:
        """Return the state."""
        return msgspec.msgpack.encode(_State(self._now_ms, list(self._waiting.values())))

    def restore(self, data: bytes) -> None:
        """Take the state `encode` gave."""
        state = _decode_state(data)
        self._now_ms = state.now_ms
        self._waiting = {half.key: half for half in state.waiting}
        self._n_bytes = sum(len(half.data) for half in state.waiting)


def _packed(message: dict[str, Any]) -> bytes:
    try:
        return msgspec.msgpack.encode(message)
    except (OverflowError, UnicodeEncodeError):  # integers beyond 64 bits, halves of surrogate pairs
        return json.dumps(message).encode()


def _unpacked(data: bytes) -> Any:
    return json.loads(data) if data.startswith(b"{") else _decode(data)  # no map of MessagePack begins so
