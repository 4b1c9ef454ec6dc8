"""Records of ours: the partition explicit, the origin in a header."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from schemas.codec import ORIGIN_HEADER, Origin, partition_of
from schemas.records import Record
from streams.engine.outbox import Output


class Originating:
    """Numbers the outputs of one input record after another.

    Parameters
    ----------
    topic, partition
        The input.
    n_partitions
        Partitions of each output topic.
    """

    def __init__(self, topic: str, partition: int, n_partitions: Mapping[str, int]) -> None:
        self._topic, self._partition, self._n_partitions = topic, partition, n_partitions
        self._offset, self._ordinal = -1, 0

    def output(
        self,
        offset: int,
        topic: str,
        key: str,
        value: bytes,
        headers: Sequence[tuple[str, bytes]] = (),
    ) -> Output:
        """Return the next output of the record at `offset`."""
        if offset != self._offset:
            self._offset, self._ordinal = offset, 0
        origin = Origin(self._topic, self._partition, offset, self._ordinal)
        self._ordinal += 1
        partition = partition_of(key, self._n_partitions[topic])
        return Output(topic, partition, key.encode(), value, (*headers, (ORIGIN_HEADER, origin.encode())))


def origin_of(record: Record) -> Origin | None:
    """Return the origin a record of ours carries."""
    for key, value in record.headers:
        if key == ORIGIN_HEADER:
            return Origin.decode(value)
    return None
