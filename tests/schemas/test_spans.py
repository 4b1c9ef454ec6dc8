"""Spans: either encoding decodes to the same, and what poisons a trace store is made harmless."""

from __future__ import annotations

import json
from typing import Any

import pytest
from google.protobuf.json_format import MessageToJson
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList

from schemas.parsing import BadMessageError
from schemas.sanitised import KIND, MAX_DEPTH, TOO_DEEP, sanitise
from schemas.spans import decode, encode, halves, located
from tests.schemas.otlp import START_NS, json_request, request, requests, span


def attribute(key: str, **value: Any) -> KeyValue:
    return KeyValue(key=key, value=AnyValue(**value))


def nested(n_lists: int, key: str = "k") -> AnyValue:
    """Return lists in lists; protobuf itself ends at about 30 of them."""
    value = AnyValue(string_value="bottom")
    for _ in range(n_lists):
        value = AnyValue(kvlist_value=KeyValueList(values=[KeyValue(key=key, value=value)]))
    return value


def test_protobuf_decodes_to_what_was_encoded() -> None:
    original = requests(7)
    for content_type in (None, "application/x-protobuf", "application/octet-stream"):
        assert decode(encode(original), content_type=content_type) == original


def test_ids_in_json_are_hex() -> None:
    (one,) = located(decode(json_request()))
    assert one.span.trace_id.hex() == "0af7651916cd43dd8448eb211c80319c"
    assert one.span.span_id.hex() == "b7ad6b7169203331"
    assert one.span.parent_span_id.hex() == "00f067aa0ba902b7"
    assert one.span.links[0].span_id.hex() == "eee19b7ec3c1b174"
    assert (one.span.start_time_unix_nano, one.span.kind) == (START_NS, 3)
    assert one.span.attributes[1].value.int_value == 12


def test_json_written_by_protobufs_own_mapping_is_understood_too() -> None:
    original = requests(3)
    assert decode(MessageToJson(original).encode()) == original
    assert decode(MessageToJson(original, preserving_proto_field_name=True).encode()) == original


def test_json_is_found_by_header_or_first_byte() -> None:
    expected = decode(json_request())
    assert decode(json_request(), content_type="application/json; charset=utf-8") == expected
    assert decode(b"\n  " + json_request()) == expected


def test_an_empty_message_is_a_request_without_spans() -> None:
    assert list(located(decode(b""))) == []


@pytest.mark.parametrize(
    ("value", "content_type", "reason"),
    [
        (b"nonsense", None, "not_otlp"),
        (encode(requests(3))[:-4], None, "not_otlp"),
        (b"{", None, "not_json"),
        (b"{}", None, "not_otlp"),
        (b'{"resourceSpans": 7}', None, "not_otlp"),
        (b'{"resourceSpans": [{"scopeSpans": [{"spans": [7]}]}]}', None, "not_otlp"),
        (b"[" * 100_000, "application/json", "not_json"),
        (b'{"resourceSpans":' + b"[" * 500 + b"]" * 500 + b"}", None, "not_otlp"),
        (b"\xff\xfe{", "application/json", "not_json"),
        (b"{}", "application/xml", "unknown_content_type"),
    ],
)
def test_what_is_no_request_has_a_reason(value: bytes, content_type: str | None, reason: str) -> None:
    with pytest.raises(BadMessageError) as raised:
        decode(value, content_type=content_type)
    assert raised.value.args[0] == reason
    assert "secret" not in raised.value.args[1]


@settings(deadline=None)
@given(st.binary(max_size=300), st.integers(0, 400), st.integers(0, 255))
def test_no_bytes_raise_anything_else(junk: bytes, position: int, byte: int) -> None:
    for good in (json_request(), encode(requests(3))):
        changed = bytearray(good)
        changed[position % len(changed)] = byte
        for value in (junk, bytes(changed)):
            try:
                decoded = decode(value)
            except BadMessageError:
                continue
            sanitise(decoded)
            decode(encode(decoded))


@settings(deadline=None)
@given(st.integers(0, 12))
def test_halves_hold_every_span_once_under_its_own_resource(n_spans: int) -> None:
    original = requests(n_spans)
    first, second = halves(original)
    parts = [*located(first), *located(second)]
    assert [(one.resource, one.scope, one.span) for one in parts] == [
        (one.resource, one.scope, one.span) for one in located(original)
    ]
    assert abs(len(list(located(first))) - len(list(located(second)))) <= 1


def test_good_spans_are_left_exactly_as_they_are() -> None:
    made = request(
        span(1, attributes=[attribute(KIND, string_value="LLM"), attribute("a.b", double_value=1.5)]),
        span(2, parent_span_id=bytes([1]) * 8, attributes=[KeyValue(key="deep", value=nested(10))]),
    )
    before = encode(made)
    assert sanitise(made) == []
    assert encode(made) == before


@pytest.mark.parametrize(
    ("fields", "which"),
    [
        ({"trace_id": b""}, "trace id"),
        ({"trace_id": bytes(16)}, "trace id"),
        ({"trace_id": b"short"}, "trace id"),
        ({"span_id": b""}, "span id"),
        ({"span_id": bytes(8)}, "span id"),
        ({"span_id": b"x" * 9}, "span id"),
    ],
)
def test_a_span_without_usable_ids_is_taken_out_and_its_neighbours_stay(fields: dict[str, Any], which: str) -> None:
    made = request(span(1), span(2, **fields), span(3))
    (dropped,) = sanitise(made)
    assert dropped.reason.startswith(which)
    assert [one.span.name for one in located(made)] == ["call 1", "call 3"]


def test_a_bad_hex_id_costs_its_span_only() -> None:
    made = decode(json_request(traceId="not hex", spanId=7))
    assert len(sanitise(made)) == 1
    assert list(located(made)) == []


def test_a_bad_parent_or_link_is_removed() -> None:
    made = request(span(1, parent_span_id=b"abc"))
    made.resource_spans[0].scope_spans[0].spans[0].links.add(trace_id=b"x", span_id=b"y")
    made.resource_spans[0].scope_spans[0].spans[0].links.add(trace_id=b"x" * 16, span_id=b"y" * 8)
    assert sanitise(made) == []
    (one,) = located(made)
    assert one.span.parent_span_id == b""
    assert [link.span_id for link in one.span.links] == [b"y" * 8]


def test_an_end_before_the_start_becomes_the_start() -> None:
    made = request(span(1, end_time_unix_nano=5))
    sanitise(made)
    (one,) = located(made)
    assert one.span.end_time_unix_nano == START_NS


def test_bytes_become_text_wherever_they_are() -> None:
    made = request(
        span(1, attributes=[attribute("input.value", bytes_value=b"hi"), attribute("b", bytes_value=b"\xff")])
    )
    listed = ArrayValue(values=[AnyValue(bytes_value=b"in a list")])
    made.resource_spans[0].resource.attributes.append(attribute("r", array_value=listed))
    made.resource_spans[0].scope_spans[0].scope.attributes.append(attribute("s", bytes_value=b"scope"))
    made.resource_spans[0].scope_spans[0].spans[0].events.add(attributes=[attribute("e", bytes_value=b"event")])
    sanitise(made)
    (one,) = located(made)
    assert [one.value.string_value for one in one.span.attributes] == ["hi", "/w=="]
    assert one.resource.attributes[1].value.array_value.values[0].string_value == "in a list"
    assert one.scope.attributes[0].value.string_value == "scope"
    assert one.span.events[0].attributes[0].value.string_value == "event"


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (AnyValue(string_value="LLM"), "LLM"),
        (AnyValue(array_value=ArrayValue(values=[AnyValue(string_value="TOOL")])), "TOOL"),
        (AnyValue(array_value=ArrayValue()), "UNKNOWN"),
        (AnyValue(int_value=3), "UNKNOWN"),
        (AnyValue(), "UNKNOWN"),
    ],
)
def test_a_span_kind_is_always_text(value: AnyValue, kind: str) -> None:
    made = request(span(1, attributes=[KeyValue(key=KIND, value=value)]))
    sanitise(made)
    (one,) = located(made)
    assert one.span.attributes[0].value == AnyValue(string_value=kind)


def test_keys_and_values_end_at_the_depth_a_store_survives() -> None:
    key = ".".join(["a"] * 600)
    made = request(span(1, attributes=[attribute(key, int_value=1), KeyValue(key="v", value=nested(20, "k.k"))]))
    sanitise(made)
    (one,) = located(made)
    assert one.span.attributes[0].key.count(".") == MAX_DEPTH - 1
    assert one.span.attributes[0].key.replace("_", ".") == key
    value, depth = one.span.attributes[1].value, 1
    while value.WhichOneof("value") == "kvlist_value":
        inner = value.kvlist_value.values[0]
        value, depth = inner.value, depth + 1 + inner.key.count(".")
    assert (value.string_value, depth) == (TOO_DEEP, MAX_DEPTH)


def test_long_text_is_cut_and_nul_is_replaced() -> None:
    made = request(span(1, name="n" * 50, attributes=[attribute("t", string_value="a\0b" + "c" * 50)]))
    sanitise(made, max_text=10)
    (one,) = located(made)
    assert one.span.name == "n" * 10
    assert one.span.attributes[0].value.string_value == "a\ufffdb" + "c" * 7


def test_a_number_json_cannot_hold_does_not_break_its_request() -> None:
    value = json.loads(json_request(attributes=[{"key": "x", "value": {"doubleValue": "NaN"}}]))
    assert len(list(located(decode(json.dumps(value).encode())))) == 1
