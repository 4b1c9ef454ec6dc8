"""Messages a sender might get wrong: seeded mutations of good ones."""

from __future__ import annotations

import json
from collections.abc import Callable
from random import Random
from typing import Any

import pyarrow as pa

from schemas.messages import ARROW
from tests.schemas.rows import T0, arrow, encoded

Message = tuple[bytes | None, str | None]
"""A record's value and its content type."""

HUGE = ["1" * 400, "-1e999", "1e400", "9" * 30, "NaN", "Infinity", "-0", "1" * 6_000]
WRONG: list[Any] = [
    None,
    True,
    "",
    "text",
    1.5,
    -1,
    2**80,
    [],
    {},
    [[]],
    {"a": {"b": []}},
    ["\ud800"],
    "\udfff",
    "\x00",
]


def a_row(random: Random) -> dict[str, Any]:
    """A good row."""
    features = {"f0": random.gauss(0, 1), "f1": random.randrange(9), "city": random.choice(["Lyon", "Paris", None])}
    return {"model": "m", "id": "x", "time": T0 + random.randrange(1000), "features": features, "prediction": 0.5}


def a_column_message(random: Random) -> dict[str, Any]:
    """A good micro-batch of three rows."""
    columns = {"f0": [random.gauss(0, 1) for _ in range(3)], "city": ["Lyon", None, "Paris"]}
    return {
        "model": "m",
        "version": "2",
        "times": [T0, T0 + 1, T0 + 2],
        "columns": columns,
        "predictions": [1, None, 2],
    }


def an_arrow_stream(random: Random, model: str = "m") -> bytes:
    """A good Arrow micro-batch of three rows."""
    table = {
        "time": [T0, T0 + 1, T0 + 2],
        "feature.f0": [random.gauss(0, 1), None, 1.5],
        "prediction.yes": [0.1, 0.2, 0.3],
    }
    return arrow({**table, "feature.city": pa.array(["Lyon", None, "Paris"]).dictionary_encode()}, {"model": model})


def any_message(random: Random) -> tuple[bytes, str | None]:
    """A good message of one of the three forms."""
    form = random.randrange(3)
    if form == 2:
        return an_arrow_stream(random), ARROW
    return encoded(a_row(random) if form else a_column_message(random)), None


def flipped(random: Random) -> Message:
    """Some bytes are others."""
    value, content_type = any_message(random)
    damaged = bytearray(value)
    for _ in range(random.choice([1, 1, 3, 20])):
        damaged[random.randrange(len(damaged))] = random.randrange(256)
    return bytes(damaged), content_type


def truncated(random: Random) -> Message:
    """The end is missing."""
    value, content_type = any_message(random)
    return value[: random.randrange(len(value))], content_type


def retyped(random: Random) -> Message:
    """One field has another type."""
    message = random.choice([a_row, a_column_message])(random)
    message[random.choice(list(message))] = random.choice(WRONG)
    return encoded(message), None


def misused(random: Random) -> Message:
    """Optional fields have any type."""
    names = ["version", "latency_ms", "error", "slices", "entity", "feature_version", "metadata", "prediction", "id"]
    return encoded({**a_row(random), **{random.choice(names): random.choice(WRONG) for _ in range(2)}}), None


def absurdly_large(random: Random) -> Message:
    """One number has many digits or is none."""
    text = json.dumps(a_row(random))
    name = random.choice(['"time": ', '"f0": ', '"prediction": '])
    before, after = text.split(name, 1)
    rest = after[min(after.find(end) for end in ",}" if end in after) :]
    return f"{before}{name}{random.choice(HUGE)}{rest}".encode(), None


def unequal(random: Random) -> Message:
    """Columns differ in length."""
    message = a_column_message(random)
    random.choice([message["times"], message["columns"]["f0"], message["predictions"]]).append(T0)
    return encoded(message), None


def mislabelled(random: Random) -> Message:
    """The content type is another's."""
    value, content_type = any_message(random)
    wrong = ["text/csv", "\x00", "application/avro", "application/json" if content_type else ARROW]
    return value, random.choice(wrong)


def deep(random: Random) -> Message:
    """Lists or objects within each other."""
    depth = random.choice([50, 500, 5_000, 100_000])
    opening, closing = random.choice([("[", "]"), ('{"a":', "}")])
    inner = opening * depth + ("1" if opening == '{"a":' else "") + closing * depth
    where = random.choice(['"f0"', '"prediction"', '"metadata"'])
    row = {**a_row(random), "metadata": {}}
    text = json.dumps(row).replace(f"{where}: ", f'{where}: {inner}, "old": ', 1)
    return text.encode(), None


def long_named(random: Random) -> Message:
    """A name or text of enormous length."""
    row = a_row(random)
    long = random.choice(["n", "é", "\ud800"]) * random.choice([201, 5_000, 300_000])
    where = random.choice(["model", "version", "id", "prediction", "feature", "level", "class", "arrow"])
    if where == "arrow":
        return arrow({"time": [T0], "feature." + "f" * 5_000: [1.0]}), ARROW
    if where == "feature":
        row["features"][long] = 1
    elif where == "level":
        row["features"]["city"] = long
    elif where == "class":
        row["prediction"] = {long: 1}
    else:
        row[where] = long
    return encoded(row), None


def half_paired(random: Random) -> Message:
    """Text holds half of a surrogate pair."""
    row = a_row(random)
    where = random.choice(["model", "version", "id", "prediction", "error"])
    row[where] = "m\ud800"
    row["features"]["\udc00"] = row["features"]["city"] = "a\udfffb"
    return encoded(row), None


def empty(random: Random) -> Message:
    """Nothing, or next to nothing."""
    return random.choice([b"", b" ", b"null", b"{}", b"[]", b'""', b"\xff\xff\xff\xff", b"\x00" * 9]), None


def mistyped(random: Random) -> Message:
    """Features are what the baseline does not know them as."""
    features = {name: random.choice([[1], {"a": 1}, "text", 7, True]) for name in ("f0", "f1", "city")}
    return encoded({**a_row(random), "features": features}), None


def tombstone(_: Random) -> Message:
    """No value at all."""
    return None, None


def mistimed(random: Random) -> Message:
    """A time nobody means."""
    times = [1, T0 // 1000, T0 * 1000, -T0, 2**63, T0 + 10**10, "3000-01-01T00:00:00Z", "2026-03-01T12:00:00", True]
    return encoded({**a_row(random), "time": random.choice(times)}), None


MUTATIONS: list[Callable[[Random], Message]] = [
    flipped, truncated, retyped, misused, absurdly_large, unequal, mislabelled, deep, long_named, half_paired, empty,
    mistyped, tombstone, mistimed,
]  # fmt: skip
