"""Records of ours: the partition explicit, the origin in a header."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from schemas import topics
from schemas.codec import ORIGIN_HEADER, Origin, partition_of
from schemas.dead import dead_letter
from schemas.records import PlainRecord, Record, Rejected
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
        self.topic, self.partition, self._n_partitions = topic, partition, n_partitions
        self._offset, self._ordinal = -1, 0

    def origin(self, offset: int) -> Origin:
        """Return the origin of the first output of the record at `offset`."""
        return Origin(self.topic, self.partition, offset, 0)

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
        origin = Origin(self.topic, self.partition, offset, self._ordinal)
        self._ordinal += 1
        partition = partition_of(key, self._n_partitions[topic])
        return Output(topic, partition, key.encode(), value, (*headers, (ORIGIN_HEADER, origin.encode())))

    def to_all(self, offset: int, topic: str, key: str, value: bytes) -> Iterator[Output]:
        """Yield the next outputs of the record at `offset`: one for each partition of the topic."""
        for partition in range(self._n_partitions[topic]):
            yield self.output(offset, topic, key, value)._replace(partition=partition)


def origin_of(record: Record) -> Origin | None:
    """Return the origin a record of ours carries."""
    for key, value in reversed(record.headers):
        if key == ORIGIN_HEADER:
            return Origin.decode(value)
    return None


def dead_output(out: Originating, record: Record, why: Rejected, stage: str, *, keep_value: bool) -> Output:
    """Return the dead letter of a record, or of the earlier one it is about; in the partition of its input's number."""
    offset = record.offset
    if why.about is not None:  # no longer at hand
        record, keep_value = PlainRecord(record.topic, record.partition, why.about, record.timestamp, None), False
    detail = why.detail + (f" ({why.n_rows} rows)" if why.n_rows else "")
    key, value, headers = dead_letter(
        record.key, record.value, record.headers,
        topic=record.topic, partition=record.partition, offset=record.offset,
        stage=stage, reason=why.reason, error_class=why.reason, detail=detail, keep_value=keep_value,
    )  # fmt: skip
    made = out.output(offset, topics.DEAD.name, f"{record.topic}/{record.partition}", value or b"", headers)
    return made._replace(key=key, value=value)
