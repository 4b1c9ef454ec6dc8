"""Control records: versioned baselines and monitors, and which is effective from when.

They live in the compacted topics of baselines and monitors. A large baseline is cut in chunks;
it is complete with the last.
"""

from __future__ import annotations

import msgspec

from schemas.codec import CorruptError, compress, crc, decompress

CHUNK_BYTES = 900_000
MAX_BASELINE_BYTES = 200_000_000


class Chunk(msgspec.Struct, frozen=True, tag="chunk"):
    """One piece of a compressed baseline; `checksum` is of the whole."""

    baseline_id: str
    index: int
    n_chunks: int
    checksum: int
    data: bytes


class Effective(msgspec.Struct, frozen=True, tag="effective"):
    """From this event time on, windows of the model are counted and judged under this baseline.

    `sequence` numbers the decisions about a model: the latest holds from its time on, whatever starts after it.
    """

    model: str
    baseline_id: str
    effective_from: int
    sequence: int = 0


Control = Chunk | Effective

encode = msgspec.msgpack.Encoder().encode
decode = msgspec.msgpack.Decoder(Control).decode


def chunks(baseline_id: str, data: bytes) -> list[tuple[str, bytes]]:
    """Return (key, value) of the records that carry an encoded baseline."""
    packed = compress(data)
    pieces = [packed[i : i + CHUNK_BYTES] for i in range(0, len(packed), CHUNK_BYTES)]
    checksum = crc(packed)
    return [
        (f"{baseline_id}/{index}", encode(Chunk(baseline_id, index, len(pieces), checksum, piece)))
        for index, piece in enumerate(pieces)
    ]


class Assembly:
    """Puts the chunks of baselines together again, in any order, repeats included."""

    def __init__(self) -> None:
        self._pieces: dict[tuple[str, int, int], dict[int, bytes]] = {}
        self._whole: set[tuple[str, int, int]] = set()

    def add(self, chunk: Chunk) -> bytes | None:
        """Take one chunk; return the whole when it was the last one missing, and once only.

        Raises
        ------
        CorruptError
            When the pieces do not give the whole they say they are.
        """
        key = chunk.baseline_id, chunk.checksum, chunk.n_chunks
        if not 0 <= chunk.index < chunk.n_chunks:
            raise CorruptError(f"baseline {chunk.baseline_id}: chunk {chunk.index} of {chunk.n_chunks}")
        if key in self._whole:
            return None
        pieces = self._pieces.setdefault(key, {})
        pieces[chunk.index] = chunk.data
        if len(pieces) < chunk.n_chunks:
            return None
        del self._pieces[key]
        packed = b"".join(pieces[index] for index in range(chunk.n_chunks))
        if crc(packed) != chunk.checksum:
            raise CorruptError(f"baseline {chunk.baseline_id}: checksum differs")
        whole = decompress(packed, MAX_BASELINE_BYTES)
        self._whole.add(key)
        return whole
