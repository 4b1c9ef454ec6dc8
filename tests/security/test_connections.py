"""Every way in, for every kind of connection of ours: produce, read by position, consume and commit, delete."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import RecordsToDelete

from streams.engine import preflight, tokens
from streams.engine.connection import admin, reader
from streams.engine.outbox import Outbox, Output
from streams.engine.positions import bounds, read_range
from streams.settings import Settings
from tests.brokers import unique
from tests.kafka.issuer import Issuer
from tests.kafka.secured import CLIENT_SECRET, USER, WAYS, SecuredKafka


@pytest.fixture
def topic(secured: SecuredKafka) -> Iterator[str]:
    """A topic on which the worker may do everything."""
    name = unique("topic")
    secured.create_topics({name: 1})
    secured.allow(USER, name, ["ALL"])
    yield name
    secured.forbid(USER)


def _fail(reason: str) -> None:
    raise AssertionError(reason)


async def _use(settings: Settings, topic: str) -> tuple[list[bytes], tuple[int, int]]:
    """Produce two records, read them back, delete the first; return the records and the bounds that are left."""
    outbox = Outbox(settings, _fail)
    outbox.start()
    first = await outbox.send(Output(topic, 0, None, b"one"))
    second = await outbox.send(Output(topic, 0, None, b"two"))
    await outbox.close()
    found = await read_range(settings, topic, 0, first, second + 1)
    client = admin(settings)
    await client.start()
    place = TopicPartition(topic, 0)
    await client.delete_records({place: RecordsToDelete(before_offset=second)})
    await client.close()
    consumer = reader(settings)
    await consumer.start()
    left = await bounds(consumer, place)
    await consumer.stop()
    return [record.value for record in found.records], left


@pytest.mark.parametrize("way", WAYS)
async def test_every_way_in_produces_reads_and_deletes(secured: SecuredKafka, topic: str, way: str) -> None:
    settings = Settings(**secured.way(way))  # type: ignore[arg-type]  # text, as from the environment
    assert topic in await asyncio.to_thread(preflight.existing, settings)
    values, (first, end) = await _use(settings, topic)
    assert values == [b"one", b"two"]
    assert (first, end) == (1, 2)


async def test_one_token_serves_many_connections_and_is_asked_for_again_in_time() -> None:
    issuer = Issuer({USER: CLIENT_SECRET}, lifetime_s=300.0)
    try:
        provider = tokens.ClientCredentials(issuer.url, USER, CLIENT_SECRET, "kafka.read", "")
        given = set(await asyncio.gather(*(provider.token() for _ in range(5))))
        assert (len(given), issuer.n_issued, issuer.scopes) == (1, 1, ["kafka.read"])
        provider._refresh_at = time.monotonic()  # as when most of its life is over
        assert await provider.token() not in given or issuer.n_issued == 2
        assert issuer.n_issued == 2
    finally:
        issuer.close()


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"client_id": "nobody"}, "401; check DRIFTGAUGE_OAUTH_CLIENT_ID"),
        ({"url": "http://127.0.0.1:9/token"}, "check DRIFTGAUGE_OAUTH_TOKEN_URL"),
    ],
)
async def test_an_endpoint_that_gives_no_token_is_an_error_of_the_connection(
    changes: dict[str, str], named: str
) -> None:
    issuer = Issuer({USER: CLIENT_SECRET})
    try:
        given = {"url": issuer.url, "client_id": USER, "secret": CLIENT_SECRET, "scope": "", "ca_file": ""} | changes
        with pytest.raises(ConnectionError, match=named) as error:
            await tokens.ClientCredentials(**given).token()
        assert CLIENT_SECRET not in str(error.value)
    finally:
        issuer.close()
