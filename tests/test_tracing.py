"""Our own spans: sent to a local endpoint with the right shape, and nearly free while they are off."""

from __future__ import annotations

import asyncio
import time
import timeit
from typing import Any

import pytest
from pydantic import SecretStr

from schemas.records import PlainRecord
from schemas.spans import located
from streams import tracing
from streams.settings import Settings
from tests.sinks.otlp_server import Endpoint, otlp_endpoint

RECORDS = [PlainRecord("drift.events.v1", 2, offset, 0, b"the value", b"the key", []) for offset in (5, 6, 7)]


def _spans(endpoint: Endpoint) -> dict[str, Any]:
    return {one.span.name: one.span for request in endpoint.requests for one in located(request)}


def _attributes(span: Any) -> dict[str, Any]:
    return {pair.key: pair.value.int_value or pair.value.string_value for pair in span.attributes}


async def test_spans_arrive_with_place_and_parent_and_without_values() -> None:
    async with otlp_endpoint() as endpoint:
        settings = Settings(traces_endpoint=endpoint.url, traces_sample=1.0, traces_headers={"key": SecretStr("s3")})
        end = tracing.start(settings, "detect")
        try:
            with tracing.records_span("take", "profile", RECORDS):
                await asyncio.sleep(0)
                with tracing.span("commit", partition=2, offset=8):
                    pass
        finally:
            await asyncio.to_thread(end)
        found = _spans(endpoint)
        assert set(found) == {"take", "commit"}
        assert found["commit"].parent_span_id == found["take"].span_id
        assert _attributes(found["take"]) == {
            "agent": "profile", "topic": "drift.events.v1", "partition": 2, "first_offset": 5, "last_offset": 7,
            "records": 3,
        }  # fmt: skip
        assert b"the value" not in endpoint.requests[0].SerializeToString()
        assert b"driftgauge-detect" in endpoint.requests[0].SerializeToString()
        assert endpoint.headers[0]["key"] == "s3"


async def test_only_a_share_of_the_batches_is_traced_and_every_checkpoint() -> None:
    async with otlp_endpoint() as endpoint:
        end = tracing.start(Settings(traces_endpoint=endpoint.url, traces_sample=0.0), "detect")
        try:
            for _ in range(20):
                with tracing.records_span("take", "profile", RECORDS), tracing.span("update"):
                    pass
            with tracing.span("checkpoint", agent="profile"):
                pass
        finally:
            await asyncio.to_thread(end)
        assert set(_spans(endpoint)) == {"checkpoint"}


def test_an_endpoint_that_is_down_is_told_once_and_delays_no_stop(caplog: pytest.LogCaptureFixture) -> None:
    end = tracing.start(Settings(traces_endpoint="http://127.0.0.1:9", traces_sample=1.0), "detect")
    for _ in range(1_500):
        with tracing.span("checkpoint"):
            pass
    started = time.monotonic()
    end()
    assert time.monotonic() - started < 5.0
    told = [record.getMessage() for record in caplog.records if "traces are dropped" in record.getMessage()]
    assert len(told) == 1
    assert "DRIFTGAUGE_TRACES_ENDPOINT" in told[0]


def test_a_span_costs_next_to_nothing_while_traces_are_off() -> None:
    def traced() -> None:
        with tracing.records_span("take", "profile", RECORDS):
            pass

    plain = min(timeit.repeat(lambda: sum(range(1_000)), number=1_000, repeat=5))
    assert min(timeit.repeat(traced, number=1_000, repeat=5)) < plain, "less than adding a thousand numbers"
