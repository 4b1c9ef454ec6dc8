"""Rows as the bodies of insert requests: Arrow streams of bounded size, compressed when that pays."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Iterator

import cramjam
import pyarrow as pa

ROWS_PER_INSERT = 100_000
BYTES_PER_INSERT = 32_000_000
COMPRESSED_FROM_BYTES = 64_000


def parts(rows: pa.Table) -> Iterator[pa.Table]:
    """Yield the rows in pieces of bounded size; the same rows are always cut in the same places."""
    if rows.num_rows > ROWS_PER_INSERT or (rows.nbytes > BYTES_PER_INSERT and rows.num_rows > 1):
        half = rows.num_rows // 2
        yield from parts(rows.slice(0, half))
        yield from parts(rows.slice(half))
    elif rows.num_rows:
        yield rows


def encode(rows: pa.Table, schema: pa.Schema) -> tuple[bytes, str | None, str]:
    """Return (body, its compression, digest of the rows)."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema) as stream:
        stream.write_batch(rows.combine_chunks().to_batches()[0])
    body = sink.getvalue().to_pybytes()
    digest = hashlib.blake2b(body, digest_size=12).hexdigest()
    if len(body) < COMPRESSED_FROM_BYTES:
        return body, None, digest
    return bytes(cramjam.zstd.compress(body, level=1)), "zstd", digest


async def once(body: bytes) -> AsyncIterator[bytes]:
    """Yield the body: a request whose body is an iterator is not repeated by the client library."""
    yield body
