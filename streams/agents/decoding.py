"""What turns the records of an input into rows: events as they are, mapped topics by the sources of monitors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from schemas.events import Decoded, decode
from schemas.records import Record


class Decoder(Protocol):
    """Decodes the records of one partition, in offset order; its state, if any, is state of that partition."""

    @property
    def changes(self) -> int:
        """A number that changes with the state; 0 while there is none."""
        ...

    def decode(self, records: Sequence[Record]) -> Decoded:
        """Return the rows of records, and what could not be used."""
        ...

    def kept(self, record: Record, model: str) -> Sequence[Record]:
        """Return the rows of a model that one of the records decoded last gave, as events.

        Who keeps rows for later or sends them elsewhere keeps these: `schemas.events` decodes them to the same rows.
        """
        ...

    def encode(self) -> bytes:
        """Return the state."""
        ...

    def restore(self, data: bytes) -> None:
        """Take the state `encode` gave."""
        ...


class EventDecoder:
    """Decodes the topic of events, whose records are kept as they came."""

    changes = 0

    def __init__(self, *, max_features: int = 2_000) -> None:
        self._max_features = max_features

    def decode(self, records: Sequence[Record]) -> Decoded:
        """Return the rows of records, and what could not be used."""
        return decode(records, max_features=self._max_features)

    def kept(self, record: Record, model: str) -> Sequence[Record]:
        """Return the record itself: all its rows are of one model."""
        del model
        return (record,)

    def encode(self) -> bytes:
        """Return nothing: every record speaks for itself."""
        return b""

    def restore(self, data: bytes) -> None:
        """Take nothing."""
        del data
