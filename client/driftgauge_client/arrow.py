"""Many rows at once, given as an Arrow table or a DataFrame, to Arrow IPC messages.

pyarrow is imported here, and only when such an object was passed.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from driftgauge_client.columns import Given, split, times_ms
from driftgauge_client.rows import RowError
from driftgauge_client.values import MAX_TIME_MS, MIN_TIME_MS

ARROW = "application/vnd.apache.arrow.stream"


@dataclass(frozen=True)
class ArrowColumns:
    """A table in the contract's columns, ready to be cut into messages."""

    table: Any
    n_rows: int
    n_refused: int

    def messages(self, batch_rows: int, limit_bytes: int) -> Iterator[tuple[bytes, int]]:
        """Yield messages and their numbers of rows, in order; only a single row may exceed the limit."""
        yield from split(self.n_rows, batch_rows, limit_bytes, self._encode)

    def _encode(self, start: int, stop: int) -> bytes:
        pa = importlib.import_module("pyarrow")
        sink = pa.BufferOutputStream()
        part = self.table.slice(start, stop - start).combine_chunks()
        with pa.ipc.new_stream(sink, part.schema) as writer:
            writer.write_table(part)
        message: bytes = sink.getvalue().to_pybytes()
        return message


def table_of(columns: Any) -> Any:
    """Return an Arrow table with the rows of a table, record batch or DataFrame, or None when it cannot be had.

    Columns of mixed types have no Arrow type: a DataFrame with such a column gives None.
    """
    try:
        pa = importlib.import_module("pyarrow")
    except ImportError:
        return None
    if isinstance(columns, pa.RecordBatch):
        return pa.Table.from_batches([columns])
    if isinstance(columns, pa.Table):
        return columns
    try:
        if type(columns).__module__.partition(".")[0] == "pandas":
            named = columns.set_axis([str(name) for name in columns.columns], axis=1)
            return pa.Table.from_pandas(named, preserve_index=False)
        return pa.table(columns) if hasattr(columns, "__arrow_c_stream__") else None
    except (pa.ArrowException, TypeError, ValueError):
        return None


def arrow_columns(model: str, version: str, table: Any, given: Given) -> ArrowColumns:
    """Check a table and give its columns the contract's names and types.

    Raises
    ------
    RowError
        When the columns cannot belong together.
    """
    pa = importlib.import_module("pyarrow")
    if len(set(table.column_names)) != table.num_columns:
        raise RowError("columns: two columns of the table have the same name")
    features = dict(zip(table.column_names, table.columns, strict=True))
    fields = {
        name: column
        for name, column in (
            ("id", _taken(features, given.ids, "ids")),
            *_predictions(features, given.predictions),
            ("latency_ms", _taken(features, given.latencies_ms, "latencies_ms")),
            ("error", _taken(features, given.errors, "errors")),
            ("entity", _taken(features, given.entities, "entities")),
            *((f"slice.{name}", _taken(features, one, f"slices[{name!r}]")) for name, one in given.slices.items()),
        )
        if column is not None
    }
    times = _taken(features, given.times, "times") if _is_column(given.times) else given.times
    fields.update({f"feature.{name}": column for name, column in features.items()})
    lengths = {name: len(column) for name, column in fields.items()}
    if _is_column(given.times):
        lengths["time"] = len(times)
    if len(set(lengths.values())) != 1:
        shown = ", ".join(f"{name} {length}" for name, length in list(lengths.items())[:8])
        raise RowError(f"columns: expected equal lengths of at least one column, got {shown or 'none'}")
    n_given = next(iter(lengths.values()))
    moments, good = _times(pa, times, n_given)
    cleaned = {name: _plain(pa, column) for name, column in fields.items()}
    if good is not None:
        cleaned = {name: column.take(pa.array(good)) for name, column in cleaned.items()}
    arranged = pa.table({"time": moments, **cleaned}).replace_schema_metadata({"model": model, "version": version})
    return ArrowColumns(arranged, len(moments), n_given - len(moments))


def _is_column(times: Any) -> bool:
    return isinstance(times, str) or hasattr(times, "__len__")


def _taken(features: dict[str, Any], given: Any, argument: str) -> Any:
    """Return what stands beside the features: given itself, or by the name of one of their columns."""
    pa = importlib.import_module("pyarrow")
    if given is None or isinstance(given, (pa.Array, pa.ChunkedArray)):
        return given
    if isinstance(given, str):
        if given not in features:
            raise RowError(f"{argument}: there is no column {given!r}")
        return features.pop(given)
    try:
        return pa.array(given, from_pandas=True)
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise RowError(f"{argument}: expected a column of one type ({type(error).__name__})") from None


def _predictions(features: dict[str, Any], given: Any) -> list[tuple[str, Any]]:
    if getattr(given, "ndim", 1) == 2 and hasattr(given, "T"):
        given = {str(number): column.copy() for number, column in enumerate(given.T)}
    if isinstance(given, Mapping):
        return [(f"prediction.{name}", _taken(features, one, f"predictions[{name!r}]")) for name, one in given.items()]
    return [("prediction", _taken(features, given, "predictions"))]


def _plain(pa: Any, column: Any) -> Any:
    """Leave numbers, text and lists as they are; dictionaries are decoded, dates become epoch milliseconds."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        return _plain(pa, column.cast(kind.value_type))
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        unit = pa.timestamp("ms", tz=kind.tz) if pa.types.is_timestamp(kind) else pa.timestamp("ms")
        return column.cast(unit, safe=False).cast(pa.int64())
    if pa.types.is_duration(kind):
        return column.cast(pa.duration("ms"), safe=False).cast(pa.int64())
    if pa.types.is_decimal(kind):
        return column.cast(pa.float64())
    if pa.types.is_float16(kind):
        return column.cast(pa.float32())
    return column


def _times(pa: Any, times: Any, n_rows: int) -> tuple[Any, list[int] | None]:
    if not hasattr(times, "type"):
        moments, good = times_ms(times, n_rows)
        return pa.array(moments, pa.int64()), good
    plain = _plain(pa, times)
    if pa.types.is_integer(plain.type) and not plain.null_count:
        compute = importlib.import_module("pyarrow.compute")
        limits = compute.min_max(plain).as_py()
        if n_rows and limits["min"] >= MIN_TIME_MS and limits["max"] < MAX_TIME_MS:
            return plain.cast(pa.int64()), None
    moments, good = times_ms(plain.to_pylist(), n_rows)
    return pa.array(moments, pa.int64()), good
