"""The counts of many models, of which most rest as the bytes of their snapshot.

A model's counts are large while they change and small when encoded, and every checkpoint encodes
what has changed anyway. So only the models used last are kept open, within a budget of memory.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping

from streams.agents.counting import ModelCounts
from streams.agents.tally import NEVER
from streams.engine.stage import unwatched

SEGMENT = "model/"


class Known:
    """What is known of a model without opening its counts.

    Attributes
    ----------
    newest, record_time
        The largest event time and the largest record time seen, counted or waiting.
    boundary
        The first end or close of a window not told yet.
    urgent
        Whether there is something to tell at once.
    idle
        Whether the judge was last told that the source has nothing for the model.
    changes
        Changes with the counts.
    """

    __slots__ = ("announced", "boundary", "changes", "encoded", "idle", "newest", "queued", "record_time", "urgent")

    def __init__(self) -> None:
        self.newest = self.record_time = -1
        self.boundary = NEVER
        self.changes = 0
        self.announced = self.idle = self.queued = False
        self.urgent = True
        self.encoded: bytes | None = None


class Models:
    """The models of one source.

    Parameters
    ----------
    make
        Builds the empty counts of a model.
    max_open_bytes
        How much memory open counts may take together; one model's always may.
    before_change
        Called with a segment's name before it may change (`Stage.before_change`).
    """

    def __init__(
        self,
        make: Callable[[str], ModelCounts],
        max_open_bytes: int,
        before_change: Callable[[str], None] = unwatched,
    ) -> None:
        self._make, self._max_open_bytes, self._before_change = make, max_open_bytes, before_change
        self._known: dict[str, Known] = {}
        self._open: OrderedDict[str, ModelCounts] = OrderedDict()
        self._sizes: dict[str, int] = {}
        self._open_bytes = 0

    def __len__(self) -> int:
        """How many models are known."""
        return len(self._known)

    def __iter__(self) -> Iterator[str]:
        """Iterate over the models' names."""
        return iter(self._known)

    def get(self, model: str) -> Known | None:
        """Return what is known of a model, None when it is new."""
        return self._known.get(model)

    def add(self, model: str) -> Known:
        """Begin to know a model."""
        known = self._known[model] = Known()
        return known

    def open(self, model: str) -> ModelCounts:
        """Return the counts of a model; `done` is to follow when they were changed."""
        self._before_change(SEGMENT + model)
        counts = self._open.get(model)
        if counts is None:
            counts = self._make(model)
            if (encoded := self._known[model].encoded) is not None:
                counts.restore(encoded)
            self._open[model] = counts
        self._open.move_to_end(model)
        return counts

    def done(self, model: str) -> None:
        """Take note that the counts of a model have changed; let others rest where memory is short."""
        known, counts = self._known[model], self._open[model]
        known.encoded = None
        known.changes += 1
        known.newest = max(known.newest, counts.watermark)
        known.record_time = max(known.record_time, counts.record_time)
        known.boundary, known.idle, known.announced = counts.boundary, counts.told_idle, counts.announced
        self._open_bytes += counts.n_bytes - self._sizes.get(model, 0)
        self._sizes[model] = counts.n_bytes
        while self._open_bytes > self._max_open_bytes and len(self._open) > 1:
            name, resting = self._open.popitem(last=False)
            self._open_bytes -= self._sizes.pop(name, 0)
            other = self._known[name]
            if other.encoded is None:
                other.encoded = resting.encode()

    def drop(self, model: str) -> None:
        """Forget a model."""
        self._before_change(SEGMENT + model)
        del self._known[model]
        self._open.pop(model, None)
        self._open_bytes -= self._sizes.pop(model, 0)

    def segments(self) -> Mapping[str, int]:
        """Return the segments of the snapshot with the numbers of their changes."""
        return {SEGMENT + model: known.changes for model, known in self._known.items() if known.changes}

    def encode(self, model: str) -> bytes:
        """Return the bytes of a model's counts."""
        known = self._known[model]
        if known.encoded is None:
            known.encoded = self.open(model).encode()
        return known.encoded

    def restore(self, model: str, data: bytes) -> None:
        """Take a model's bytes; they are read once, so that damage is found now.

        Raises
        ------
        msgspec.DecodeError, CorruptError
            When they are no counts of a model.
        """
        known = self.add(model)
        counts = self._make(model)
        counts.restore(data)
        known.newest, known.record_time = counts.watermark, counts.record_time
        known.boundary, known.idle, known.announced = counts.boundary, counts.told_idle, counts.announced
        known.encoded = data
        known.changes = 1
