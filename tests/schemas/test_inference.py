"""Messages of inference servers, written from their public specifications.

Sources: Open Inference Protocol (REST), KServe V1 and its logger's CloudEvents, TensorFlow Serving REST, Seldon Core's
prediction message and its executor's Kafka headers, CloudEvents 1.0.2 Kafka binding and JSON format.
"""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from schemas.events import Decoded
from schemas.inference import outputs_of, rows_of
from schemas.mapped import MappedDecoder
from schemas.messages import BadMessageError
from schemas.pairing import Pairing
from schemas.records import PlainRecord
from schemas.sources import Mapping, Source
from tests.schemas.rows import T0, encoded, seen

REQUEST, RESPONSE = "org.kubeflow.serving.inference.request", "org.kubeflow.serving.inference.response"
V2_REQUEST: dict[str, Any] = {
    "id": "42",
    "inputs": [
        {"name": "age", "shape": [2], "datatype": "INT64", "data": [41, 35]},
        {"name": "city", "shape": [2, 1], "datatype": "BYTES", "data": ["Lyon", "Oslo"]},
    ],
}
V2_RESPONSE: dict[str, Any] = {
    "model_name": "credit", "model_version": "3", "id": "42",
    "outputs": [
        {"name": "score", "shape": [2, 1], "datatype": "FP32", "data": [[0.25], [0.75]]},
        {"name": "reason", "shape": [2], "datatype": "BYTES", "data": ["a", "b"]},
    ],
}  # fmt: skip
ROWS = [
    {"age": 41.0, "city": "Lyon", "prediction": 0.25},
    {"age": 35.0, "city": "Oslo", "prediction": 0.75},
]


def binary(kind: str, data: Any, identity: str = "ce-1", offset: int = 0, **more: Any) -> PlainRecord:
    """A CloudEvent as the Kafka binding's binary mode writes it."""
    timestamp = more.pop("timestamp", T0 + offset)
    attributes = {
        "specversion": "1.0", "id": identity, "source": "http://localhost:9081/", "type": kind,
        "time": "2026-03-01T12:00:00.250Z", "inferenceservicename": "sklearn-iris", "namespace": "default",
        "component": "predictor", "endpoint": "", **more,
    }  # fmt: skip
    headers = [(f"ce_{name}", str(text).encode()) for name, text in attributes.items() if text is not None]
    return PlainRecord(
        "kserve", 0, offset, timestamp, encoded(data), None, [*headers, ("content-type", b"application/json")]
    )


def structured(kind: str, data: Any, offset: int = 0, *, inline: bool = True) -> PlainRecord:
    """A CloudEvent as one JSON document."""
    body = {"data": data} if inline else {"data_base64": base64.b64encode(encoded(data)).decode()}
    whole = {
        "specversion": "1.0", "id": "ce-1", "source": "/x", "type": kind, "time": "2026-03-01T12:00:00.250Z",
        "datacontenttype": "application/json", "inferenceservicename": "sklearn-iris", **body,
    }  # fmt: skip
    headers = [("content-type", b"application/cloudevents+json; charset=UTF-8")]
    return PlainRecord("kserve", 0, offset, T0 + offset, encoded(whole), None, headers)


def decoder(**changes: Any) -> MappedDecoder:
    """A decoder of open-inference messages for model m."""
    source = msgspec.convert({"topic": "kserve", "format": "open-inference", **changes}, Source)
    mappings = (Mapping("m", 0, 1 << 62, source),)
    return MappedDecoder(lambda: mappings)


def decoded(records: Sequence[PlainRecord], **changes: Any) -> Decoded:
    """What one poll of records gives."""
    return decoder(**changes).decode(records)


def rows(found: Decoded) -> list[dict[str, Any]]:
    """The values of all rows of m."""
    return [row[4] for row in seen(found.batches).get("m", [])]


@pytest.mark.parametrize("inline", [True, False])
def test_a_v2_pair_of_structured_events_is_the_rows_of_both(inline: bool) -> None:
    pair = [structured(REQUEST, V2_REQUEST, inline=inline), structured(RESPONSE, V2_RESPONSE, 1, inline=inline)]
    found = decoded(pair)
    assert rows(found) == ROWS
    assert not found.rejected
    batch = found.batches[0]
    assert (batch.version, batch.ids, batch.offsets.tolist()) == ("3", ["ce-1", "ce-1"], [1, 1])
    assert batch.times.tolist() == [T0 + 250, T0 + 250]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_request_and_response_pair_in_either_order(order: tuple[int, int]) -> None:
    kinds = [(REQUEST, V2_REQUEST), (RESPONSE, V2_RESPONSE)]
    found = decoded([binary(*kinds[which], offset=at) for at, which in enumerate(order)])
    assert rows(found) == ROWS


def test_a_v1_pair_takes_the_names_given() -> None:
    request = {"instances": [[6.8, 2.8, 4.8, 1.4], [6.0, 3.4, 4.5, 1.6]]}
    found = decoded(
        [binary(REQUEST, request), binary(RESPONSE, {"predictions": [1, 2]}, offset=1)],
        feature_names=["sl", "sw", "pl", "pw"],
    )
    assert rows(found) == [
        {"sl": 6.8, "sw": 2.8, "pl": 4.8, "pw": 1.4, "prediction": 1.0},
        {"sl": 6.0, "sw": 3.4, "pl": 4.5, "pw": 1.6, "prediction": 2.0},
    ]


def test_seldons_own_messages_pair_by_request_id_from_headers_without_a_prefix() -> None:
    def seldon(kind: str, data: Any, offset: int) -> PlainRecord:
        headers = {
            "type": f"io.seldon.serving.inference.{kind}", "content-type": "application/json", "modelid": "classifier",
            "requestid": "r-9", "inferenceservicename": "iris", "namespace": "seldon", "endpoint": "default",
        }  # fmt: skip
        encoded_headers = [(name, text.encode()) for name, text in headers.items()]
        return PlainRecord("seldon", 0, offset, T0 + offset, encoded(data), None, encoded_headers)

    request = {"data": {"names": ["a", "b"], "ndarray": [[1, 2], [3, 4]]}}
    response = {
        "data": {"names": ["no", "yes"], "tensor": {"shape": [2, 2], "values": [0.9, 0.1, 0.2, 0.8]}},
        "meta": {},
    }
    found = decoded([seldon("request", request, 0), seldon("response", response, 1)])
    assert [(row["a"], row["prediction"], row["prediction.yes"]) for row in rows(found)] == [
        (1.0, "no", 0.1), (3.0, "yes", 0.8)
    ]  # fmt: skip
    assert found.batches[0].times.tolist() == [T0, T0]


def test_bare_payloads_pair_by_their_own_id_and_one_message_may_hold_both() -> None:
    def bare(value: Any, offset: int) -> PlainRecord:
        return PlainRecord("t", 0, offset, T0 + offset, encoded(value))

    assert rows(decoded([bare(V2_REQUEST, 0), bare(V2_RESPONSE, 1)])) == ROWS
    both = {"id": "x", "time": "2026-03-01T12:00:00Z", "request": V2_REQUEST, "response": V2_RESPONSE}
    found = decoded([bare(both, 0)])
    assert rows(found) == ROWS
    assert (found.batches[0].ids, found.batches[0].times[0]) == (["x", "x"], T0)


def test_fields_may_lead_into_attributes_payloads_and_other_outputs() -> None:
    fields = {"model": "inferenceservicename", "prediction": "outputs.reason[*]", "version": "response.model_name"}
    pair = [binary(REQUEST, V2_REQUEST), binary(RESPONSE, V2_RESPONSE, offset=1)]
    found = decoded(pair, fields=fields, models="all")
    assert [row[1] for row in seen(found.batches)["sklearn-iris"]] == ["credit", "credit"]
    assert [row[4]["prediction"] for row in seen(found.batches)["sklearn-iris"]] == ["a", "b"]


def test_a_request_without_a_response_is_rows_without_a_prediction_once_its_time_has_passed() -> None:
    mine = decoder(pair_timeout_s=60)
    assert not mine.decode([binary(REQUEST, V2_REQUEST)]).batches
    assert mine.n_waiting == 1
    assert not mine.decode([binary(REQUEST, V2_REQUEST, "other", 1, timestamp=T0 + 60_000)]).batches
    found = mine.decode([binary("some.heartbeat", {}, "x", 2, timestamp=T0 + 60_001)])
    assert rows(found) == [{"age": 41.0, "city": "Lyon"}, {"age": 35.0, "city": "Oslo"}]
    assert found.batches[0].offsets.tolist() == [2, 2]


def test_a_response_without_a_request_is_a_dead_letter_of_its_own_offset() -> None:
    mine = decoder()
    mine.decode([binary(RESPONSE, V2_RESPONSE, offset=5)])
    found = mine.decode([binary(REQUEST, V2_REQUEST, "other", 6, timestamp=T0 + 61_000)])
    assert [(bad.offset, bad.about, bad.reason) for bad in found.rejected] == [(6, 5, "unpaired_response")]
    assert not mine.decode([binary(RESPONSE, V2_RESPONSE, offset=7, timestamp=T0 + 61_001)]).batches


def test_an_error_is_told_beside_the_request() -> None:
    found = decoded([binary(REQUEST, V2_REQUEST), binary(RESPONSE, {"error": "no such model"}, offset=1)])
    assert [row["error"] for row in rows(found)] == ["no such model"] * 2
    assert "prediction" not in rows(found)[0]


def test_components_of_a_chain_pair_among_themselves() -> None:
    records = [
        binary(REQUEST, {"instances": [{"raw": 1}]}, component="transformer"),
        binary(REQUEST, {"instances": [{"x": 1}]}, offset=1),
        binary(RESPONSE, {"predictions": [0.5]}, offset=2),
        binary(RESPONSE, {"predictions": ["good"]}, offset=3, component="transformer"),
    ]
    assert rows(decoded(records, where={"component": "predictor"})) == [{"x": 1.0, "prediction": 0.5}]
    assert rows(decoded(records)) == [{"x": 1.0, "prediction": 0.5}, {"raw": 1.0, "prediction": "good"}]


def test_a_cloud_event_of_any_kind_is_read_by_its_fields() -> None:
    record = binary("scored", {"in": {"x": 1}, "out": 0.5})
    fields = {"features": "data.in", "prediction": "data.out", "version": "namespace"}
    found = decoded([record], format="cloudevents", fields=fields)
    assert rows(found) == [{"x": 1.0, "prediction": 0.5}]
    assert (found.batches[0].ids, found.batches[0].times[0]) == (["ce-1"], T0 + 250)
    plain = PlainRecord("t", 0, 3, T0, encoded({"in": {"x": 1}}))
    assert [bad.reason for bad in decoded([plain], format="cloudevents", fields=fields).rejected] == ["no_cloudevent"]


@pytest.mark.parametrize(
    ("request_", "response", "reason", "told"),
    [
        ({"inputs": [{"name": "x", "shape": [2], "data": [1]}]}, V2_RESPONSE, "wrong_type", "shape [2]"),
        ({"inputs": [{"shape": [1], "data": [1]}]}, V2_RESPONSE, "missing_field", "name"),
        ({"inputs": [{"name": "x", "shape": [1]}]}, V2_RESPONSE, "missing_field", "data"),
        (
            {"inputs": [{"name": "x", "shape": [1], "parameters": {"binary_data_size": 4}}]},
            V2_RESPONSE, "binary_tensor", "JSON",
        ),
        (
            {"inputs": [{"name": n, "shape": [k], "data": [1] * k} for n, k in (("x", 1), ("y", 2))]},
            V2_RESPONSE, "unequal_lengths", "[1, 2]",
        ),
        ({"inputs": [{"name": "i", "shape": [1, 3000], "data": [0] * 3000}]}, V2_RESPONSE, "too_many_features", "3000"),
        (V2_REQUEST, {"predictions": [1]}, "unequal_lengths", "2 rows were asked, 1 answered"),
        (V2_REQUEST, {"what": 1}, "missing_field", "predictions"),
        (V2_REQUEST, [], "wrong_type", "response"),
    ],
)  # fmt: skip
def test_payloads_that_do_not_fit_say_why(request_: Any, response: Any, reason: str, told: str) -> None:
    found = decoded([binary(REQUEST, request_), binary(RESPONSE, response, offset=1)])
    assert not found.batches
    assert [(bad.offset, bad.reason) for bad in found.rejected] == [(1, reason)]
    assert told in found.rejected[0].detail


def test_tensors_and_columns_of_several_shapes() -> None:
    nested = {"inputs": [{"name": "x", "shape": [2, 1, 2], "data": [[[1, 2]], [[3, 4]]]}]}
    assert rows_of(nested) == [{"x[0]": 1, "x[1]": 2}, {"x[0]": 3, "x[1]": 4}]
    assert rows_of({"inputs": {"a": [1, 2], "b": ["x", "y"]}}) == [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]
    assert rows_of({"instances": [5, 6]}, ["x"]) == [{"x": 5}, {"x": 6}]
    assert rows_of({"inputs": []}) == []
    assert outputs_of({"outputs": {"p": [[0.5]]}}) == {"p": [0.5]}
    with pytest.raises(BadMessageError):
        rows_of({"inputs": [{"name": "x", "shape": [2], "data": [[1], 2]}]})


def _traffic(seed: int) -> list[PlainRecord]:
    """Pairs in disorder, some halves missing, some repeated, some broken, over several time-outs."""
    rng = random.Random(seed)
    made: list[tuple[str, Any, str]] = []
    for number in range(120):
        request = (REQUEST, {"instances": [{"x": number, "c": "ab"[number % 2]}]}, f"r{number}")
        response = (RESPONSE, {"predictions": [number / 10]}, f"r{number}")
        made += [half for half in (request, response) if rng.random() > 0.15]
        if rng.random() < 0.1:
            made.append(request)
        if rng.random() < 0.1:
            made.append((REQUEST, "broken", "b"))
    for place in range(len(made) - 1):
        if rng.random() < 0.4:
            made[place], made[place + 1] = made[place + 1], made[place]
    return [binary(*one, offset=at, timestamp=T0 + at * 700 - rng.randint(0, 900)) for at, one in enumerate(made)]


@pytest.mark.parametrize("seed", range(5))
def test_neither_batching_nor_a_crash_changes_what_is_paired(seed: int) -> None:
    records = _traffic(seed)

    def outcome(n_records: int, *, crash: bool) -> list[str]:
        mine = decoder(pair_timeout_s=5)
        found: list[str] = []
        for start in range(0, len(records), n_records):
            if crash:
                state, mine = mine.encode(), decoder(pair_timeout_s=5)
                mine.restore(state)
            made = mine.decode(records[start : start + n_records])
            found += [str(row) for row in seen(made.batches).get("m", [])]
            found += map(str, made.rejected)
        return sorted(found)

    once = outcome(len(records), crash=False)
    assert len(once) > 100
    assert outcome(1, crash=False) == once
    assert outcome(7, crash=True) == once


def test_what_waits_is_bounded_by_number_and_bytes() -> None:
    pairing = Pairing(1 << 40, max_waiting=3, max_bytes=200)
    settled: list[Any] = []
    for number in range(5):
        settled += pairing.add(str(number), {"n": number}, request=True, offset=number)
    assert ([one.offset for one in settled], pairing.n_waiting) == ([0, 1], 3)
    settled = list(pairing.add("large", {"text": "x" * 250}, request=True, offset=9))
    assert [one.offset for one in settled] == [2, 3, 4, 9]
    assert pairing.n_waiting == 0


@pytest.mark.parametrize("message", [{"n": 1 << 70}, {"text": "\ud800"}, {"f": float("inf"), "n": None}])
def test_what_json_may_hold_waits_unchanged(message: Any) -> None:
    pairing = Pairing(1)
    assert not list(pairing.add("a", message, request=True, offset=0))
    again = Pairing(1)
    again.restore(pairing.encode())
    (settled,) = again.add("a", {}, request=False, offset=1)
    assert settled.request == message


def test_any_json_is_rows_or_a_reason() -> None:
    rng = random.Random(3)

    def value(depth: int) -> Any:
        kinds = [None, True, 1, 2.5, "x", -1]
        if depth == 0 or rng.random() < 0.3:
            return rng.choice(kinds)
        if rng.random() < 0.5:
            return [value(depth - 1) for _ in range(rng.randint(0, 3))]
        names = ["inputs", "instances", "outputs", "predictions", "data", "name", "shape", "ndarray", "tensor", "error"]
        return {rng.choice(names): value(depth - 1) for _ in range(rng.randint(0, 3))}

    for _ in range(3_000):
        payload, answer = value(5), value(5)
        pair = [binary(REQUEST, payload), binary(RESPONSE, answer, offset=1)]
        found = decoded(pair)
        assert found.batches or found.rejected or not json.dumps(payload) or _empty(payload)


def _empty(payload: Any) -> bool:
    """Whether a request asks for no rows."""
    try:
        return not rows_of(payload)
    except BadMessageError:
        return False
