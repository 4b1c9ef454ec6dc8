"""The fields of one source, compiled: documents become rows, column by column."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import compress
from typing import Any

from schemas.documents import Document
from schemas.messages import MAX_NAME, MAX_ROWS, EventRow
from schemas.paths import Columns, Path, Rows, compiled
from schemas.records import Record, Rejected
from schemas.sources import Constant, Mapping, Value
from schemas.times import times_ms

Taken = list[tuple[int, EventRow]]
Wanted = Callable[[str, int], bool]
Why = list[tuple[str, str] | None]
RECORD_PATHS = ("@key", "@topic", "@headers")


class CompiledMapping:
    """One source of one monitor, ready for documents.

    Parameters
    ----------
    wanted
        Tells of a model and an event time whether rows of it come in here.
    """

    def __init__(self, mapping: Mapping, wanted: Wanted, *, max_features: int) -> None:
        source, fields = mapping.source, mapping.source.complete
        self.mapping, self._wanted, self._max_features = mapping, wanted, max_features
        self._fields, self._time_format, self._names = fields, source.time_format, source.feature_names
        self._where = [(compiled(text), value) for text, value in source.where.items()]
        self._model, self._time = _compiled(fields.model), _compiled(fields.time)
        self._version, self._id = _compiled(fields.version), _compiled(fields.id)
        self._rest = [_compiled(value) for value in (fields.prediction, fields.latency_ms, fields.error)]
        self._slices = {name: _compiled(value) for name, value in fields.slices.items()}
        given = fields.features
        self._whole = compiled(given) if isinstance(given, str) else None
        self._named = {name: _compiled(value) for name, value in given.items()} if isinstance(given, dict) else {}
        places = [self._whole, *self._named.values(), self._model, self._time, self._version, self._id, *self._rest]
        paths = [place for place in [*places, *self._slices.values()] if isinstance(place, Path)]
        self._starred = [path for path in paths if path.starred]
        self.needs_record = any(path.before[:1] in [(name,) for name in RECORD_PATHS] for path in paths) or any(
            path.before[:1] in [(name,) for name in RECORD_PATHS] for path, _ in self._where
        )

    def rows(self, documents: Sequence[Document], rejected: dict[int, Rejected]) -> Taken:
        """Return (index of the document, row) of all rows that come in here.

        Why a document gave none, or fewer than it holds, goes to `rejected` by its index.
        """
        indices: Sequence[int] = self._selected(documents)
        lengths = None
        owners = indices
        if self._starred:
            indices, lengths = self._lengths(documents, indices, rejected)
            owners = [index for index, n in zip(indices, lengths, strict=True) for _ in range(n)]
        found = Rows([documents[index].content for index in indices], lengths)
        why: Why = [None] * len(owners)
        times = self._times(found, documents, owners, why)
        models = self._models(found, len(owners), why)
        features = self._features(found, len(owners), why)
        versions = _texts(self._column(self._version, found, len(owners)), "version", self._fields.version, why)
        ids = _texts(self._column(self._id, found, len(owners)), "id", self._fields.id, why)
        predictions, latencies, errors = (self._column(place, found, len(owners)) for place in self._rest)
        if list in set(map(type, predictions)):
            predictions = list(map(_unlisted, predictions))
        slices = self._sliced(found, len(owners))
        columns = zip(models, times, features, versions, ids, predictions, latencies, errors, slices, strict=True)
        taken: Taken = []
        for index, wrong, row in zip(owners, why, columns, strict=True):
            model, time = row[0], row[1]
            if wrong is None:
                if self._wanted(model, time):
                    taken.append((index, EventRow(*row)))
                continue
            record = documents[index].record
            if self._wanted(model or self.mapping.model, _stamp(record) if time is None else time):
                first = rejected.get(index) or Rejected(record.offset, *wrong)
                rejected[index] = first._replace(n_rows=first.n_rows + 1)
        return taken

    def _selected(self, documents: Sequence[Document]) -> Sequence[int]:
        """Return the indices of the documents that `where` leaves."""
        kept = [True] * len(documents)
        columns = Columns([document.content for document in documents])
        for path, wanted in self._where:
            values = columns.at(path.before)
            kept = [
                k and type(value) is type(wanted) and value == wanted for k, value in zip(kept, values, strict=True)
            ]
        return list(compress(range(len(documents)), kept))

    def _lengths(
        self, documents: Sequence[Document], indices: Sequence[int], rejected: dict[int, Rejected]
    ) -> tuple[list[int], list[int]]:
        """Return the documents whose starred paths lead to lists of one length, and these lengths."""
        columns = Columns([documents[index].content for index in indices])
        lists = [(path.text, columns.at(path.before)) for path in {p.before: p for p in self._starred}.values()]
        good, lengths = [], []
        for place, index in enumerate(indices):
            wrong = _unfit([(text, values[place]) for text, values in lists])
            if wrong is None:
                good.append(index)
                lengths.append(len(lists[0][1][place]))
            elif self._wanted(self.mapping.model, _stamp(documents[index].record)):
                rejected.setdefault(index, Rejected(documents[index].record.offset, *wrong))
        return good, lengths

    def _column(self, place: Path | Constant | None, found: Rows, n_rows: int) -> list[Any]:
        if isinstance(place, Path):
            return found.at(place)
        return [None if place is None else place.const] * n_rows

    def _times(self, found: Rows, documents: Sequence[Document], owners: Sequence[int], why: Why) -> list[int | None]:
        if self._time_format == "record":
            times: list[int | None] = [documents[index].record.timestamp for index in owners]
            return times
        values = self._column(self._time, found, len(owners))
        times = times_ms(values, self._time_format)
        if None not in times:
            return times
        for row, (time, value) in enumerate(zip(times, values, strict=True)):
            if time is None and value is None:
                why[row] = "missing_field", f"there is nothing at `{self._fields.time}` (time)"
            elif time is None:
                kind = "text" if type(value) is str else type(value).__name__
                detail = f"the {kind} at `{self._fields.time}` is no time of 1973 to 2200 as {self._time_format}"
                why[row] = "time_invalid", detail
        return times

    def _models(self, found: Rows, n_rows: int, why: Why) -> list[Any]:
        if not isinstance(self._model, Path):
            return [self.mapping.model] * n_rows
        models = [str(model) if type(model) is int else model for model in found.at(self._model)]
        for row, model in enumerate(models):
            if type(model) is not str or not 0 < len(model) <= MAX_NAME:
                why[row] = why[row] or ("missing_field", f"there is no model's name at `{self._fields.model}`")
                models[row] = None
        return models

    def _features(self, found: Rows, n_rows: int, why: Why) -> list[Any]:
        rows: list[Any]
        if self._whole is None:
            columns = [self._column(place, found, n_rows) for place in self._named.values()]
            rows = [dict(zip(self._named, values, strict=True)) for values in zip(*columns, strict=True)]
            led = [
                column for column, place in zip(columns, self._named.values(), strict=True) if isinstance(place, Path)
            ]
            if not all(None in column for column in led):
                return rows
            for row, values in enumerate(zip(*led, strict=True)):
                if values.count(None) == len(values):
                    first = next(path.text for path in self._named.values() if isinstance(path, Path))
                    detail = f"none of the features' paths leads to anything; the first is `{first}`"
                    why[row] = why[row] or ("missing_field", detail)
            return rows
        rows = found.at(self._whole)
        if set(map(type, rows)) != {dict}:
            rows = [self._labelled(row) if type(row) is list else row for row in rows]
        for row, features in enumerate(rows):
            if type(features) is not dict:
                detail = f"there is no object or list of values at `{self._whole.text}` (features)"
                why[row] = why[row] or ("missing_field", detail)
            elif len(features) > self._max_features:
                detail = f"{len(features)} features; the limit is {self._max_features}"
                why[row] = why[row] or ("too_many_features", detail)
        return rows

    def _labelled(self, values: list[Any]) -> dict[str, Any] | None:
        """Name the values of a list; None where there are not as many as names."""
        if not self._names:
            return {f"[{place}]": value for place, value in enumerate(values)}
        return dict(zip(self._names, values, strict=True)) if len(values) == len(self._names) else None

    def _sliced(self, found: Rows, n_rows: int) -> list[dict[str, Any] | None]:
        if not self._slices:
            return [None] * n_rows
        columns = [self._column(place, found, n_rows) for place in self._slices.values()]
        return [dict(zip(self._slices, values, strict=True)) for values in zip(*columns, strict=True)]


def _stamp(record: Record) -> int:
    return max(0, record.timestamp or 0)


def _compiled(value: Value | None) -> Path | Constant | None:
    return compiled(value) if isinstance(value, str) else value


def _unfit(lists: Sequence[tuple[str, Any]]) -> tuple[str, str] | None:
    """Say what keeps lists of one document from being columns of the same rows."""
    first, main = lists[0]
    if type(main) is not list:
        return "missing_field", f"there is no list at `{first}`"
    if len(main) > MAX_ROWS:
        return "too_many_rows", f"{len(main)} rows in one message; the limit is {MAX_ROWS}"
    for text, values in lists[1:]:
        if type(values) is list and len(values) != len(main):
            return "unequal_lengths", f"`{text}` has {len(values)} values, `{first}` has {len(main)}"
    return None


def _texts(values: list[Any], field: str, place: Any, why: Why) -> list[Any]:
    """Return names and identities; a value that can be none refuses its row."""
    if set(map(type, values)) <= {str, int, type(None)}:
        return values
    for row, value in enumerate(values):
        if type(value) in (dict, list):
            why[row] = why[row] or ("wrong_type", f"the {type(value).__name__} at `{place}` is no {field}")
    return [str(value) if type(value) in (float, bool) else value for value in values]


def _unlisted(value: Any) -> Any:
    """Return the one value of a list, or of several one for each place, as of the classes of a classifier."""
    if type(value) is not list:
        return value
    return value[0] if len(value) == 1 else {str(place): one for place, one in enumerate(value)} or None
