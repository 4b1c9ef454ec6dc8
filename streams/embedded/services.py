"""Broker and store in processes of ours: nothing else to install."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from streams.embedded.broker import EmbeddedBroker
from streams.embedded.clickhouse import EmbeddedClickHouse
from streams.engine.preflight import planned
from streams.settings import Settings

PARTITIONS = 2


class Embedded:
    """The embedded broker and store while entered; `environment` makes every role use them.

    The broker keeps about 5 MB a partition and nothing after its end.
    """

    def __init__(self, settings: Settings, path: Path) -> None:
        self._path = path
        self._settings = settings.model_copy(update={"partitions": PARTITIONS})
        self._stack = ExitStack()
        self.environment: dict[str, str] = {}

    def __enter__(self) -> Self:
        self._path.mkdir(parents=True, exist_ok=True)
        broker = self._stack.enter_context(EmbeddedBroker(planned(self._settings)))
        store = self._stack.enter_context(EmbeddedClickHouse(self._path / "store"))
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
