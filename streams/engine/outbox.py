"""Everything we produce leaves here: one idempotent producer, first in, first out."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from streams.engine.connection import librdkafka
from streams.settings import Settings

log = logging.getLogger(__name__)

MAX_WAITING = 20_000
MAX_PLAIN_BYTES = 64_000_000  # before compression: brokers judge what is compressed


class Output(NamedTuple):
    """A record to produce. `partition` is always explicit: libraries' partitioners differ."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]] = ()


class Outbox:
    """Sends outputs in order and knows which of them are durable.

    Parameters
    ----------
    settings
        Where the brokers are.
    on_failure
        Called once, with the reason, when a record could not be delivered. State and outputs have
        parted then, so it must end the process.
    """

    def __init__(self, settings: Settings, on_failure: Callable[[str], None]) -> None:
        self._on_failure = on_failure
        self._failed = ""
        self._n_put = 0
        self._waiting: dict[int, None] = {}
        self._producer = Producer(
            librdkafka(settings)
            | {
                "enable.idempotence": True,
                "acks": "all",
                "linger.ms": 2,
                "compression.type": "zstd",
                "message.max.bytes": MAX_PLAIN_BYTES,
                "queue.buffering.max.messages": 1_000_000,
                "error_cb": self._error,
                "log_level": 3,
            }
        )
        self._poll: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to watch deliveries, on the running loop."""
        self._poll = asyncio.get_running_loop().create_task(self._deliver())

    async def _deliver(self) -> None:
        while True:
            self._producer.poll(0)
            await asyncio.sleep(0.005 if self.n_waiting else 0.05)

    def put(self, outputs: Sequence[Output], on_offset: Callable[[int], None] | None = None) -> None:
        """Queue outputs; never waits. `on_offset` gets the offset of each once it is durable."""
        for output in outputs:
            self._n_put += 1
            self._waiting[self._n_put] = None
            try:
                self._producer.produce(
                    output.topic,
                    value=output.value,
                    key=output.key,
                    partition=output.partition,
                    headers=list(output.headers),
                    on_delivery=partial(self._delivered, self._n_put, on_offset),
                )
            except (KafkaException, BufferError) as error:
                del self._waiting[self._n_put]
                self._fail(f"{output.topic}: {error}")

    @property
    def n_waiting(self) -> int:
        """How many records are on their way."""
        return len(self._waiting)

    def _delivered(
        self, number: int, on_offset: Callable[[int], None] | None, error: KafkaError | None, message: Message
    ) -> None:
        del self._waiting[number]
        if error is not None:
            self._fail(f"{message.topic()}: {error.str()}")
        elif on_offset is not None:
            on_offset(int(message.offset() or 0))

    def _error(self, error: KafkaError) -> None:
        if error.fatal():
            self._fail(error.str())
        else:
            log.warning("broker: %s", error.str())

    def _fail(self, reason: str) -> None:
        if not self._failed:
            self._failed = reason
            self._on_failure(f"a record could not be delivered ({reason})")

    async def room(self) -> None:
        """Wait while too many records are on their way."""
        while self.n_waiting > MAX_WAITING:
            await self._turn()

    async def drained(self) -> None:
        """Wait until everything put so far is durable.

        Raises
        ------
        RuntimeError
            When a record could not be delivered.
        """
        last = self._n_put
        while self._waiting and next(iter(self._waiting)) <= last:
            await self._turn()
        if self._failed:
            raise RuntimeError(self._failed)

    async def _turn(self) -> None:
        self._producer.poll(0)
        await asyncio.sleep(0.002)

    async def send(self, output: Output) -> int:
        """Produce one record and return its offset once it is durable."""
        offsets: list[int] = []
        self.put([output], offsets.append)
        while not offsets and not self._failed:
            await self._turn()
        if self._failed:
            raise RuntimeError(self._failed)
        return offsets[0]

    def partitions(self, topic: str, timeout_s: float = 10.0) -> int:
        """Return how many partitions a topic has, 0 when there is no such topic."""
        metadata: Any = self._producer.list_topics(topic, timeout_s).topics[topic]
        return 0 if metadata.error else len(metadata.partitions)

    async def close(self) -> None:
        """Stop watching; what is queued must be drained before."""
        if self._poll:
            self._poll.cancel()
