"""The one in-memory form of rows: a batch of named columns of equal length."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64] | NDArray[np.float32]
Codes = NDArray[np.int32]
Times = NDArray[np.int64]
Mask = NDArray[np.bool_]


class Column(NamedTuple):
    """One column of values.

    Attributes
    ----------
    numbers
        Shape (rows,), float32 or float64; NaN where the value is missing or not a number.
        None when no value of the column is a number.
    codes
        Shape (rows,), index into `levels`; -1 where the value is missing or not a label.
        None when no value of the column is a label.
    levels
        The labels that occur, each once (`take` keeps them all).
    n_invalid
        How many values were neither a number, a label nor missing (objects, lists).
    invalid
        Shape (rows,), which values these are; None where there are none, or where only their number is known.
    """

    numbers: Numbers | None = None
    codes: Codes | None = None
    levels: tuple[str, ...] = ()
    n_invalid: int = 0
    invalid: Mask | None = None

    @classmethod
    def of_invalid(cls, invalid: Mask) -> Column:
        """Return a column without numbers and labels whose marked values are invalid, the others missing."""
        return cls(np.full(len(invalid), np.nan)).with_invalid(invalid)

    def with_invalid(self, invalid: Mask) -> Column:
        """Return the column with these values marked as invalid."""
        n_invalid = int(np.count_nonzero(invalid))
        return self._replace(n_invalid=n_invalid, invalid=invalid if n_invalid else None)

    def take(self, rows: Any) -> Column:
        """Return the column at the given row indices, slice or mask."""
        column = Column(
            None if self.numbers is None else self.numbers[rows],
            None if self.codes is None else self.codes[rows],
            self.levels,
            self.n_invalid,
        )
        return column if self.invalid is None else column.with_invalid(self.invalid[rows])


class Batch(NamedTuple):
    """Rows of one model and version, in the order they were read.

    `columns` holds the features and the derived series (``prediction``, ``prediction.<class>``,
    ``confidence``, ``entropy``, ``latency_ms``, ``error``); a feature of the user's with one of
    these names is renamed to ``features.<name>``. `times` are event times in epoch milliseconds,
    `offsets` the offset of the record each row came from, `record_times` its Kafka timestamp.
    `ids` is None when no row has one.
    """

    model: str
    version: str
    times: Times
    columns: dict[str, Column]
    ids: list[str | None] | None = None
    offsets: Times = np.empty(0, np.int64)
    record_times: Times = np.empty(0, np.int64)

    def take(self, rows: Any) -> Batch:
        """Return the batch at the given row indices, slice or mask."""
        ids = self.ids
        if ids is not None:
            ids = ids[rows] if isinstance(rows, slice) else np.array(ids, object)[rows].tolist()
        columns = {name: column.take(rows) for name, column in self.columns.items()}
        return self._replace(
            times=self.times[rows],
            columns=columns,
            ids=ids,
            offsets=self.offsets[rows],
            record_times=self.record_times[rows],
        )
