"""Sinks: what is delivered is committed, what is not is left to the next owner, and nobody waits for a destination."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from schemas import alerts, topics
from schemas.codec import ORIGIN_HEADER, Origin
from schemas.records import PlainRecord, Record
from streams.engine import private
from streams.engine.agent import StatefulAgent
from streams.engine.sink import SinkAgent
from streams.engine.watchdog import STUCK_AFTER_S, Watchdog
from tests.brokers import eventually
from tests.engine import traffic
from tests.engine.running import Cluster
from tests.sinks.alerts import alert

TOPIC = topics.ALERTS.name


def _records(partition: int, start: int, end: int) -> list[Record]:
    return [PlainRecord(TOPIC, partition, offset, 0, b"x") for offset in range(start, end)]


class Destination:
    """Takes records, or keeps whoever brings them waiting."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.taken: list[tuple[int, int]] = []
        self.commits: list[tuple[int, int]] = []
        self.cancelled = 0
        self.calls = 0
        self.up = asyncio.Event()
        self.left: list[str] = []
        monkeypatch.setattr(private, "commit", self._commit)
        monkeypatch.setattr(private, "committed", self._committed)
        app: Any = None
        self.agent = SinkAgent(
            app, name="alerts", topic=TOPIC, deliver=self.deliver, leave=self.left.append, max_records=10, wait_s=0.0
        )

    async def deliver(self, partition: int, records: Sequence[Record]) -> str:
        """Take records once the destination is up."""
        self.calls += 1
        try:
            await self.up.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        self.taken += [(partition, record.offset) for record in records]
        return ""

    async def _commit(self, _app: Any, _topic: str, partition: int, offset: int, _metadata: str) -> None:
        self.commits.append((partition, offset))

    async def _committed(self, _app: Any, _topic: str, partitions: Sequence[int]) -> dict[int, private.Committed]:
        newest = dict(self.commits)
        return {partition: private.Committed(newest[partition], "") for partition in partitions if partition in newest}


@pytest.fixture
def destination(monkeypatch: pytest.MonkeyPatch) -> Destination:
    return Destination(monkeypatch)


async def _begun(destination: Destination) -> None:
    async with asyncio.timeout(5.0):
        while not destination.calls:
            await asyncio.sleep(0)


async def _stuck(destination: Destination) -> list[asyncio.Task[None]]:
    """Queue a delivery that does not end, and others behind it."""
    agent = destination.agent
    await agent.restore([0, 1])
    first = asyncio.create_task(agent.take(_records(0, 0, 10)))
    await _begun(destination)
    return [
        first,
        asyncio.create_task(agent.take(_records(1, 0, 10))),
        asyncio.create_task(agent.flush()),
        asyncio.create_task(agent.checkpoint()),
    ]


@pytest.mark.parametrize("how", ["release", "finish"])
async def test_partitions_go_within_two_seconds_while_the_destination_is_down(
    destination: Destination, how: str
) -> None:
    waiting = await _stuck(destination)
    started = time.monotonic()
    await getattr(destination.agent, how)()
    assert time.monotonic() - started < 2.0
    await asyncio.gather(*waiting)
    assert (destination.calls, destination.cancelled) == (1, 1), "nobody behind it begins another delivery"
    assert (destination.commits, destination.agent.positions(), destination.left) == ([], {}, [])


async def test_the_next_owner_delivers_what_was_cut_off(destination: Destination) -> None:
    waiting = await _stuck(destination)
    await destination.agent.release()
    await asyncio.gather(*waiting)
    destination.up.set()
    await destination.agent.restore([0])
    await destination.agent.take(_records(0, 0, 10))
    assert destination.taken == [(0, offset) for offset in range(10)]
    assert destination.commits == [(0, 10)]


async def test_a_delivery_that_ends_in_a_moment_is_let_finish(destination: Destination) -> None:
    waiting = await _stuck(destination)
    release = asyncio.create_task(destination.agent.release())
    await asyncio.sleep(0)
    destination.up.set()
    await asyncio.gather(release, *waiting)
    assert (destination.commits, destination.cancelled) == ([(0, 10)], 0)


async def test_a_clean_stop_delivers_what_waits(destination: Destination) -> None:
    destination.up.set()
    await destination.agent.restore([0])
    await destination.agent.take(_records(0, 0, 7))
    await destination.agent.finish()
    assert (len(destination.taken), destination.commits) == (7, [(0, 7)])


async def test_a_delivery_that_fails_ends_the_process(destination: Destination) -> None:
    async def refuse(_partition: int, _records: Sequence[Record]) -> str:
        raise ValueError("no")

    destination.agent._deliver = refuse
    await destination.agent.restore([0])
    with pytest.raises(ValueError, match="no"):
        await destination.agent.take(_records(0, 0, 10))
    assert "ValueError: no" in destination.left[0]
    assert destination.commits == []


class _Left(Exception):
    pass


@pytest.mark.parametrize(("kind", "leaves"), [(SinkAgent, False), (StatefulAgent, True)])
def test_the_watchdog_lets_a_sink_wait_for_its_destination(kind: type[Any], leaves: bool) -> None:
    class Agent(kind):  # type: ignore[misc]  # of a kind the parameter says
        topic = TOPIC

        def __init__(self) -> None:
            self.held: dict[int, Any] = {}

        def positions(self) -> dict[tuple[str, int], int]:
            return {(TOPIC, 0): 5}

        def lags(self) -> dict[int, int]:
            return {0: 100}

    def leave(reason: str) -> None:
        raise _Left(reason)

    lags: list[int] = []
    stuck: list[float] = []
    metrics = SimpleNamespace(
        lag=lambda _role, _topic, _partition, records: lags.append(records),
        stuck=stuck.append,
        checkpoint_age=lambda *_place: None,
    )
    app: Any = SimpleNamespace(
        role="notify", ready=True, agents_of_role=[Agent()], metrics_of_role=metrics, leave=leave
    )
    watchdog = Watchdog(app, 0.0)
    watchdog.look(1.0)
    if leaves:
        with pytest.raises(_Left, match="no progress for 120 s with 100 records waiting"):
            watchdog.look(STUCK_AFTER_S + 1.5)
        assert stuck == [0.0, STUCK_AFTER_S + 0.5]
    else:
        watchdog.look(STUCK_AFTER_S + 1.5)
        assert lags == [100] * 2, "the lag is shown all the same"
        assert stuck == [0.0, 0.0]


@pytest.fixture
async def black_hole() -> AsyncIterator[tuple[str, list[bytes]]]:
    """An address that takes requests and never answers, and what it was sent."""
    sent: list[bytes] = []

    async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 16):
            sent.append(data)
        writer.close()

    server = await asyncio.start_server(swallow, "127.0.0.1", 0)
    yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/services/T0/B0/X", sent
    server.close()


async def test_a_role_whose_destination_never_answers_ends_on_sigterm_and_sends_again(
    embedded_cluster: Callable[..., Cluster], black_hole: tuple[str, list[bytes]]
) -> None:
    address, sent = black_hole
    cluster = embedded_cluster(slack_webhook_url=address)
    headers: list[Any] = [(ORIGIN_HEADER, Origin(topics.EVIDENCE.name, 0, 4, 0).encode())]
    cluster.produce([traffic.Message(0, alerts.encode(alert()), headers)], TOPIC)
    for n_requests in (1, 2):
        worker = await asyncio.to_thread(cluster.start, "notify")
        await asyncio.to_thread(eventually, lambda n=n_requests: len(sent) >= n, 60.0)
        started = time.monotonic()
        worker.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(worker.wait, 20) == 0, cluster.log("notify")
        assert time.monotonic() - started < 5.0, "two seconds for the sink; the consumer leaves its group, too"
