"""Forwarding to the real Phoenix: what the real SDK makes arrives, and poison harms no neighbour."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import aiohttp
import pytest
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from schemas.sanitised import KIND
from schemas.spans import encode
from streams.sinks.otlp import OtlpForwarder, SpansRejected
from tests.schemas.otlp import request, span
from tests.sinks.phoenix import phoenix_server

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
PROJECT = "openinference.project.name"


@pytest.fixture(scope="module")
def phoenix(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with phoenix_server(tmp_path_factory.mktemp("phoenix")) as url:
        yield url


async def stored(url: str, project: str, n_expected: int, deadline_s: float = 60.0) -> list[dict[str, Any]]:
    """Return the spans of a project once there are as many as expected, or when the deadline has passed."""
    spans: list[dict[str, Any]] = []
    end = asyncio.get_running_loop().time() + deadline_s
    async with aiohttp.ClientSession() as session:
        while len(spans) < n_expected and asyncio.get_running_loop().time() < end:
            async with session.get(f"{url}/v1/projects/{project}/spans", params={"limit": 1000}) as answer:
                if answer.status != 404:  # a project is there after its first span
                    assert answer.status == 200
                    spans = (await answer.json())["data"]
            await asyncio.sleep(0.1)  # between two looks; the deadline above ends it
    return spans


async def test_spans_of_the_real_sdk_are_read_back_from_phoenix(phoenix: str) -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(resource=Resource.create({"service.name": "app", PROJECT: "sdk"}))
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("tests")
    with tracer.start_as_current_span("chain", attributes={KIND: "CHAIN"}):
        for n in range(3):
            tokens: dict[str, str | int] = {"llm.model_name": "small", "llm.token_count.prompt": 10 + n}
            with tracer.start_as_current_span(f"call {n}", attributes={KIND: "LLM", "input.value": "hi", **tokens}):
                pass
    provider.shutdown()
    made = exporter.get_finished_spans()
    async with OtlpForwarder(phoenix) as forwarder:
        for _ in range(2):  # sending again changes nothing
            assert await forwarder.forward(encode_spans(made).SerializeToString(), "application/x-protobuf") == 4
    found = {one["name"]: one for one in await stored(phoenix, "sdk", 4)}
    assert set(found) == {"chain", "call 0", "call 1", "call 2"}
    for one in made:
        assert one.context is not None
        assert found[one.name]["context"]["span_id"] == f"{one.context.span_id:016x}"
        assert found[one.name]["context"]["trace_id"] == f"{one.context.trace_id:032x}"
    assert {one["parent_id"] for name, one in found.items() if name != "chain"} == {
        found["chain"]["context"]["span_id"]
    }
    assert found["call 2"]["span_kind"] == "LLM"
    assert found["call 2"]["attributes"]["llm.token_count.prompt"] == 12


async def test_poison_harms_no_neighbour_in_phoenix(phoenix: str) -> None:
    def attributes(key: str, **value: Any) -> list[KeyValue]:
        return [KeyValue(key=key, value=AnyValue(**value))]

    listed = ArrayValue(values=[AnyValue(string_value="LLM")])
    made = request(
        span(101),
        span(102, attributes=attributes("input.value", bytes_value=b"\xff\x00")),
        span(103, attributes=attributes(".".join(["deep"] * 600), int_value=1)),
        span(104, attributes=attributes(KIND, array_value=listed)),
        span(105, trace_id=b"short"),
        span(106, end_time_unix_nano=1, name="nul\0 in the name"),
        span(107),
    )
    made.resource_spans[0].resource.attributes.add(key=PROJECT).value.string_value = "poison"
    async with OtlpForwarder(phoenix) as forwarder:
        with pytest.raises(SpansRejected) as raised:
            await forwarder.forward(encode(made))
    assert [one.span_id for one in raised.value.spans] == [f"{105:016x}"]
    found = {one["context"]["span_id"] for one in await stored(phoenix, "poison", 6)}
    assert found == {f"{n:016x}" for n in (101, 102, 103, 104, 106, 107)}
