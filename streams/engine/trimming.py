"""Deleting the snapshots nobody needs any more."""

from __future__ import annotations

import asyncio
import logging
from collections import deque

from aiokafka import TopicPartition
from aiokafka.admin import RecordsToDelete
from aiokafka.errors import KafkaError

from streams.engine.connection import admin
from streams.settings import Settings

log = logging.getLogger(__name__)


class Trimmer:
    """Keeps the last three snapshots of each partition of a snapshot topic; the embedded broker cannot delete."""

    def __init__(self, settings: Settings, topic: str) -> None:
        self._settings, self._topic = settings, topic
        self._lowest: dict[int, deque[int]] = {}
        self._trimmed: dict[int, int] = {}
        self._trims = not settings.embedded
        self._trimming: asyncio.Task[None] | None = None

    def add(self, partition: int, lowest: int) -> None:
        """Take note of a snapshot that needs the records from `lowest` on."""
        self._lowest.setdefault(partition, deque(maxlen=3)).append(lowest)

    def trimmable(self, partition: int) -> int | None:
        """Return the offset below which no one of the last three snapshots needs a record."""
        lows = self._lowest.get(partition, ())
        return min(lows) if len(lows) == 3 else None

    def trim(self, partition: int) -> None:
        """Begin to delete, after a commit, what none of the last three snapshots needs."""
        before = self.trimmable(partition)
        if self._trims and self.idle and before is not None and before > self._trimmed.get(partition, 0):
            self._trimming = asyncio.get_running_loop().create_task(self._delete(partition, before))

    @property
    def idle(self) -> bool:
        """Whether no records are being deleted now."""
        return self._trimming is None or self._trimming.done()

    def forget(self, partition: int) -> None:
        """Drop what is known of a partition that is no longer ours."""
        self._lowest.pop(partition, None)

    async def _delete(self, partition: int, before: int) -> None:
        client = admin(self._settings)
        try:
            await client.start()
            await client.delete_records({TopicPartition(self._topic, partition): RecordsToDelete(before_offset=before)})
            self._trimmed[partition] = before
        except KafkaError as error:
            if not error.retriable:
                self._trims = False
                what = "old snapshots cannot be deleted and will pile up"
                log.warning("%s: %s: %s. Allow this user to delete records.", self._topic, what, error)
        finally:
            await client.close()
