"""No row is lost and none is double, whatever the store or the way to it does."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from uuid import uuid4

import pytest
import pytest_asyncio
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.results import Result
from streams.embedded.clickhouse import EmbeddedClickHouse
from streams.sinks.clickhouse import ClickHouse, Writer
from streams.sinks.errors import SinkRejected
from streams.sinks.history import History
from streams.sinks.rows import rows_of_result
from tests.real import require_real
from tests.sinks.misbehaving import Fault, Misbehaving
from tests.sinks.results import a_feature, a_result


@pytest.fixture
def retries() -> list[str]:
    """The sinks that reported a retry."""
    return []


@pytest_asyncio.fixture
async def through(clickhouse: ClickHouse, misbehaving: Misbehaving, retries: list[str]) -> AsyncIterator[ClickHouse]:
    """The migrated store, by way of the misbehaving front."""
    async with ClickHouse(
        misbehaving.url,
        database=clickhouse.database,
        timeout_s=3.0,
        retry_wait_s=(0.01, 0.05),
        on_retry=retries.append,
    ) as connected:
        yield connected


@pytest.mark.parametrize(
    "faults",
    [
        ("500", "500"),
        ("503", "503"),
        ("slow",),
        ("slow_after",),
        ("cut_before", "cut_before"),
        ("cut_after", "cut_after"),
    ],
    ids="-".join,
)
async def test_an_insert_that_fails_is_stored_exactly_once(
    faults: tuple[Fault, ...], through: ClickHouse, misbehaving: Misbehaving, retries: list[str]
) -> None:
    misbehaving.faults.extend(faults)
    results = [a_result(hour=hour) for hour in (0, 800)]  # two months: two parts on disk
    writer = Writer(through, "drift.results.v1", 0)
    for n, result in enumerate(results):
        writer.add(rows_of_result(result), n)
    await writer.flush()
    assert retries == ["clickhouse"] * len(faults)
    for table in ("results", "profiles", "windows"):
        assert await through.query(f"SELECT count() FROM {table}") == [(2,)], table
    assert await History(through).results("credit-risk") == results


async def test_the_client_library_repeats_nothing_behind_our_back(
    through: ClickHouse, misbehaving: Misbehaving, retries: list[str]
) -> None:
    misbehaving.faults.extend(["cut_before"])
    await through.insert("results", rows_of_result(a_result())["results"], "t/0/0-0")
    assert (misbehaving.n_inserts, len(retries)) == (2, 1)


async def test_a_type_mismatch_is_raised_at_once(
    through: ClickHouse, misbehaving: Misbehaving, retries: list[str]
) -> None:
    misbehaving.faults.append("400")
    with pytest.raises(SinkRejected, match="TYPE_MISMATCH"):
        await through.insert("results", rows_of_result(a_result())["results"], "t/0/0-0")
    assert retries == []


async def test_a_failed_flush_keeps_what_was_collected(through: ClickHouse, misbehaving: Misbehaving) -> None:
    misbehaving.faults.append("400")
    writer = Writer(through, "drift.results.v1", 0)
    writer.add(rows_of_result(a_result()), 0)
    with pytest.raises(SinkRejected):
        await writer.flush()
    assert writer.n_rows == 3
    assert await writer.flush() == 3


async def test_rows_wait_for_a_store_that_is_not_there_yet(tmp_path: Path, free_port: int) -> None:
    require_real("chdb")
    down = asyncio.Event()
    async with ClickHouse(
        f"http://127.0.0.1:{free_port}", retry_wait_s=(0.01, 0.05), on_retry=lambda _: down.set()
    ) as waiting:
        migrating = asyncio.create_task(waiting.migrate())
        await asyncio.wait_for(down.wait(), 10)
        with await asyncio.to_thread(EmbeddedClickHouse, tmp_path, port=free_port):
            assert await asyncio.wait_for(migrating, 30)


async def test_killing_the_store_between_and_during_inserts_loses_nothing(tmp_path: Path, free_port: int) -> None:
    require_real("chdb")
    store = EmbeddedClickHouse(tmp_path, port=free_port)
    results = [a_result(hour=hour) for hour in range(60)]
    third, two_thirds = asyncio.Event(), asyncio.Event()
    async with ClickHouse(store.url, timeout_s=20, retry_wait_s=(0.01, 0.05)) as connected:
        await connected.migrate()

        async def write() -> None:
            for n, result in enumerate(results):
                writer = Writer(connected, "drift.results.v1", 0)
                writer.add(rows_of_result(result), n)
                await writer.flush()
                if n == 20:
                    third.set()
                if n == 40:
                    two_thirds.set()

        writing = asyncio.create_task(write())
        for reached in (third, two_thirds):
            await asyncio.wait_for(reached.wait(), 60)
            os.kill(store.pid, signal.SIGKILL)
            await asyncio.to_thread(store.close)
            store = await asyncio.to_thread(EmbeddedClickHouse, tmp_path, port=free_port)
        await asyncio.wait_for(writing, 60)
        assert await History(connected).results("credit-risk") == results
    with suppress(OSError):
        store.close()


_revisions = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 4), st.sampled_from(["", "country=FR"])), min_size=1, max_size=12
)


@settings(max_examples=12, deadline=None, derandomize=True)
@given(data=st.data(), keys=_revisions)
def test_any_batching_order_and_repetition_gives_the_same_table(
    store: EmbeddedClickHouse, data: st.DataObject, keys: list[tuple[int, int, str]]
) -> None:
    run_id = uuid4().hex
    results = [
        a_result("m", hour, revision=revision, slice=slice, run_id=run_id, features=[a_feature(effect=revision / 10)])
        for hour, revision, slice in dict.fromkeys(keys)
    ]
    last: dict[tuple[str, int], Result] = {}
    for result in results:
        identity = (result.slice, result.window_start)
        if identity not in last or last[identity].revision < result.revision:
            last[identity] = result
    sent = data.draw(st.permutations(results)) + data.draw(st.lists(st.sampled_from(results), max_size=6))
    cuts = sorted(data.draw(st.sets(st.integers(1, len(sent)), max_size=5)) | {0, len(sent)})

    async def write_and_read() -> dict[tuple[str, int], Result]:
        async with ClickHouse(store.url, database="test_any_batching") as connected:
            await connected.migrate()
            for start, end in pairwise(cuts):
                writer = Writer(connected, "drift.results.v1", 0)
                for offset in range(start, end):
                    writer.add(rows_of_result(sent[offset]), offset)
                await writer.flush()
            history = History(connected)
            read = [
                each for slice in ("", "country=FR") for each in await history.results("m", run_id=run_id, slice=slice)
            ]
            return {(each.slice, each.window_start): each for each in read}

    assert asyncio.run(write_and_read()) == last
