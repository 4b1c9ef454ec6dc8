"""What stands where in some JSON documents: every path to a value, with its types and how its values vary."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

MAX_DEPTH = 6
MAX_PATHS = 3_000
MAX_ITEMS = 20
PERSONAL = re.compile(
    r"(^|[_.\-])(e?mail|phone|mobile|tel|first_?name|last_?name|full_?name|surname|user_?name|customer_?name|birth\w*|dob"
    r"|ssn|iban|bic|card_?(no|number)|passport|street|address|postcode|zip\w*|ip|ip_?address|lat|lon|latitude|longitude"
    r"|text|comment|message|prompt|question|answer)($|[_.\-\[])",
    re.IGNORECASE,
)
_MAIL = re.compile(r"[^@\s]+@[^@\s]+\.[a-z]{2,}", re.IGNORECASE)
_PLAIN = re.compile(r'[^.\[\]"]+')
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


class Leaf:
    """The values at one path, one for each document or item that has it.

    Attributes
    ----------
    path
        As `schemas.paths` reads it.
    values
        The values seen, without those missing.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.values: list[Any] = []
        self.n_missing = 0

    @property
    def name(self) -> str:
        """The last name of the path, in lower case with underscores."""
        last = re.split(r'[.\[\]"]+', self.path.rstrip('"]'))[-1]
        return _CAMEL.sub("_", last).lower()

    @property
    def kinds(self) -> list[str]:
        """The types of the values, in words."""
        return sorted({kind(value) for value in self.values})

    @property
    def scalar(self) -> bool:
        """Whether all values are numbers, texts or booleans."""
        return bool(self.values) and not {"list", "object"} & set(self.kinds)

    @property
    def n_distinct(self) -> int:
        """How many different values there are."""
        return len(set(map(repr, self.values)))

    @property
    def distinct(self) -> bool:
        """Whether no value comes twice, of enough to tell."""
        return len(self.values) >= 5 and self.n_distinct == len(self.values)

    @property
    def personal(self) -> bool:
        """Whether name or values look as if they told of a person; long texts count as that."""
        texts = [value for value in self.values if type(value) is str]
        told = any(_MAIL.search(text) or len(text) > 60 for text in texts)
        return told or PERSONAL.search(_CAMEL.sub("_", self.path)) is not None


def kind(value: Any) -> str:
    """Return the type of a JSON value in words."""
    if isinstance(value, bool):
        return "boolean"
    return {int: "number", float: "number", str: "text", list: "list", dict: "object"}.get(type(value), "null")


def leaves(documents: Sequence[Any]) -> dict[str, Leaf]:
    """Return the leaves of documents by path; lists of objects are walked item by item, as ``rows[*].age``.

    >>> sorted(leaves([{"a": {"b": 1}, "c": [{"d": 2}, {"d": 3}]}]))
    ['a.b', 'c[*].d']
    """
    found: dict[str, Leaf] = {}

    for document in documents:
        for path, value in _walk(document, "", 0, starred=False):
            leaf = found.get(path)
            if leaf is None:
                if len(found) >= MAX_PATHS:
                    continue
                leaf = found[path] = Leaf(path)
            if value is None:
                leaf.n_missing += 1
            else:
                leaf.values.append(value)

    return found


def _walk(value: Any, path: str, depth: int, *, starred: bool) -> Iterator[tuple[str, Any]]:
    if type(value) is dict and value and depth < MAX_DEPTH:
        for name, inner in value.items():
            step = name if _PLAIN.fullmatch(name) else None
            if step is None and ('"' in name or not name or len(path) + len(name) > 400):
                continue  # no path leads there
            joined = f'{path}["{name}"]' if step is None else f"{path}.{name}" if path else name
            yield from _walk(inner, joined, depth + 1, starred=starred)
    elif type(value) is list and not starred and value and all(type(item) is dict for item in value):
        for item in value[:MAX_ITEMS]:
            yield from _walk(item, f"{path}[*]", depth + 1, starred=True)
    else:
        yield path, value
