"""Slices: how much is taken at once follows from what it costs."""

from __future__ import annotations

import asyncio

from schemas.records import PlainRecord
from streams.engine.slices import MIN_BYTES, SLICE_S, Pace, Slices


def _record(n_bytes: int) -> PlainRecord:
    return PlainRecord("events", 0, 0, 0, b"x" * n_bytes)


def test_a_slice_is_as_many_records_as_fit_into_its_time() -> None:
    pace = Pace()
    for _ in range(30):
        pace.spent(100, 100 * 1e-5)
    assert 0.9 < pace.n_records(_record(MIN_BYTES)) * 1e-5 / SLICE_S <= 1.0


def test_costly_records_are_taken_one_by_one() -> None:
    pace = Pace()
    pace.spent(1, 5.0)
    assert pace.n_records(_record(MIN_BYTES)) == 1


def test_short_records_are_taken_many_at_once_whatever_they_cost() -> None:
    pace = Pace()
    pace.spent(1, 5.0)
    assert pace.n_records(_record(199)) == MIN_BYTES // 200
    assert pace.n_records(PlainRecord("events", 0, 0, 0, None)) == MIN_BYTES


async def test_the_loop_runs_when_a_slice_is_used_up() -> None:
    ran: list[int] = []
    asyncio.get_running_loop().call_soon(ran.append, 1)
    slices = Slices()
    await slices.turn()
    assert ran == [], "there is time left"
    slices._since -= 2 * SLICE_S
    await slices.turn()
    assert ran == [1]
