"""Payloads of inference servers: Open Inference Protocol V2, KServe V1 (TensorFlow Serving) and Seldon's own.

Requests become rows of named values, responses one prediction a row. Sources: the Open Inference Protocol's REST
specification, KServe's V1 protocol, TensorFlow Serving's REST API, Seldon Core's prediction message.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from math import prod
from typing import Any

from schemas.messages import MAX_ROWS, BadMessageError

Row = dict[str, Any]


def is_request(payload: Any) -> bool | None:
    """Tell a request from a response by its fields; None where neither can be seen."""
    if type(payload) is not dict:
        return None
    if "inputs" in payload or "instances" in payload:
        return True
    if "outputs" in payload or "predictions" in payload or "error" in payload:
        return False
    return None


def rows_of(payload: Any, names: Sequence[str] = (), *, max_values: int = 2_000) -> list[Row]:
    """Return the rows of a request.

    Parameters
    ----------
    payload
        V2: `inputs` of tensors; V1: `instances` (or columns in `inputs`); Seldon: `data` with `names`.
    names
        Of values that come without one: the columns of V1 lists, or of a single V2 tensor.
    max_values
        The most values a row may have.

    Raises
    ------
    BadMessageError
        Naming what does not fit.

    >>> rows_of({"inputs": [{"name": "x", "shape": [2, 2], "datatype": "FP32", "data": [1, 2, 3, 4]}]}, ["a", "b"])
    [{'a': 1, 'b': 2}, {'a': 3, 'b': 4}]
    """
    if type(payload) is not dict:
        raise BadMessageError("wrong_type", "the request is no JSON object")
    if type(payload.get("instances")) is list:
        rows = [_named(item, names) for item in payload["instances"]]
    elif type(payload.get("inputs")) is list:
        columns: dict[str, list[Any]] = {}
        tensors = payload["inputs"]
        for tensor in tensors:
            columns |= _tensor_columns(tensor, names if len(tensors) == 1 else (), "inputs", max_values)
        rows = _transposed(columns, "inputs")
    elif type(payload.get("inputs")) is dict:
        rows = _transposed({name: _listed(values) for name, values in payload["inputs"].items()}, "inputs")
    elif type(payload.get("data")) is dict:
        rows = [_named(item, names or payload["data"].get("names") or ()) for item in _seldon(payload["data"])]
    else:
        raise BadMessageError("missing_field", "the request has none of `inputs` (V2), `instances` (V1) and `data`")
    _bounded(rows, max_values)
    return rows


def outputs_of(payload: Any) -> dict[str, list[Any]]:
    """Return the outputs of a response by name, each with one value, or list of values, a row.

    Raises
    ------
    BadMessageError
        Naming what does not fit.

    >>> outputs_of({"outputs": [{"name": "p", "shape": [2, 1], "datatype": "FP32", "data": [0.1, 0.9]}]})
    {'p': [0.1, 0.9]}
    """
    if type(payload) is not dict:
        raise BadMessageError("wrong_type", "the response is no JSON object")
    if "predictions" in payload:
        return {"predictions": [_single(item) for item in _listed(payload["predictions"])]}
    if type(payload.get("outputs")) is list:
        return {_name(tensor, "outputs"): _rows_of_tensor(tensor, "outputs") for tensor in payload["outputs"]}
    if "outputs" in payload:
        outputs = payload["outputs"]
        named = outputs if type(outputs) is dict else {"outputs": outputs}
        return {name: [_single(item) for item in _listed(values)] for name, values in named.items()}
    if type(payload.get("data")) is dict:
        data = payload["data"]
        names = data.get("names") or ()
        return {"data": [_scored(item, names) for item in _seldon(data)]}
    if "error" in payload:
        return {}
    raise BadMessageError("missing_field", "the response has none of `outputs` (V2), `predictions` (V1) and `data`")


def _tensor_columns(tensor: Any, names: Sequence[str], field: str, max_values: int) -> dict[str, list[Any]]:
    """Return a tensor as columns: its name, or with several values a row a name for each."""
    name, rows = _name(tensor, field), _rows_of_tensor(tensor, field)
    width = max((len(row) for row in rows if type(row) is list), default=0)
    if not width:
        return {names[0] if len(names) == 1 else name: rows}
    if width > max_values:
        detail = f"`{name[:80]}` has {width} values a row; the limit is {max_values}: name the features to watch"
        raise BadMessageError("too_many_features", detail)
    labels = names if len(names) == width else [f"{name}[{place}]" for place in range(width)]
    return {label: [row[place] for row in rows] for place, label in enumerate(labels)}


def _name(tensor: Any, field: str) -> str:
    if type(tensor) is not dict or type(tensor.get("name")) is not str:
        raise BadMessageError("missing_field", f"a tensor of `{field}` has no `name`")
    return str(tensor["name"])


def _rows_of_tensor(tensor: dict[str, Any], field: str) -> list[Any]:
    """Return a tensor's first axis: single values, or flat lists of the others."""
    where = f"`{field}` {str(tensor.get('name'))[:80]!r}"
    data, shape = tensor.get("data"), tensor.get("shape")
    if data is None and "binary_data_size" in (tensor.get("parameters") or {}):
        raise BadMessageError("binary_tensor", f"{where} is binary; log tensors as JSON")
    if type(data) is not list or type(shape) is not list or not all(type(n) is int and n >= 0 for n in shape):
        raise BadMessageError("missing_field", f"{where} needs `shape` and `data`")
    while data and type(data[0]) is list:  # nested or flat, the protocol allows both
        try:
            data = list(chain.from_iterable(data))
        except TypeError:
            raise BadMessageError("wrong_type", f"{where}: `data` is nested unevenly") from None
    if prod(shape) != len(data):
        raise BadMessageError("wrong_type", f"{where}: shape {shape} does not hold {len(data)} values")
    n_rows = shape[0] if shape else 1
    width = len(data) // n_rows if n_rows else 0
    return data if width <= 1 else [data[at : at + width] for at in range(0, len(data), width)]


def _seldon(data: dict[str, Any]) -> list[Any]:
    if type(data.get("ndarray")) is list:
        return list(data["ndarray"])
    if type(tensor := data.get("tensor")) is dict:
        return _rows_of_tensor({"name": "tensor", "shape": tensor.get("shape"), "data": tensor.get("values")}, "data")
    raise BadMessageError("missing_field", "`data` has neither `ndarray` nor `tensor`")


def _scored(item: Any, names: Sequence[str]) -> Any:
    if type(item) is list and len(item) > 1 and len(names) == len(item):
        return dict(zip(map(str, names), item, strict=True))
    return _single(item)


def _named(item: Any, names: Sequence[str]) -> Row:
    if type(item) is dict:
        return item
    values = item if type(item) is list else [item]
    labels = names if len(names) == len(values) else [f"[{place}]" for place in range(len(values))]
    return dict(zip(labels, values, strict=True))


def _single(item: Any) -> Any:
    return item[0] if type(item) is list and len(item) == 1 else item


def _listed(values: Any) -> list[Any]:
    return values if type(values) is list else [values]


def _transposed(columns: dict[str, list[Any]], field: str) -> list[Row]:
    lengths = {len(values) for values in columns.values()}
    if len(lengths) > 1:
        raise BadMessageError("unequal_lengths", f"the tensors of `{field}` have {sorted(lengths)} rows")
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def _bounded(rows: list[Row], max_values: int) -> None:
    if len(rows) > MAX_ROWS:
        raise BadMessageError("too_many_rows", f"{len(rows)} rows in one request; the limit is {MAX_ROWS}")
    widest = max(map(len, rows), default=0)
    if widest > max_values:
        detail = f"{widest} values a row; the limit is {max_values}: name the features to watch"
        raise BadMessageError("too_many_features", detail)
