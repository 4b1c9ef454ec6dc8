"""Broker and store in processes of ours: nothing else to install."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from schemas.topics import BASELINES, MONITORS
from streams.embedded.broker import EmbeddedBroker
from streams.embedded.clickhouse import EmbeddedClickHouse
from streams.engine.control import publish
from streams.engine.preflight import planned
from streams.settings import Settings
from streams.sinks.clickhouse import ClickHouse
from streams.sinks.history import History

PARTITIONS = 2


class Embedded:
    """The embedded broker and store while entered; `environment` makes every role use them.

    The broker keeps about 5 MB a partition and nothing after its end, so the baselines and monitors
    of an earlier time are put back from the store.
    """

    def __init__(self, settings: Settings, path: Path) -> None:
        self._path = path
        self._settings = settings.model_copy(update={"partitions": PARTITIONS})
        self._stack = ExitStack()
        self.environment: dict[str, str] = {}

    def __enter__(self) -> Self:
        self._path.mkdir(parents=True, exist_ok=True)
        try:
            broker = self._stack.enter_context(EmbeddedBroker(planned(self._settings)))
            store = self._stack.enter_context(EmbeddedClickHouse(self._path / "store"))
            here = self._settings.model_copy(update={"bootstrap_servers": broker.bootstrap_servers})
            asyncio.run(_put_back(here, store.url))
        except BaseException:
            self._stack.close()
            raise
        self.environment = {
            "DRIFTGAUGE_BOOTSTRAP_SERVERS": broker.bootstrap_servers,
            "DRIFTGAUGE_CLICKHOUSE_URL": store.url,
            "DRIFTGAUGE_EMBEDDED": "true",
            "DRIFTGAUGE_CHECKPOINT_S": "1",
        }
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()


async def _put_back(settings: Settings, url: str) -> None:
    """Publish the stored baselines and monitors on a broker that has just begun."""
    async with ClickHouse(url, database=settings.clickhouse_database) as store:
        await store.migrate()
        history = History(store)
        records = [
            (topic.name, key.decode(), value)
            for topic in (BASELINES, MONITORS)
            for key, value in await history.control(topic.name)
        ]
    if records:
        await publish(settings, records)
