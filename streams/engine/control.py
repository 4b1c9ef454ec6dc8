"""Control topics from the command line: read them to their end, add records to them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from schemas import evidence, topics
from schemas.codec import partition_of
from streams.catalogue import Catalogue
from streams.engine import preflight
from streams.engine.follow import Follower
from streams.engine.outbox import Outbox, Output
from streams.settings import Settings

CONTROL = (topics.BASELINES, topics.MONITORS)
EFFECT_TIMEOUT_S = 10.0


def _fail(reason: str) -> None:
    raise preflight.PreflightError(reason)


async def read_catalogue(settings: Settings) -> Catalogue:
    """Return the baselines and monitors as they stand now."""
    preflight.check(settings, CONTROL)
    catalogue = Catalogue()
    follower = Follower(settings, [topic.name for topic in CONTROL], catalogue.update, on_failure=_fail)
    await follower.start()
    await follower.stop()
    return catalogue


async def read_monitors(settings: Settings) -> Catalogue:
    """Return the monitors alone as they stand now; none where there is no topic of them yet."""
    catalogue = Catalogue()
    if topics.MONITORS.name in preflight.existing(settings):
        follower = Follower(settings, [topics.MONITORS.name], catalogue.update, on_failure=_fail)
        await follower.start()
        await follower.stop()
    return catalogue


async def publish(settings: Settings, records: Sequence[tuple[str, str, bytes]]) -> None:
    """Append (topic, key, value) records and wait until they are durable."""
    found = preflight.check(settings, CONTROL)
    outbox = Outbox(settings, _fail)
    outbox.start()
    try:
        outbox.put(
            [Output(topic, partition_of(key, found[topic]), key.encode(), value) for topic, key, value in records]
        )
        await outbox.drained()
    finally:
        await outbox.close()


async def command(
    settings: Settings, message: evidence.Promote | evidence.Apply, took: Callable[[Catalogue], bool]
) -> bool:
    """Send a command to the judge, who alone knows from when it can hold; wait until it has answered.

    Returns whether `took` became true within ten seconds; without a running `detect` it stays
    queued and holds once one runs.
    """
    preflight.check(settings, (*CONTROL, topics.EVIDENCE))
    catalogue = Catalogue()
    follower = Follower(settings, [topic.name for topic in CONTROL], catalogue.update, on_failure=_fail)
    await follower.start()
    await publish(settings, [(topics.EVIDENCE.name, message.model, evidence.encode(message))])
    try:
        async with asyncio.timeout(EFFECT_TIMEOUT_S):
            while not took(catalogue):
                await asyncio.sleep(0.05)
        return True
    except TimeoutError:
        return False
    finally:
        await follower.stop()
