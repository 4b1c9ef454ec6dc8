"""What the client's methods were given, checked."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any

from driftgauge_client import values
from driftgauge_client.rows import RowError

MAX_MODEL_CHARS = 200


def model_of(model: object) -> str:
    """Return the name of a model, or raise RowError."""
    if type(model) is not str or not 0 < len(model) <= MAX_MODEL_CHARS:
        raise RowError(f"model: expected text of 1 to {MAX_MODEL_CHARS} characters")
    return model


def version_of(version: object) -> str:
    """Return a version as text; none is ""."""
    return version if type(version) is str else values.identity(version) or ""


def now_ms() -> int:
    """Return the wall clock in epoch milliseconds."""
    return time.time_ns() // 1_000_000


def n_rows_of(columns: Any) -> int:
    """Return how many rows were meant, for counting those refused."""
    try:
        if isinstance(columns, Mapping):
            return max((len(column) for column in columns.values()), default=1)
        return int(getattr(columns, "num_rows", 0)) or len(columns)
    except Exception:
        return 1


def mapping_of(columns: Any) -> Mapping[Any, Any]:
    """Return names and columns of a mapping or a DataFrame, or raise RowError."""
    if isinstance(columns, Mapping):
        return columns
    names: Iterable[Any] | None = getattr(columns, "columns", None)
    if names is None or not hasattr(columns, "__getitem__"):
        raise RowError(f"columns: expected a mapping, a table or a DataFrame, got {type(columns).__name__}")
    return {name: columns[name] for name in names}


def reason_of(problem: Exception) -> str:
    """Return the text of our own errors; of others only the type, because their text may quote values."""
    return str(problem) if isinstance(problem, RowError) else f"{type(problem).__name__} ({_place(problem)})"


def _place(problem: Exception) -> str:
    trace = problem.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return "?" if trace is None else trace.tb_frame.f_code.co_name
