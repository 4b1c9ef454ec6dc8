"""What the engine asks of an agent's logic: plain state of one input partition, no I/O."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

from schemas.records import Record
from streams.engine.outbox import Output


class Reading(NamedTuple):
    """Records a stage wants to see again: offsets [start, end) of its own input partition."""

    name: str
    start: int
    end: int


def unwatched(_segment: str) -> None:
    """Nobody waits for this segment: what `Stage.before_change` is while no snapshot is being made."""


class Stage(Protocol):
    """State = a pure function of the records of one partition below a position.

    The engine calls one stage from one task at a time. Raising means that the state can no longer
    be trusted: the worker leaves without committing.

    Attributes
    ----------
    before_change
        `update` calls it with a segment's name before it changes that segment: a snapshot of the state as
        it was may still have to encode it. The engine sets it; it begins as `unwatched`.
    """

    before_change: Callable[[str], None]

    def update(self, records: Sequence[Record]) -> list[Output]:
        """Take the next records, in offset order; return what is to be produced.

        How records are put together into calls must not matter: the engine cuts them as time demands.
        """
        ...

    def ready(self, records: Sequence[Record]) -> int:
        """Return how many of these records, from the first on, can be taken now.

        Zero means "wait": the engine asks again while the control topics are followed, and leaves
        when that takes too long.
        """
        ...

    def lost(self, n_records: int) -> None:
        """Hear that records right before the next one are lost to the state, and make that visible."""
        ...

    def flush(self, now_ms: int, *, caught_up: bool) -> Iterator[Output]:
        """Yield what is worth showing now; must not change what is counted.

        The engine pulls it to its end and touches the stage with nothing else meanwhile.
        `caught_up` says that the partition has been read to its end, so the wall clock may speak
        for idle sources.
        """
        ...

    def readings(self) -> Sequence[Reading]:
        """Return which earlier records are wanted; empty for most stages."""
        ...

    def read(self, reading: Reading, records: Sequence[Record]) -> list[Output]:
        """Take the records of one reading, complete and in order."""
        ...

    def before_checkpoint(self) -> bool:
        """Make decisions that may only take effect with a durable checkpoint; tell whether there were any.

        After one, no record is taken and nothing is shown before the checkpoint is durable.
        """
        ...

    def lowest_offset(self) -> int:
        """Return the lowest offset whose record matters to the state: without its snapshot it is built from there."""
        ...

    def segments(self) -> Mapping[str, int]:
        """Return the names of the state's segments, each with a number that changes with its content."""
        ...

    def encode(self, segment: str) -> bytes:
        """Return one segment's bytes."""
        ...

    def restore(self, segments: Mapping[str, bytes]) -> None:
        """Take the state that `encode` gave; called once, on a new stage."""
        ...
