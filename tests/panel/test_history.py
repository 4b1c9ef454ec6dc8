"""The panel over the store, in the embedded ClickHouse, shows what it shows over a past in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
from aiohttp.test_utils import TestClient, TestServer
from prometheus_client import CollectorRegistry

from streams.embedded.clickhouse import EmbeddedClickHouse
from streams.panel.history import History
from streams.panel.live import Hub
from streams.panel.server import create_app
from streams.sinks.clickhouse import ClickHouse, Writer
from streams.sinks.history import History as StoredHistory
from streams.sinks.rows import rows_of_alerts, rows_of_results
from tests.panel.conftest import Client
from tests.panel.story import StoryHistory, car_loan
from tests.panel.test_pages import data
from tests.real import require_real


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedClickHouse]:
    """An embedded store in a process of its own."""
    require_real("chdb")
    with EmbeddedClickHouse(tmp_path_factory.mktemp("panel-store")) as running:
        yield running


@pytest_asyncio.fixture
async def stored(embedded: EmbeddedClickHouse) -> AsyncIterator[History]:
    """The story in tables."""
    story = car_loan()
    async with ClickHouse(embedded.url, database="panel") as store:
        await store.migrate()
        writer = Writer(store, "story", 0)
        writer.add(rows_of_results(story.results), 0)
        writer.add(rows_of_alerts(story.alerts), 1)
        await writer.flush()
        yield StoredHistory(store)


async def client_of(history: History) -> Client:
    """Start a panel over a past, with a hub that has heard nothing."""
    app = create_app(
        history=history,
        live=Hub(),
        baselines=car_loan().baselines,
        token=None,
        insecure=False,
        registry=CollectorRegistry(),
    )
    client: Client = TestClient(TestServer(app, host="127.0.0.1"))
    await client.start_server()
    return client


async def test_every_page_is_the_same_from_the_store_as_from_memory(stored: History) -> None:
    from_store, from_memory = await client_of(stored), await client_of(StoryHistory(car_loan()))
    try:
        for path in (
            "/api/models",
            "/api/models/car-loan",
            "/api/models/car-loan?n=7",
            "/api/models/car-loan/features/car_value",
            "/api/models/car-loan/features/salary_range?scale=5",
            "/api/models/support-triage",
            "/api/alerts?model=churn",
        ):
            answered = await data(from_store, path)
            assert answered["history"] is None
            assert answered == await data(from_memory, path), path
    finally:
        await from_store.close()
        await from_memory.close()
