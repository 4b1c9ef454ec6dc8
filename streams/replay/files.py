"""Tables in files become the rows and events everything else works on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from schemas.arrays import column_of_arrow, epoch_ms_of_arrow
from schemas.columns import Column, Times
from schemas.events import ARROW, MAX_ROWS, feature_column
from schemas.records import PlainRecord

TIME_NAMES = ("time", "timestamp", "event_time", "datetime", "date", "ts")
ID_NAMES = ("id", "request_id", "event_id", "inference_id")


class FileError(Exception):
    """A file cannot be used as rows; the text names the file, the column and the fix."""


class Roles(NamedTuple):
    """Which columns of a table are what; the rest are features.

    `time`, `prediction` and `id` name one column each, None for none; `ignored` are left out.
    """

    time: str | None = None
    prediction: str | None = None
    id: str | None = None
    ignored: Sequence[str] = ()

    @property
    def features_of(self) -> frozenset[str]:
        """Columns that are no features."""
        return frozenset({self.time, self.prediction, self.id, *self.ignored} - {None})  # type: ignore[arg-type]  # None removed


def read_table(path: str | Path) -> pa.Table:
    """Read a Parquet or CSV file.

    Raises
    ------
    FileError
        When there is no such file or it is of another kind.
    """
    path = Path(path)
    if not path.is_file():
        raise FileError(f"{path}: there is no such file")
    try:
        if path.suffix.lower() in (".parquet", ".pq"):
            return pyarrow.parquet.read_table(path)
        if path.suffix.lower() in (".csv", ".tsv", ".gz"):
            delimiter = "\t" if ".tsv" in path.name.lower() else ","
            return pyarrow.csv.read_csv(path, parse_options=pyarrow.csv.ParseOptions(delimiter=delimiter))
    except (pa.ArrowException, OSError) as error:
        raise FileError(f"{path}: {error}") from None
    raise FileError(f"{path}: files end in .parquet, .csv or .tsv")


def complete(table: pa.Table, roles: Roles) -> Roles:
    """Check the named columns and find the time and id columns that were not named.

    Raises
    ------
    FileError
        When a named column does not exist, or no column looks like event time.
    """
    names = table.column_names
    for role, name in (("--time", roles.time), ("--prediction", roles.prediction), ("--id", roles.id)):
        if name is not None and name not in names:
            raise FileError(f"{role} {name}: there is no such column; there are {', '.join(names)}")
    for name in roles.ignored:
        if name not in names:
            raise FileError(f"--ignore {name}: there is no such column; there are {', '.join(names)}")
    time = (
        roles.time
        or _named(table, TIME_NAMES)
        or next((f.name for f in table.schema if pa.types.is_timestamp(f.type)), None)
    )
    if time is None:
        raise FileError(f"no column looks like event time; name it with --time (columns: {', '.join(names)})")
    identifier = roles.id or _named(table, ID_NAMES)
    return roles._replace(time=time, id=identifier if identifier != roles.prediction else roles.id)


def _named(table: pa.Table, candidates: Sequence[str]) -> str | None:
    lower = {name.lower(): name for name in table.column_names}
    return next((lower[name] for name in candidates if name in lower), None)


def _times(table: pa.Table, name: str) -> Times:
    array = table.column(name).combine_chunks()
    if pa.types.is_string(array.type) or pa.types.is_large_string(array.type):
        try:
            array = pc.cast(array, pa.timestamp("ms", "UTC"))
        except pa.ArrowInvalid:
            try:
                array = pc.cast(array, pa.timestamp("ms"))
            except pa.ArrowInvalid as error:
                raise FileError(f"column {name}: {error}") from None
    elif pa.types.is_date(array.type):
        array = pc.cast(array, pa.timestamp("ms"))
    try:
        return epoch_ms_of_arrow(array)
    except Exception as error:
        raise FileError(f"column {name}: {error}") from None


def columns_of(table: pa.Table, roles: Roles) -> tuple[dict[str, Column], Times]:
    """Return the rows of a table as named columns and event times, in the file's order."""
    assert roles.time is not None, "complete() has found it"
    columns = {
        feature_column(name): column_of_arrow(table.column(name))
        for name in table.column_names
        if name not in roles.features_of
    }
    if roles.prediction is not None:
        columns["prediction"] = column_of_arrow(table.column(roles.prediction))
    return columns, _times(table, roles.time)


def events_of(table: pa.Table, roles: Roles, model: str, *, rows: int = MAX_ROWS) -> Iterator[PlainRecord]:
    """Yield the rows in event-time order as events, some thousand to an Arrow message."""
    assert roles.time is not None, "complete() has found it"
    times = pa.array(_times(table, roles.time))
    fields = {"time": times}
    if roles.id is not None:
        fields["id"] = pc.cast(table.column(roles.id), pa.string())
    if roles.prediction is not None:
        fields["prediction"] = table.column(roles.prediction)
    for name in table.column_names:
        if name not in roles.features_of:
            fields[f"feature.{name}"] = table.column(name)
    events = pa.table(fields).replace_schema_metadata({"model": model})
    events = events.take(pc.sort_indices(events, [("time", "ascending")]))
    for offset, start in enumerate(range(0, events.num_rows, rows)):
        part = events.slice(start, rows)
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, part.schema) as writer:
            writer.write_table(part)
        last = part.column("time")[-1].as_py()
        headers = [("content-type", ARROW.encode())]
        yield PlainRecord("file", 0, offset, last, sink.getvalue().to_pybytes(), None, headers)
