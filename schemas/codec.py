"""How integers, checksums and origins are written; shared by evidence and snapshots."""

from __future__ import annotations

import zlib
from typing import NamedTuple

import cramjam
import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]
_WIDTHS = (np.dtype("<u1"), np.dtype("<u2"), np.dtype("<u4"), np.dtype("<i8"))
_PLANES = 128
MAX_CELLS = 4_000_000


class CorruptError(Exception):
    """Bytes that are not what was written."""


def encode_counts(counts: Counts) -> bytes:
    """Encode a vector of integers, most of them small: sign last, byte by byte of all of them, then zstd.

    The lowest bytes of all stand together, then the next ones: so a few large integers do not widen the others.

    >>> decode_counts(encode_counts(np.array([0, -3, 70000]))).tolist()
    [0, -3, 70000]
    """
    plain = counts.astype(np.int64)
    folded = ((plain << 1) ^ (plain >> 63)).astype("<u8")
    n_planes = max(1, -(-int(folded.max(initial=0)).bit_length() // 8))
    planes = np.ascontiguousarray(folded.view(np.uint8).reshape(-1, 8)[:, :n_planes].T)
    return bytes((_PLANES + n_planes,)) + compress(planes.tobytes())


def decode_counts(data: bytes) -> Counts:
    """Return the vector written by `encode_counts`, by this release or by one that wrote all in one width.

    Raises
    ------
    CorruptError
        When the bytes are damaged or longer than `MAX_CELLS` integers.
    """
    try:
        if data[0] < _PLANES:
            return np.frombuffer(decompress(data[1:], MAX_CELLS * 8), _WIDTHS[data[0]]).astype(np.int64)
        n_planes = data[0] - _PLANES
        planes = np.frombuffer(decompress(data[1:], MAX_CELLS * 8), np.uint8).reshape(n_planes, -1)
        wide = np.zeros((planes.shape[1], 8), np.uint8)
        wide[:, :n_planes] = planes.T
    except (IndexError, ValueError) as error:
        raise CorruptError(f"counts: {error}") from None
    folded = wide.view("<u8").reshape(-1)
    return (folded >> np.uint64(1)).astype(np.int64) ^ -(folded & np.uint64(1)).astype(np.int64)


def compress(data: bytes) -> bytes:
    """Compress with zstd, level 1."""
    return bytes(cramjam.zstd.compress(data, level=1))


def decompress(data: bytes, limit: int) -> bytes:
    """Decompress zstd data that is at most `limit` bytes long; never takes more memory than that.

    Raises
    ------
    CorruptError
        When the data are damaged or longer.
    """
    size = min(limit, max(1 << 16, 16 * len(data)))
    while True:
        out = bytearray(size)
        try:
            return bytes(memoryview(out)[: cramjam.zstd.decompress_into(data, out)])
        except cramjam.DecompressionError as error:
            if size >= limit:
                raise CorruptError(f"zstd data damaged, or longer than the {limit} bytes allowed: {error}") from None
            size = min(limit, 8 * size)


def crc(data: bytes) -> int:
    """Return the CRC-32 of the bytes."""
    return zlib.crc32(data)


def murmur2(data: bytes) -> int:
    """Return Kafka's murmur2 hash, made positive, as its Java partitioner does.

    Source: Apache Kafka, ``org.apache.kafka.common.utils.Utils.murmur2``.

    >>> murmur2(b"21") & 0xFFFFFFFF == (-973932308) & 0x7FFFFFFF
    True
    """
    m = 0x5BD1E995
    length = len(data)
    h = (0x9747B28C ^ length) & 0xFFFFFFFF
    for i in range(0, length - length % 4, 4):
        k = int.from_bytes(data[i : i + 4], "little") * m & 0xFFFFFFFF
        k = (k ^ (k >> 24)) * m & 0xFFFFFFFF
        h = (h * m & 0xFFFFFFFF) ^ k
    if tail := data[length - length % 4 :]:
        h = (h ^ int.from_bytes(tail, "little")) * m & 0xFFFFFFFF
    h = (h ^ (h >> 13)) * m & 0xFFFFFFFF
    return (h ^ (h >> 15)) & 0x7FFFFFFF


def partition_of(key: str, n_partitions: int) -> int:
    """Return the partition that everything about this key goes to."""
    return murmur2(key.encode()) % n_partitions


ORIGIN_HEADER = "drift-origin"


class Origin(NamedTuple):
    """Which record made a record of ours, and as which of its outputs.

    Origins of one partition are ordered; a consumer skips what is not newer than the last it saw.
    """

    topic: str
    partition: int
    offset: int
    ordinal: int

    def encode(self) -> bytes:
        """Write as ``topic/partition/offset/ordinal``."""
        return "/".join(map(str, self)).encode()

    @classmethod
    def decode(cls, data: bytes) -> Origin:
        """Read what `encode` wrote.

        Raises
        ------
        CorruptError
            When it is anything else.
        """
        try:
            topic, partition, offset, ordinal = data.decode().rsplit("/", 3)
            return cls(topic, int(partition), int(offset), int(ordinal))
        except ValueError:
            raise CorruptError(f"{data[:80]!r} is no origin: topic/partition/offset/ordinal") from None
