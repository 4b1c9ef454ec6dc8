"""Records of models that have few rows in a poll wait here, so that rows are counted in blocks.

Counting costs as much for one row as for fifty. What waits is the records as they came, a function
of the source's records below a position like all other state, and stands in the snapshot.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from zlib import crc32

import msgspec

from schemas.records import PlainRecord, Record
from streams.engine.stage import unwatched

N_SEGMENTS = 16
SEGMENT = "gathered/"


class Waiting(msgspec.Struct, array_like=True):
    """The records of one model."""

    since: int
    n_rows: int = 0
    n_bytes: int = 0
    records: list[tuple[int, int, bytes, list[tuple[str, bytes]]]] = []


_decode = msgspec.msgpack.Decoder(dict[str, Waiting]).decode


class Gathered:
    """The records of one source that wait to be counted, by model, the longest waiting first.

    Parameters
    ----------
    max_rows, max_bytes
        How much of one model waits.
    max_total_bytes
        How much of all models together.
    before_change
        Called with a segment's name before it changes (`Stage.before_change`).
    """

    def __init__(
        self,
        topic: str,
        partition: int,
        *,
        max_rows: int,
        max_bytes: int,
        max_total_bytes: int,
        before_change: Callable[[str], None] = unwatched,
    ) -> None:
        self._before_change = before_change
        self._place = topic, partition
        self._max_rows, self._max_bytes, self._max_total_bytes = max_rows, max_bytes, max_total_bytes
        self._models: dict[str, Waiting] = {}
        self._changes = [0] * N_SEGMENTS
        self._n_bytes = 0

    def __iter__(self) -> Iterator[str]:
        """Iterate over the models of which records wait."""
        return iter(self._models)

    def fits(self, model: str, n_rows: int, n_bytes: int) -> bool:
        """Tell whether so many more rows of a model can wait."""
        waiting = self._models.get(model)
        if waiting is not None:
            n_rows, n_bytes = n_rows + waiting.n_rows, n_bytes + waiting.n_bytes
        return n_rows < self._max_rows and n_bytes < self._max_bytes

    def add(self, model: str, records: Sequence[Record], n_rows: int, n_bytes: int, since: int) -> None:
        """Let records of a model wait from the record time `since` on."""
        self._before_change(_segment(model))
        waiting = self._models.get(model)
        if waiting is None:
            waiting = self._models[model] = Waiting(since)
        for record in records:
            headers = [(name, value or b"") for name, value in record.headers if name.lower() == "content-type"]
            waiting.records.append((record.offset, record.timestamp, record.value or b"", headers))
        waiting.n_rows += n_rows
        waiting.n_bytes += n_bytes
        self._n_bytes += n_bytes
        self._changes[_number(model)] += 1

    def take(self, model: str) -> list[PlainRecord]:
        """Return the records of a model, which no longer wait."""
        if model not in self._models:
            return []
        self._before_change(_segment(model))
        waiting = self._models.pop(model)
        self._n_bytes -= waiting.n_bytes
        self._changes[_number(model)] += 1
        return self._plain(waiting)

    def _plain(self, waiting: Waiting) -> list[PlainRecord]:
        return [
            PlainRecord(*self._place, offset, timestamp, value, None, headers)
            for offset, timestamp, value, headers in waiting.records
        ]

    def overdue(self, before: int) -> str | None:
        """Return a model to count next: there is too much in all, or it has waited since before a record time."""
        first = next(iter(self._models), None)
        if first is not None and (self._n_bytes > self._max_total_bytes or self._models[first].since < before):
            return first
        return None

    def models(self) -> Iterator[tuple[str, list[PlainRecord]]]:
        """Yield every model with its records, which go on waiting."""
        for model, waiting in self._models.items():
            yield model, self._plain(waiting)

    def segments(self) -> Mapping[str, int]:
        """Return the segments of the snapshot with the numbers of their changes."""
        return {f"{SEGMENT}{number}": changes for number, changes in enumerate(self._changes) if changes}

    def encode(self, segment: str) -> bytes:
        """Return a segment's bytes."""
        number = int(segment.removeprefix(SEGMENT))
        return msgspec.msgpack.encode({m: waiting for m, waiting in self._models.items() if _number(m) == number})

    def restore(self, segment: str, data: bytes) -> None:
        """Take a snapshot's segment."""
        models = _decode(data)
        self._changes[int(segment.removeprefix(SEGMENT))] += 1
        merged = {**self._models, **models}
        self._models = dict(sorted(merged.items(), key=lambda item: item[1].since))
        self._n_bytes += sum(waiting.n_bytes for waiting in models.values())


def _segment(model: str) -> str:
    return f"{SEGMENT}{_number(model)}"


def _number(model: str) -> int:
    return crc32(model.encode("utf-8", "surrogatepass")) % N_SEGMENTS
