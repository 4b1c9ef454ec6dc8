"""Counts, checksums, origins and partitions are what the other side expects."""

from __future__ import annotations

import json
import uuid

import numpy as np
import pytest
from confluent_kafka import Message, Producer
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from schemas.codec import (
    CorruptError,
    Origin,
    compress,
    decode_counts,
    decompress,
    encode_counts,
    murmur2,
    partition_of,
)
from tests.brokers import Embedded, unique

INT64 = st.integers(-(2**63), 2**63 - 1)


@settings(deadline=None)
@given(
    st.one_of(
        arrays(np.int64, st.integers(0, 300), elements=INT64),
        arrays(np.int64, st.integers(0, 300), elements=st.integers(0, 300)),
        arrays(np.int64, st.integers(0, 300), elements=st.integers(0, 2**33)),
    )
)
def test_counts_come_back_as_they_were(counts: np.ndarray[tuple[int], np.dtype[np.int64]]) -> None:
    decoded = decode_counts(encode_counts(counts))
    assert decoded.dtype == np.int64
    assert decoded.tolist() == counts.tolist()


@pytest.mark.parametrize("edge", [2**8 - 1, 2**8, 2**16 - 1, 2**16, 2**32 - 1, 2**32, 2**63 - 1, -1, -(2**63)])
def test_counts_at_the_edges_of_every_width_come_back(edge: int) -> None:
    assert decode_counts(encode_counts(np.array([0, edge]))).tolist() == [0, edge]


@settings(deadline=None)
@given(st.binary(max_size=60))
def test_bytes_that_are_no_counts_are_corrupt_and_nothing_else(junk: bytes) -> None:
    good = encode_counts(np.arange(1_000))
    for data in (junk, junk[:1] + good[1:], good[: len(junk)], good[:-1], bytes([9]) + good[1:]):
        try:
            decoded = decode_counts(data)
        except CorruptError:
            continue
        assert decoded.dtype == np.int64


def test_a_damaged_vector_of_counts_is_refused() -> None:
    good = encode_counts(np.arange(1_000))
    for data in (b"", good[:-1], b"\x07" + good[1:], good[:1]):
        with pytest.raises(CorruptError):
            decode_counts(data)


@settings(deadline=None)
@given(st.binary(max_size=5_000))
def test_what_is_compressed_comes_back(data: bytes) -> None:
    assert decompress(compress(data), max(len(data), 1)) == data


def test_data_that_would_outgrow_the_limit_are_refused_however_small_they_came() -> None:
    bomb = compress(bytes(50_000_000))
    assert len(bomb) < 10_000
    assert len(decompress(bomb, 50_000_000)) == 50_000_000
    with pytest.raises(CorruptError, match="49999999"):
        decompress(bomb, 49_999_999)


JAVA = {
    "21": -973932308,
    "foobar": -790332482,
    "a-little-bit-long-string": -985981536,
    "a-little-bit-longer-string": -1486304829,
    "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    "abc": 479470107,
}
"""Of the Java client's own tests."""


@pytest.mark.parametrize(("text", "hash_"), JAVA.items())
def test_murmur2_is_that_of_the_java_client(text: str, hash_: int) -> None:
    assert murmur2(text.encode()) == hash_ & 0x7FFFFFFF


def test_partitions_are_those_of_librdkafkas_java_compatible_partitioner(shared_embedded_broker: Embedded) -> None:
    keys = ["credit-risk", "m", "modèle", "日本", *(str(uuid.UUID(int=n * 7919)) for n in range(60)), "x" * 333]
    n_partitions = 7
    topic = unique("partitions")
    shared_embedded_broker.create_topics({topic: n_partitions})
    landed: dict[bytes, int] = {}

    def delivered(error: object, message: Message) -> None:
        assert error is None
        key, partition = message.key(), message.partition()
        assert isinstance(key, bytes)
        assert partition is not None
        landed[key] = partition

    servers = shared_embedded_broker.bootstrap_servers
    producer = Producer({"bootstrap.servers": servers, "partitioner": "murmur2", "log_level": 0})
    for key in keys:
        producer.produce(topic, b"", key.encode(), on_delivery=delivered)
    assert producer.flush(20) == 0
    assert landed == {key.encode(): partition_of(key, n_partitions) for key in keys}
    assert len(set(landed.values())) == n_partitions


@given(st.text(st.characters(codec="utf-8"), min_size=1), INT64, INT64, INT64)
def test_origins_come_back_as_they_were(topic: str, partition: int, offset: int, ordinal: int) -> None:
    origin = Origin(topic, partition, offset, ordinal)
    assert Origin.decode(origin.encode()) == origin


@given(st.lists(st.tuples(st.integers(0, 10**12), st.integers(0, 99)), min_size=2, max_size=2))
def test_origins_of_a_partition_are_ordered_by_offset_and_ordinal(places: list[tuple[int, int]]) -> None:
    first, second = places
    assert (Origin("t", 0, *first) < Origin("t", 0, *second)) == (first < second)


@pytest.mark.parametrize("data", [b"", b"t/1/2", b"t/1/2/x", b"t/1//3", b"\xff/1/2/3", json.dumps({}).encode()])
def test_what_is_no_origin_is_corrupt(data: bytes) -> None:
    with pytest.raises(CorruptError, match="is no origin"):
        Origin.decode(data)
