"""JSON objects that are alike and flat are read as one table: no Python object for each value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.csv

from schemas.arrays import column_of_arrow
from schemas.columns import Column
from schemas.messages import MAX_NAME

MIN_ROWS = 512
"""Fewer are read as fast one by one."""

_decode_object = msgspec.json.Decoder(dict[str, Any]).decode
_COLON_TO_COMMA = bytes.maketrans(b":", b",")
_PARSE = pyarrow.csv.ParseOptions(newlines_in_values=False)


class NotAlikeError(Exception):
    """These objects have to be read one by one."""


def table_of(texts: Sequence[msgspec.Raw], max_names: int) -> dict[str, Column]:
    """Return the columns of some JSON objects that have the same names in the same order.

    Parameters
    ----------
    texts
        Valid JSON, as msgspec leaves it. Every value of a name is a number or null, or every one is
        a string or null, without escapes or ``:{}[]`` in it.

    Raises
    ------
    NotAlikeError
        When they are anything else. What is returned is what reading one by one would give.

    Examples
    --------
    >>> table = table_of([msgspec.Raw(b'{"x":1,"c":"a"}'), msgspec.Raw(b'{"x":null,"c":"b"}')], 10)
    >>> table["x"].numbers, table["c"].levels
    (array([ 1., nan]), ('a', 'b'))
    """
    kinds = _kinds(texts[0])
    if not 0 < len(kinds) <= max_names or max(map(len, kinds)) > MAX_NAME:
        raise NotAlikeError
    text = _lines(texts, len(kinds))
    n_quotes = _count(text, b'"')
    # {"x":1,"c":"a"} becomes the line "x",1,"c","a": each key a column, each value a column
    names = [name for place in range(len(kinds)) for name in (f"key {place}", f"value {place}")]
    options = pyarrow.csv.ConvertOptions(
        column_types=dict(zip(names, (one for kind in kinds.values() for one in (pa.binary(), kind)), strict=True)),
        null_values=["null"],
        strings_can_be_null=True,
        quoted_strings_can_be_null=False,
    )
    reading = pyarrow.csv.ReadOptions(use_threads=False, column_names=names, block_size=len(text) + 1)
    try:
        table = pyarrow.csv.read_csv(pa.py_buffer(text), reading, _PARSE, options)
    except pa.ArrowException:
        raise NotAlikeError from None
    if table.num_rows != len(texts):
        raise NotAlikeError
    columns: dict[str, Column] = {}
    n_strings = 0
    for place, name in enumerate(kinds):
        _check_key(table.column(2 * place).chunk(0), name.encode())
        values = table.column(2 * place + 1)
        column = columns[name] = column_of_arrow(values)
        if column.numbers is None:
            n_strings += len(values) - values.null_count
        elif np.isinf(column.numbers).any():  # of a number beyond float64 the longer way knows more
            raise NotAlikeError
    if n_quotes != 2 * (len(texts) * len(kinds) + n_strings):
        raise NotAlikeError
    return columns


def _kinds(first: msgspec.Raw) -> Mapping[str, Any]:
    """Return the Arrow type of each name's values."""
    try:
        values = _decode_object(first)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise NotAlikeError from None
    kinds = {str: pa.string(), float: pa.float64(), int: pa.float64(), type(None): pa.float64()}
    try:
        return {name: kinds[type(value)] for name, value in values.items()}
    except KeyError:
        raise NotAlikeError from None


def _lines(texts: Sequence[msgspec.Raw], n_names: int) -> bytes:
    """Return a line of CSV for each object; only what is certain to mean the same is let through."""
    text = b"\n".join(texts)
    n, first = len(texts), bytes(texts[0])
    for separator, wanted in ((b'": ', n * n_names), (b', "', n * (n_names - 1))):
        if separator in first:  # with spaces, as Python's json writes it
            if text.count(separator) != wanted:
                raise NotAlikeError
            text = text.replace(separator, separator.replace(b" ", b""))
    if b"\\" in text or b"[" in text:
        raise NotAlikeError
    for character, expected in ((b"\n", n - 1), (b"{", n), (b"}", n), (b":", n * n_names)):
        if _count(text, character) != expected:
            raise NotAlikeError
    return text.translate(_COLON_TO_COMMA, b"{}")


def _count(text: bytes, character: bytes) -> int:
    return int(np.count_nonzero(np.frombuffer(text, np.uint8) == character[0]))


def _check_key(column: Any, name: bytes) -> None:
    """Refuse a column of keys that are not all this name."""
    _, offsets, data = column.buffers()
    n = len(column)
    ends = np.frombuffer(offsets, np.int32, n + 1)
    if column.null_count or (ends != np.arange(n + 1) * len(name)).any():
        raise NotAlikeError
    if name and bytes(data)[: ends[-1]] != name * n:
        raise NotAlikeError
