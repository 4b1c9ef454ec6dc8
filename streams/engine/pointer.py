"""What names a snapshot: the pointer in the commit, the index it names, the directory of the segments."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

FORMAT = 2
READABLE = (1, 2)
"""Format 1 had the directory inside the index and no pointer to the lowest offset that matters."""


class SnapshotError(Exception):
    """A snapshot that is named cannot be read back as it was written."""


class Pointer(NamedTuple):
    """Names a snapshot.

    `attempts` counts the failures of one record or batch since the snapshot was written. After the first, the
    culprit is among the records below `suspect`; after the second, it is the record at `suspect`. From `lowest`
    on, the input's records matter to the state: without the snapshot it is built again from there.
    """

    offset: int
    checksum: int
    attempts: int = 0
    suspect: int = 0
    lowest: int = 0

    def encode(self) -> str:
        """Write the pointer; the semicolon ends it, so that a truncated one is seen."""
        return f"{FORMAT}:{self.offset}:{self.checksum:08x}:{self.attempts}:{self.suspect}:{self.lowest};"

    @classmethod
    def decode(cls, metadata: str) -> Pointer | None:
        """Read commit metadata; None when it is no pointer of a known format.

        >>> Pointer.decode(Pointer(12, 0xBEEF, 1, 40, 7).encode())
        Pointer(offset=12, checksum=48879, attempts=1, suspect=40, lowest=7)
        """
        version, *parts = metadata.rstrip(";").split(":")
        if not metadata.endswith(";") or (version, len(parts)) not in (("1", 4), ("2", 5)):
            return None
        try:
            return cls(int(parts[0]), int(parts[1], 16), *map(int, parts[2:]))
        except ValueError:
            return None


class Written(msgspec.Struct, frozen=True, array_like=True):
    """Where one segment stands: the offsets of its chunks, its checksum, how much was written up to it, its size."""

    offsets: list[int]
    checksum: int
    written_bytes: int
    n_bytes: int = 0


Directory = dict[str, Written]


class Index(msgspec.Struct, frozen=True):
    """A whole snapshot: the position it belongs to, and where the directory of its segments stands."""

    format: int
    agent: str
    partition: int
    position: int
    written_bytes: int
    segments: Directory = {}
    directory: Written | None = None
    topic_id: str = ""


_decode_index = msgspec.msgpack.Decoder(Index).decode
_decode_directory = msgspec.msgpack.Decoder(Directory).decode


def decode_index(value: bytes, agent: str, partition: int) -> Index:
    """Read an index of this agent and partition.

    Raises
    ------
    SnapshotError
        When it is none, somebody else's, or of a format this version does not know.
    """
    try:
        index = _decode_index(value)
    except msgspec.DecodeError as error:
        raise SnapshotError(str(error)) from None
    if index.format not in READABLE:
        formats = " and ".join(map(str, READABLE))
        raise SnapshotError(f"it is of format {index.format}, this version reads {formats}: run a newer one")
    if (index.agent, index.partition) != (agent, partition):
        raise SnapshotError(f"it is of {index.agent}/{index.partition}")
    return index


def decode_directory(data: bytes) -> Directory:
    """Read a directory.

    Raises
    ------
    SnapshotError
        When it is none.
    """
    try:
        return _decode_directory(data)
    except msgspec.DecodeError as error:
        raise SnapshotError(str(error)) from None
