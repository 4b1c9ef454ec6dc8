"""One embedded store for the whole run, a database of its own for each test, and faults in front."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Iterator
from uuid import uuid4

import pytest
import pytest_asyncio

from streams.embedded.clickhouse import EmbeddedClickHouse
from streams.sinks.clickhouse import ClickHouse
from tests.real import require_real
from tests.sinks.misbehaving import Misbehaving


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedClickHouse]:
    """The embedded store in a process of its own."""
    require_real("chdb")
    with EmbeddedClickHouse(tmp_path_factory.mktemp("store")) as running:
        yield running


@pytest.fixture
def database() -> str:
    """A database no other test uses."""
    return f"test_{uuid4().hex[:12]}"


@pytest_asyncio.fixture
async def clickhouse(store: EmbeddedClickHouse, database: str) -> AsyncIterator[ClickHouse]:
    """A migrated, empty store."""
    async with ClickHouse(store.url, database=database, retry_wait_s=(0.01, 0.05)) as connected:
        await connected.migrate()
        yield connected


@pytest_asyncio.fixture
async def misbehaving(store: EmbeddedClickHouse) -> AsyncIterator[Misbehaving]:
    """The store behind a front that fails inserts as it is told."""
    async with Misbehaving(store.url) as front:
        yield front


@pytest.fixture
def free_port() -> int:
    """A port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
