"""A broker that is away, comes back, or refuses."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from driftgauge_client import Client

from tests.brokers import Embedded, eventually
from tests.client.support import Line, finish, start

FEATURES: dict[str, object] = {**{f"number {number}": number / 3 for number in range(18)}, "city": "Lyon", "text": None}
PRODUCE = 0
MESSAGE_TOO_LARGE = 10
NOT_LEADER = 6


@pytest.fixture
def own_broker() -> Iterator[Embedded]:
    """A broker whose faults hurt nobody else."""
    broker = Embedded({})
    yield broker
    broker.close()


def p99_ms(client: Client, n_calls: int) -> float:
    durations = []
    for number in range(n_calls):
        begun = time.perf_counter()
        client.log("m", FEATURES, prediction=0.5, id=f"request {number}", latency_ms=3.0)
        durations.append(time.perf_counter() - begun)
    return 1_000 * sorted(durations)[int(0.99 * n_calls)]


def test_log_takes_less_than_a_millisecond_with_a_broker(client: Client) -> None:
    assert p99_ms(client, 20_000) < 1.0
    assert client.flush(30)
    assert client.stats().delivered == 20_000


def test_log_takes_less_than_a_millisecond_without_a_broker(unreachable: Callable[..., Client]) -> None:
    assert p99_ms(unreachable(), 20_000) < 1.0


def test_log_takes_less_than_a_millisecond_when_full(unreachable: Callable[..., Client]) -> None:
    client = unreachable(buffer_bytes=2 * 1024 * 1024)
    p99_ms(client, 15_000)
    assert client.stats().dropped > 0
    assert p99_ms(client, 5_000) < 1.0


def test_close_leaves_within_five_seconds_with_a_full_buffer_and_no_broker(
    unreachable: Callable[..., Client], caplog: pytest.LogCaptureFixture
) -> None:
    client = unreachable()
    columns = {"text": ["x" * 100_000] * 800}
    client.log_many("m", columns)
    stats = client.stats()
    assert stats.dropped > 0
    assert stats.buffered_bytes > 60 * 1024 * 1024
    begun = time.monotonic()
    client.close()
    assert time.monotonic() - begun < 5.0
    assert client.stats().dropped == 800
    assert client.stats().buffered == 0
    assert f"closed with {stats.buffered} rows not delivered" in caplog.text


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux's /proc")
def test_a_full_buffer_takes_little_more_memory_than_it_may(unreachable: Callable[..., Client]) -> None:
    environment = Line(unreachable().settings.bootstrap_servers, "events", "feedback").environment()
    output, errors = finish(start("fills.py", environment=environment), timeout_s=60)
    assert "the buffer is full" in errors
    assert 10 < float(output) < 32


def test_process_leaves_within_five_seconds_without_a_broker(unreachable: Callable[..., Client]) -> None:
    environment = Line(unreachable().settings.bootstrap_servers, "events", "feedback").environment()
    process = start("leaves.py", "end", environment=environment)
    _, errors = finish(process)
    ended = time.time()
    begun = float(next(line for line in errors.splitlines() if line.startswith("end of main")).split()[-1])
    assert ended - begun < 6.0  # five for the client, one for the interpreter on a busy machine
    assert process.returncode == 0
    assert errors.count("closed with 100 rows not delivered") == 1


def test_log_after_close_is_counted(unreachable: Callable[..., Client], caplog: pytest.LogCaptureFixture) -> None:
    client = unreachable()
    client.close(0)
    client.close(0)
    client.log("m", {"x": 1})
    client.log_many("m", {"x": [1, 2]}, wait=True)
    assert client.stats().dropped == 3
    assert "the client is closed" in caplog.text


def test_flush_says_when_it_did_not_deliver(unreachable: Callable[..., Client]) -> None:
    client = unreachable()
    assert client.flush(0.1)
    client.log("m", {"x": 1})
    assert not client.flush(0.1)


def test_rows_wait_for_a_broker_that_comes_back(own_broker: Embedded) -> None:
    line = Line.on(own_broker)
    with Client(**line.arguments()) as client:
        client.log("m", {"x": 1}, id="before")
        assert client.flush()
        own_broker.down()
        for number in range(2_000):
            client.log("m", {"x": number}, id=str(number))
        assert not client.flush(0.5)
        own_broker.up()
        assert client.flush(30)
        assert client.stats().delivered == 2_001
        assert client.stats().dropped == 0
    assert line.ids() == ["before", *map(str, range(2_000))]


def test_retried_messages_arrive_once_and_in_order(own_broker: Embedded) -> None:
    line = Line.on(own_broker)
    with Client(**line.arguments(), batch_rows=100) as client:
        own_broker.fail_next(PRODUCE, [NOT_LEADER] * 3)
        for number in range(1_000):
            client.log("m", {"x": number}, id=str(number))
        assert client.flush(30)
    assert line.ids() == list(map(str, range(1_000)))


def test_rows_a_broker_refuses_are_counted_and_said_once(
    own_broker: Embedded, caplog: pytest.LogCaptureFixture
) -> None:
    line = Line.on(own_broker)
    with Client(**line.arguments()) as client:
        own_broker.fail_next(PRODUCE, [MESSAGE_TOO_LARGE])
        client.log("m", {"x": 1}, id="refused")
        assert not client.flush()
        assert (client.stats().dropped, client.stats().buffered) == (1, 0)
        client.log("m", {"x": 1}, id="taken")
        assert client.flush(20)
    assert line.ids() == ["taken"]
    assert len([record for record in caplog.records if "not delivered to" in record.message]) == 1


async def test_log_never_blocks_an_event_loop(unreachable: Callable[..., Client]) -> None:
    client = unreachable(buffer_bytes=2 * 1024 * 1024)
    gaps = []

    async def beat() -> None:
        while client.stats().dropped < 1_000:
            before = time.perf_counter()
            await asyncio.sleep(0)
            gaps.append(time.perf_counter() - before)

    async def serve() -> None:
        while client.stats().dropped < 1_000:
            client.log("m", FEATURES)
            await asyncio.sleep(0)

    await asyncio.wait_for(asyncio.gather(beat(), serve(), serve()), 60)
    assert sorted(gaps)[int(0.99 * len(gaps))] < 0.005


async def test_flush_in_a_thread_keeps_the_event_loop_free(client: Client, line: Line) -> None:
    client.log("m", {"x": 1}, id="a")
    assert await asyncio.to_thread(client.flush)
    assert await asyncio.to_thread(line.ids) == ["a"]


def test_rows_of_many_threads_all_arrive(client: Client, line: Line) -> None:
    def serve(thread: int) -> None:
        for number in range(500):
            client.log("m", {"x": number}, id=f"{thread}/{number}")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(serve, range(8)))
    assert client.flush(30)
    ids = [str(one) for one in line.ids()]
    assert sorted(ids) == sorted(f"{thread}/{number}" for thread in range(8) for number in range(500))
    for thread in range(8):
        assert [one for one in ids if one.startswith(f"{thread}/")] == [f"{thread}/{number}" for number in range(500)]


def test_kafka_that_is_away_is_said_once(unreachable: Callable[..., Client], caplog: pytest.LogCaptureFixture) -> None:
    client = unreachable()
    client.log("m", {"x": 1})
    eventually(lambda: "127.0.0.1:9" in caplog.text, timeout_s=10)
    client.flush(1.5)
    assert len([record for record in caplog.records if "wait in memory" in record.message]) == 1
