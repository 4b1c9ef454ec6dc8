"""Rows of a mapped topic: its records by the sources of monitors to the same batches events become.

A record is a dead letter when a source refused it and none took rows of it. Which version of a monitor is in force
is decided by each row's event time, as with everything about monitors; where a row cannot tell its time, by its
record's. So what is decoded is a function of the records, and a replay decodes the same.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec

from schemas.documents import Document, Reader, reader_key
from schemas.events import Decoded, batches_of
from schemas.mapping import CompiledMapping, Taken, Wanted
from schemas.messages import EventRow
from schemas.records import PlainRecord, Record, Rejected
from schemas.sources import Mapping

_decode_state = msgspec.msgpack.Decoder(dict[str, bytes]).decode


class MappedDecoder:
    """Decodes the records of one partition of a mapped topic; what waits to be paired is its state.

    Parameters
    ----------
    mappings
        Gives the topic's mappings as they stand now: the same tuple while nothing changes.
    """

    def __init__(self, mappings: Callable[[], tuple[Mapping, ...]], *, max_features: int = 2_000) -> None:
        self._mappings, self._max_features = mappings, max_features
        self._known: tuple[Mapping, ...] | None = None
        self._compiled: dict[str, list[CompiledMapping]] = {}
        self._readers: dict[str, Reader] = {}
        self._saved: dict[str, bytes] = {}
        self._newest: Sequence[tuple[Record, EventRow]] = ()
        self._by_record: dict[tuple[int, str], list[EventRow]] = {}
        self.changes = 0

    def decode(self, records: Sequence[Record]) -> Decoded:
        """Decode records in offset order; a row stands at the record that made it complete."""
        self._follow()
        waited = self.n_waiting
        values = [record for record in records if record.value is not None]
        merit = _Merit()
        for key, mappings in self._compiled.items():
            damaged: list[Rejected] = []
            documents = self._readers[key].read(values, damaged)
            merit.refuse(damaged)
            if any(mapping.needs_record for mapping in mappings):
                documents = [document._replace(content=_with_record(document)) for document in documents]
            for mapping in mappings:
                refused: dict[int, Rejected] = {}
                merit.add(mapping.mapping, documents, mapping.rows(documents, refused), refused)
        if waited or self.n_waiting:
            self.changes += 1
        merit.taken.sort(key=lambda pair: pair[0].offset)
        rejected = merit.rejected()
        self._newest, self._by_record = merit.taken, {}
        return Decoded(batches_of(merit.taken, rejected), rejected, len(records) - len(values))

    def kept(self, record: Record, model: str) -> list[PlainRecord]:
        """Return the rows of a model that `record`, of those decoded last, made complete, as events in its place."""
        for complete, row in self._newest:
            self._by_record.setdefault((complete.offset, row.model), []).append(row)
        self._newest = ()
        rows = self._by_record.get((record.offset, model), ())
        place = record.topic, record.partition, record.offset, record.timestamp
        return [PlainRecord(*place, value, model.encode()) for value in events_of(rows)]

    def _follow(self) -> None:
        """Compile the mappings anew when they have changed; what waits stays where the reader is the same."""
        mappings = self._mappings()
        if mappings is self._known:
            return
        self._known, self._compiled = mappings, {}
        for place, mapping in enumerate(mappings):
            key = reader_key(mapping.source)
            wanted = _wanted(mapping, mappings, place)
            made = CompiledMapping(mapping, wanted, max_features=self._max_features)
            self._compiled.setdefault(key, []).append(made)
            if key not in self._readers:
                reader = self._readers[key] = Reader(mapping.source, max_features=self._max_features)
                if key in self._saved:
                    reader.pairing.restore(self._saved.pop(key))

    @property
    def n_waiting(self) -> int:
        """How many messages wait for their other half."""
        return sum(reader.pairing.n_waiting for reader in self._readers.values())

    def encode(self) -> bytes:
        """Return the state: what waits."""
        waiting = {key: reader.pairing.encode() for key, reader in self._readers.items() if reader.pairing.n_waiting}
        return msgspec.msgpack.encode({**self._saved, **waiting})

    def restore(self, data: bytes) -> None:
        """Take the state `encode` gave."""
        self._saved = _decode_state(data)
        self.changes += 1


class _Merit:
    """Which records gave rows to somebody, and which were refused by all who read them.

    A record is known by the offset of the message in question: of several that one record settles, each its own.
    """

    def __init__(self) -> None:
        self.taken: list[tuple[Record, EventRow]] = []
        self._served: set[int] = set()
        self._by_monitor: dict[tuple[str, int], set[int]] = {}
        self._refused: dict[int, Rejected] = {}
        self._partly: list[Rejected] = []

    def refuse(self, rejected: Sequence[Rejected]) -> None:
        """Note messages nobody could read."""
        for why in rejected:
            self._refused.setdefault(why.offset if why.about is None else why.about, why)

    def add(self, mapping: Mapping, documents: Sequence[Document], rows: Taken, refused: dict[int, Rejected]) -> None:
        """Take the rows of one source, but of each message only those of the first source of a monitor."""
        before = self._by_monitor.setdefault((mapping.model, mapping.start_ms), set())
        mine = set()
        for index, row in rows:
            document = documents[index]
            if document.subject not in before:
                self.taken.append((document.record, row))
                mine.add(document.subject)
        for index, why in refused.items():
            subject = documents[index].subject
            why = why if subject == why.offset else why._replace(about=subject)
            if subject in mine:
                self._partly.append(why)
            else:
                self._refused.setdefault(subject, why)
        before |= mine
        self._served |= mine

    def rejected(self) -> list[Rejected]:
        """Return what is left without rows, and rows left out of messages that gave others."""
        return [*self._partly, *(why for subject, why in self._refused.items() if subject not in self._served)]


def _wanted(mapping: Mapping, mappings: Sequence[Mapping], place: int) -> Wanted:
    """Return what tells whether rows of a model at a time come in through a mapping."""
    start, end, own = mapping.start_ms, mapping.end_ms, mapping.model
    if mapping.source.models == "own":
        return lambda model, time: start <= time < end and model == own
    others = [
        (other.model if other.source.models == "own" else None, other.start_ms, other.end_ms)
        for at, other in enumerate(mappings)
        if other.source.models == "own" or (at < place and other.model != own)
    ]

    def wanted(model: str, time: int) -> bool:
        claims = (first <= time < last and theirs in (None, model) for theirs, first, last in others)
        return start <= time < end and not any(claims)

    return wanted


def _with_record(document: Document) -> Any:
    """Return a document with its record's key, topic and headers beside its fields."""
    if type(document.content) is not dict:
        return document.content
    record = document.record
    key = None if record.key is None else record.key.decode("utf-8", "replace")
    headers = {name: (text or b"").decode("utf-8", "replace") for name, text in record.headers}
    return {**document.content, "@key": key, "@topic": record.topic, "@headers": headers}


def events_of(rows: Sequence[EventRow]) -> Iterator[bytes]:
    """Yield rows of one model as events of our own form, one message a version; they decode to the same rows.

    Written as lenient writers do, so that NaN and infinities stay what they are.
    """
    versions: dict[Any, list[EventRow]] = {}
    for row in rows:
        versions.setdefault(row.version, []).append(row)
    for version, several in versions.items():
        names = dict.fromkeys(name for row in several for name in row.features)
        columns = {
            "model": several[0].model,
            "version": version,
            "times": [row.time for row in several],
            "columns": {name: [row.features.get(name) for row in several] for name in names},
            "ids": [row.id for row in several],
            "predictions": [row.prediction for row in several],
            "latencies_ms": [row.latency_ms for row in several],
            "errors": [row.error for row in several],
        }
        yield json.dumps(columns).encode()
