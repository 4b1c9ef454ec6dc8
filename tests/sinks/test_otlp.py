"""Forwarding spans: to an endpoint that misbehaves, and to the real Phoenix."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from http import HTTPStatus

import pytest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

from schemas.spans import encode, located
from streams.sinks.errors import SinkMisconfigured
from streams.sinks.otlp import OtlpForwarder, SpansRejected
from tests.schemas.otlp import json_request, request, requests, span
from tests.sinks.otlp_server import Endpoint, otlp_endpoint

Told = list[tuple[str, float]]


@pytest.fixture
async def endpoint() -> AsyncIterator[Endpoint]:
    async with otlp_endpoint() as server:
        yield server


@pytest.fixture
def told() -> Told:
    return []


@pytest.fixture
async def forwarder(endpoint: Endpoint, told: Told) -> AsyncIterator[OtlpForwarder]:
    async with OtlpForwarder(
        f"{endpoint.url}/v1/traces",
        {"authorization": "Bearer SECRET"},
        on_retry=lambda reason, wait_s: told.append((reason, wait_s)),
        timeout_s=2.0,
        first_wait_s=0.005,
        max_wait_s=0.01,
    ) as open_forwarder:
        yield open_forwarder


async def test_a_request_arrives_whole_compressed_and_with_the_exact_content_type(
    endpoint: Endpoint, forwarder: OtlpForwarder
) -> None:
    original = requests(10)
    assert await forwarder.forward(encode(original), "application/x-protobuf") == 10
    assert endpoint.requests == [original]
    (headers,) = endpoint.headers
    assert headers["Content-Type"] == "application/x-protobuf"
    assert headers["Content-Encoding"] == "gzip"
    assert headers["authorization"] == "Bearer SECRET"


async def test_json_arrives_as_protobuf_with_the_same_ids(endpoint: Endpoint, forwarder: OtlpForwarder) -> None:
    assert await forwarder.forward(json_request(), "application/json") == 1
    (one,) = located(endpoint.requests[0])
    assert one.span.trace_id.hex() == "0af7651916cd43dd8448eb211c80319c"


async def test_a_url_without_a_path_gets_the_usual_one(endpoint: Endpoint) -> None:
    async with OtlpForwarder(endpoint.url) as forwarder:
        assert await forwarder.forward(encode(requests(1))) == 1
    assert endpoint.names == ["call 1"]


async def test_a_request_without_spans_is_not_sent(endpoint: Endpoint, forwarder: OtlpForwarder) -> None:
    assert await forwarder.forward(b"") == 0
    assert endpoint.n_requests == 0


async def test_what_is_temporary_is_repeated_and_told(endpoint: Endpoint, forwarder: OtlpForwarder, told: Told) -> None:
    endpoint.planned += [(503, {}), (500, {}), (429, {"Retry-After": "0.02"}), "cut", "slow"]
    assert await forwarder.forward(encode(requests(2))) == 2
    assert [reason for reason, _ in told] == [
        "503 as planned",
        "500 as planned",
        "429 as planned",
        "connection failed: ServerDisconnectedError",
        "no answer within 2 s",
    ]
    assert told[2][1] == 0.02
    assert endpoint.requests[-1] == requests(2)


async def test_nobody_listening_is_repeated_until_somebody_does(told: Told) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    enough = asyncio.Event()

    def tell(reason: str, wait_s: float) -> None:
        told.append((reason, wait_s))
        if len(told) == 3:
            enough.set()

    async with OtlpForwarder(
        f"http://127.0.0.1:{port}", on_retry=tell, first_wait_s=0.005, max_wait_s=0.01
    ) as forwarder:
        sending = asyncio.create_task(forwarder.forward(encode(requests(1))))
        await asyncio.wait_for(enough.wait(), 10)
        assert not sending.done()
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
    assert {reason for reason, _ in told} == {"connection failed: ClientConnectorError"}


@pytest.mark.parametrize("status", [400, 413, 415, 422])
@pytest.mark.parametrize("poison", [{1}, {20}, {7, 8}, {1, 10, 11, 20}])
async def test_refused_spans_are_found_and_all_others_arrive(
    endpoint: Endpoint, forwarder: OtlpForwarder, status: int, poison: set[int]
) -> None:
    endpoint.poison, endpoint.poison_status = {f"call {n}" for n in poison}, status
    with pytest.raises(SpansRejected) as raised:
        await forwarder.forward(encode(requests(20)))
    rejected = raised.value
    assert {one.span_id for one in rejected.spans} == {n.to_bytes(8, "big").hex() for n in poison}
    assert {one.trace_id for one in rejected.spans} == {n.to_bytes(16, "big").hex() for n in poison}
    assert {one.reason for one in rejected.spans} == {f"{status} {HTTPStatus(status).phrase}"}
    assert str(rejected).startswith(f"{len(poison)} of 20 spans can never be sent: ")
    for dropped in rejected.spans:
        assert f"{dropped.trace_id}/{dropped.span_id} ({status} " in str(rejected)
    assert (rejected.reason, rejected.n_delivered) == ("refused", 20 - len(poison))
    assert sorted(endpoint.names) == sorted(f"call {n}" for n in set(range(1, 21)) - poison)
    for one in (one for taken in endpoint.requests for one in located(taken)):
        service = one.resource.attributes[0].value.string_value
        assert service == f"app-{int(one.span.name.split()[1]) % 3}"


async def test_finding_one_refused_span_takes_few_requests(endpoint: Endpoint, forwarder: OtlpForwarder) -> None:
    endpoint.poison = {"call 100"}
    with pytest.raises(SpansRejected):
        await forwarder.forward(encode(requests(256)))
    assert endpoint.n_requests <= 17  # one, and two for each halving


async def test_a_rejection_of_many_names_the_first_and_quotes_no_answer(
    endpoint: Endpoint, forwarder: OtlpForwarder
) -> None:
    endpoint.poison = {f"call {n}" for n in range(1, 31)}
    with pytest.raises(SpansRejected, match=r"30 of 30 spans .* and 22 more$") as raised:
        await forwarder.forward(encode(requests(30)))
    assert "refused" not in str(raised.value)
    assert len(raised.value.spans) == 30


async def test_a_failure_amid_the_search_loses_nothing(endpoint: Endpoint, forwarder: OtlpForwarder) -> None:
    endpoint.poison = {"call 3"}
    endpoint.planned += [(422, {}), (503, {}), "cut", (503, {})]
    with pytest.raises(SpansRejected) as raised:
        await forwarder.forward(encode(requests(8)))
    assert [one.span_id for one in raised.value.spans] == ["0000000000000003"]
    assert set(endpoint.names) == {f"call {n}" for n in range(1, 9)} - {"call 3"}


async def test_spans_without_ids_are_named_after_the_others_have_arrived(
    endpoint: Endpoint, forwarder: OtlpForwarder
) -> None:
    with pytest.raises(SpansRejected) as raised:
        await forwarder.forward(encode(request(span(1), span(2, trace_id=b""), span(3))))
    assert (raised.value.reason, raised.value.n_delivered) == ("bad_ids", 2)
    assert [one.span_id for one in raised.value.spans] == ["0000000000000002"]
    assert endpoint.names == ["call 1", "call 3"]


async def test_what_is_no_otlp_is_rejected_without_a_request(endpoint: Endpoint, forwarder: OtlpForwarder) -> None:
    with pytest.raises(SpansRejected) as raised:
        await forwarder.forward(b"nonsense")
    assert (raised.value.reason, raised.value.spans, raised.value.n_delivered) == ("not_otlp", [], 0)
    assert endpoint.n_requests == 0


async def test_poison_is_made_harmless_before_it_is_sent(endpoint: Endpoint, forwarder: OtlpForwarder) -> None:
    poisonous = span(1, attributes=[KeyValue(key="input.value", value=AnyValue(bytes_value=b"hi"))])
    assert await forwarder.forward(encode(request(poisonous))) == 1
    (one,) = located(endpoint.requests[0])
    assert one.span.attributes[0].value.string_value == "hi"


async def test_an_endpoint_without_gzip_is_learned_once(endpoint: Endpoint, forwarder: OtlpForwarder) -> None:
    endpoint.takes_gzip = False
    for _ in range(2):
        assert await forwarder.forward(encode(requests(1))) == 1
    assert ["Content-Encoding" in headers for headers in endpoint.headers] == [True, False, False]


@pytest.mark.parametrize(("status", "headers"), [(401, {}), (403, {}), (404, {}), (307, {"Location": "/v1/traces"})])
async def test_wrong_credentials_or_paths_reject_no_spans(
    endpoint: Endpoint, forwarder: OtlpForwarder, status: int, headers: dict[str, str]
) -> None:
    endpoint.planned.append((status, headers))
    with pytest.raises(SinkMisconfigured, match=f"answered {status} as planned; check its URL and headers") as raised:
        await forwarder.forward(encode(requests(1)))
    assert endpoint.n_requests == 1
    assert "SECRET" not in str(raised.value) + repr(forwarder)


async def test_a_partial_refusal_is_counted(endpoint: Endpoint, forwarder: OtlpForwarder) -> None:
    endpoint.partly_refused = 2
    await forwarder.forward(encode(requests(5)))
    assert forwarder.n_partly_refused == 2


@pytest.mark.parametrize("endpoint_url", ["", "127.0.0.1:4318", "grpc://host:4317", "http://"])
def test_an_endpoint_that_cannot_be_one_is_refused(endpoint_url: str) -> None:
    with pytest.raises(ValueError, match="OTLP endpoint has to begin with http"):
        OtlpForwarder(endpoint_url)


def test_secrets_in_the_url_are_not_shown() -> None:
    forwarder = OtlpForwarder("https://user:SECRET@collector.example:4318/v1/traces?token=SECRET")
    assert repr(forwarder) == "OtlpForwarder('collector.example:4318/v1/traces')"
