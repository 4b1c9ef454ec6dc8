"""A Kafka record as every room sees it, and what became of one that could not be used."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol


class Record(Protocol):
    """The fields read of a consumed record; aiokafka's ConsumerRecord has them all."""

    @property
    def topic(self) -> str: ...
    @property
    def partition(self) -> int: ...
    @property
    def offset(self) -> int: ...
    @property
    def timestamp(self) -> int: ...
    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...
    @property
    def headers(self) -> Sequence[tuple[str, bytes]]: ...


class PlainRecord(NamedTuple):
    """A record made by us: for replay of files and for tests."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    value: bytes | None
    key: bytes | None = None
    headers: Sequence[tuple[str, bytes]] = ()


class Rejected(NamedTuple):
    """Why a record, or rows of it, could not be used.

    `reason` is one word of a small fixed set (it labels a metric); `detail` is for people and
    names the field. `n_rows` counts the rows lost with it, 0 when that is unknown. `about` is the offset of an
    earlier record of the partition when it is that one which cannot be used: this one only made it certain.
    """

    offset: int
    reason: str
    detail: str
    n_rows: int = 0
    about: int | None = None


def header(record: Record, name: str) -> str | None:
    """Return the last header of that name as text, or None."""
    for key, value in reversed(record.headers):
        if key.lower() == name:
            return value.decode("utf-8", "replace")
    return None
