"""Inference events: one JSON row, JSON columns or one Arrow IPC stream, all to column batches.

A consumer hands over the records of one partition in offset order; what comes back are batches of
one model and version each, with their rows in that order, and a `Rejected` for everything that could
not be used. One bad record never takes a good one with it. From here on no code is per row.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from operator import attrgetter, itemgetter
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from schemas.arrays import (
    MAX_CLASSES,
    BadTimesError,
    classes_columns,
    column_of,
    column_of_arrow,
    concatenated,
    epoch_ms,
    epoch_ms_of_arrow,
    prediction_columns,
)
from schemas.columns import Batch, Column
from schemas.flat import MIN_ROWS, NotAlikeError, table_of
from schemas.messages import (
    ARROW,
    MAX_NAME,
    MAX_ROWS,
    Event,
    EventColumns,
    EventRow,
    EventTable,
    FlatRow,
    parse,
    parse_flat,
)
from schemas.records import Record, Rejected

__all__ = [
    "ARROW",
    "DERIVED",
    "MAX_ROWS",
    "Decoded",
    "EventColumns",
    "EventRow",
    "decode",
    "feature_column",
    "reject_rows",
]

MIN_TIME_MS = 100_000_000_000
MAX_TIME_MS = 7_258_118_400_000
DERIVED = frozenset({"prediction", "confidence", "entropy", "latency_ms", "error"})
SPARSE_CELLS = 100_000

Pair = tuple[Record, Any]
Group = tuple[Any, ...]
Built = tuple[Any, dict[str, Column], list[str | None] | None, Any]
Build = Callable[[Any, tuple[str, ...]], Built]


class Decoded(NamedTuple):
    """What the records of one poll came to."""

    batches: list[Batch]
    rejected: list[Rejected]
    n_tombstones: int


def decode(records: Sequence[Record], *, max_features: int = 2_000) -> Decoded:
    """Decode the records of one partition.

    Parameters
    ----------
    records
        In offset order. A record without a value is a tombstone: counted and skipped.
    max_features
        A message with more features than this is rejected.

    Returns
    -------
    Decoded
        Within a batch rows stand in offset order. A model has a batch for each of its versions
        (more where their features have little in common): who needs the rows of all of them in
        order, orders by offset.
    """
    rejected: list[Rejected] = []
    values = [record for record in records if record.value is not None]
    messages = parse_flat(values, MIN_ROWS)
    if messages is None:
        messages = parse(values, max_features, rejected)
    batches = batches_of(messages, rejected, max_features)
    return Decoded(batches, rejected, len(records) - len(values))


def batches_of(messages: Sequence[Pair], rejected: list[Rejected], max_features: int = 2_000) -> list[Batch]:
    """Return the rows of messages as batches, as `decode` does; what cannot be used goes to `rejected`."""
    by_model: dict[str, list[Batch]] = defaultdict(list)
    for batch in _all_batches(messages, max_features, rejected):
        by_model[batch.model].append(batch)
    batches = [batch for several in by_model.values() for batch in _versions(several)]
    batches.sort(key=_first_offset)
    return batches


def feature_column(name: str) -> str:
    """Return the column of a user's feature: kept apart from a derived series of the same name.

    >>> feature_column("income"), feature_column("error")
    ('income', 'features.error')
    """
    bare = name
    while bare.startswith("features."):
        bare = bare.removeprefix("features.")
    return f"features.{name}" if bare in DERIVED or bare.startswith("prediction.") else name


def _first_offset(batch: Batch) -> int:
    return int(batch.offsets[0])


def _groups(messages: Sequence[Pair]) -> dict[Group, list[Pair]]:
    """Group messages that have the same model, version, form, features and classes."""
    groups: dict[Group, list[Pair]] = defaultdict(list)
    if messages and isinstance(messages[0][1], FlatRow):  # then all are, their features not known yet
        models = map(attrgetter("model", "version"), map(itemgetter(1), messages))
        for pair, group in zip(messages, models, strict=True):
            groups[group].append(pair)
        return {(*group, FlatRow, (), ()): several for group, several in groups.items()}
    for pair in messages:
        message = pair[1]
        kind: type[Event] = type(message)
        if isinstance(message, EventRow):
            given = message.prediction
            names = tuple(message.features)
            classes = tuple(sorted(given)) if type(given) is dict else ()
        elif isinstance(message, EventColumns):
            names, kind = tuple(message.columns), EventColumns
            classes = _classes(message.predictions or ())
        else:
            names, classes = tuple(map(str, message.table.schema)), ()
        groups[message.model, message.version, kind, names, classes].append(pair)
    return groups


def _classes(predictions: Sequence[Any]) -> tuple[str, ...]:
    if dict not in set(map(type, predictions)):
        return ()
    return tuple(sorted(set(chain.from_iterable(one for one in predictions if type(one) is dict))))


def _all_batches(messages: Sequence[Pair], max_features: int, rejected: list[Rejected]) -> Iterator[Batch]:
    def flat(rows: Sequence[FlatRow], _: tuple[str, ...]) -> Built:
        return _from_flat(rows, max_features)

    for group, run in _groups(messages).items():
        try:
            yield from _batches(group, run, rejected, flat if group[2] is FlatRow else _BUILD[group[2]])
        except NotAlikeError:
            again = parse([record for record, _ in run], max_features, rejected)
            yield from _all_batches(again, max_features, rejected)


def _batches(group: Group, run: list[Pair], rejected: list[Rejected], build: Build) -> list[Batch]:
    """Turn a run of alike messages into one batch; when that fails, by halves to isolate the bad."""
    records, messages = zip(*run, strict=True)
    if max(map(len, group[3]), default=0) > MAX_NAME and group[2] is EventRow:
        detail = f"a name has more than {MAX_NAME} characters - at `$.features`"
        rejected += [Rejected(record.offset, "wrong_type", detail) for record in records]
        return []
    try:
        times, columns, ids, lengths = build(messages, group[3])
    except (BadTimesError, pa.ArrowException, ValueError, TypeError, OverflowError) as error:
        if group[2] is FlatRow:
            raise NotAlikeError from error
        if len(run) > 1:
            half = len(run) // 2
            return _batches(group, run[:half], rejected, build) + _batches(group, run[half:], rejected, build)
        why = error.args if isinstance(error, BadTimesError) else ("wrong_type", str(error)[:300])
        rejected.append(Rejected(records[0].offset, *why))
        return []
    offsets = np.fromiter(map(attrgetter("offset"), records), np.int64, len(run))
    stamps = [-1 if record.timestamp is None else record.timestamp for record in records]
    record_times = np.array(stamps, np.int64)
    if lengths is not None:
        offsets, record_times = np.repeat(offsets, lengths), np.repeat(record_times, lengths)
    model, version = group[:2]
    batch = Batch(model, "" if version is None else str(version), times, columns, ids, offsets, record_times)
    absurd = (times < MIN_TIME_MS) | (times > MAX_TIME_MS)
    if absurd.any():
        reject_rows(batch, absurd, "time_invalid", "time {time} is no epoch milliseconds of 1973 to 2200", rejected)
        batch = batch.take(~absurd)
    return [batch] if len(batch.times) else []


def reject_rows(batch: Batch, rows: Any, reason: str, detail: str, rejected: list[Rejected]) -> None:
    """Add one rejection per record for the marked rows; `{time}` in `detail` is their first time."""
    offsets, first, counts = np.unique(batch.offsets[rows], return_index=True, return_counts=True)
    for offset, time, n_rows in zip(offsets, batch.times[rows][first], counts, strict=True):
        rejected.append(Rejected(int(offset), reason, detail.format(time=time), int(n_rows)))


def _versions(batches: list[Batch]) -> Iterator[Batch]:
    """Yield the rows of one model, a batch a version, each in offset order."""
    versions: dict[str, list[Batch]] = defaultdict(list)
    for batch in batches:
        versions[batch.version].append(batch)
    for several in versions.values():
        yield from _merged(several)


def _merged(batches: list[Batch]) -> list[Batch]:
    """Return one batch in offset order, unless their columns have so little in common that it would be mostly empty."""
    if len(batches) == 1:
        return batches
    n_names = len(set().union(*(batch.columns for batch in batches)))
    n_cells = sum(len(batch.columns) * len(batch.times) for batch in batches)
    if n_names * sum(len(batch.times) for batch in batches) > 4 * n_cells + SPARSE_CELLS:
        return batches
    columns, times = concatenated(batches)
    offsets = np.concatenate([batch.offsets for batch in batches])
    record_times = np.concatenate([batch.record_times for batch in batches])
    ids = None
    if any(batch.ids is not None for batch in batches):
        ids = list(chain.from_iterable(batch.ids or [None] * len(batch.times) for batch in batches))
    whole = batches[0]._replace(times=times, columns=columns, ids=ids, offsets=offsets, record_times=record_times)
    return [whole.take(np.argsort(offsets, kind="stable"))]


def _from_rows(messages: Sequence[EventRow], names: tuple[str, ...]) -> Built:
    values = map(dict.values, map(attrgetter("features"), messages))
    lists = zip(names, zip(*values, strict=True), strict=False)
    return _with_fields(messages, {feature_column(name): column_of(column) for name, column in lists})


def _from_flat(messages: Sequence[FlatRow], max_features: int) -> Built:
    if len(messages) < MIN_ROWS or not _same_classes(list(map(attrgetter("prediction"), messages))):
        raise NotAlikeError
    table = table_of(list(map(attrgetter("features"), messages)), max_features)
    return _with_fields(messages, {feature_column(name): column for name, column in table.items()})


def _same_classes(predictions: Sequence[Any]) -> bool:
    """Tell whether none of the predictions is an object, or all are, and have the same classes."""
    kinds = set(map(type, predictions))
    if dict not in kinds:
        return True
    return len(kinds) == 1 and set(map(len, predictions)) == {len(set(chain.from_iterable(predictions)))}


def _with_fields(messages: Sequence[EventRow], columns: dict[str, Column]) -> Built:
    predictions, latencies, errors, ids = zip(
        *map(attrgetter("prediction", "latency_ms", "error", "id"), messages), strict=True
    )
    _derive(columns, predictions, latencies, errors)
    return epoch_ms(tuple(map(attrgetter("time"), messages))), columns, _ids(ids), None


def _from_columns(messages: Sequence[EventColumns], names: tuple[str, ...]) -> Built:
    lengths = [len(message.times) for message in messages]
    lists = list(map(attrgetter("columns"), messages))
    columns = {feature_column(name): _column_of_parts(list(map(itemgetter(name), lists))) for name in names}
    fields = []
    for field in ("predictions", "latencies_ms", "errors", "ids"):
        given = list(map(attrgetter(field), messages))
        several = zip(given, lengths, strict=True)
        absent = given.count(None) == len(given)
        fields.append([] if absent else _joined([None] * n if values is None else values for values, n in several))
    predictions, latencies, errors, ids = fields
    _derive(columns, predictions, latencies, errors)
    return epoch_ms(_joined(map(attrgetter("times"), messages))), columns, _ids(ids), lengths


def _column_of_parts(parts: list[Any]) -> Column:
    """Return one column of the lists and arrays of several messages."""
    if all(isinstance(part, np.ndarray) for part in parts):
        return Column(np.concatenate(parts) if len(parts) > 1 else parts[0])
    return column_of(_joined(part.tolist() if isinstance(part, np.ndarray) else part for part in parts))


def _joined(lists: Iterable[list[Any]]) -> list[Any]:
    return list(chain.from_iterable(lists))


def _from_tables(messages: Sequence[EventTable], _: tuple[str, ...]) -> Built:
    table = pa.concat_tables([message.table for message in messages]).combine_chunks()
    columns: dict[str, Column] = {}
    classes: dict[str, Column] = {}
    for name in table.column_names:
        if name.startswith("feature."):
            columns[feature_column(name.removeprefix("feature."))] = column_of_arrow(table.column(name))
        elif name.startswith("prediction."):
            classes[name.removeprefix("prediction.")] = column_of_arrow(table.column(name))
        elif name in ("prediction", "latency_ms", "error"):
            columns[name] = column_of_arrow(table.column(name))
    if len(classes) > MAX_CLASSES:
        columns["prediction"] = Column.of_invalid(np.ones(table.num_rows, bool))
    elif classes:
        columns = {**classes_columns(dict(sorted(classes.items())), table.num_rows), **columns}
    ids = _ids(table.column("id").to_pylist()) if "id" in table.column_names else None
    lengths = [message.table.num_rows for message in messages]
    return epoch_ms_of_arrow(table.column("time")), columns, ids, lengths


_BUILD: dict[Any, Build] = {EventRow: _from_rows, EventColumns: _from_columns, EventTable: _from_tables}


def _derive(
    columns: dict[str, Column], predictions: Sequence[Any], latencies: Sequence[Any], errors: Sequence[Any]
) -> None:
    """Add the derived series of a batch; one that no row has stays out."""
    if _any(predictions):
        columns.update(prediction_columns(predictions))
    if _any(latencies):
        columns["latency_ms"] = column_of(latencies)
    if _any(errors):
        columns["error"] = column_of(errors)


def _any(values: Sequence[Any]) -> bool:
    return values.count(None) < len(values)


def _ids(values: Sequence[Any]) -> list[str | None] | None:
    if not _any(values):
        return None
    return [value if value is None else str(value) for value in values]
