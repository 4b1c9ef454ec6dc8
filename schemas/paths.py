"""Paths into JSON documents, compiled once and walked column by column.

``a.b``, ``a[0]``, ``a[-1]``, ``a["with.dot"]``; one ``[*]`` makes a row of each item of a list:
``instances[*].age``. A leading ``$.`` may be written and means nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

MAX_PATH = 500
_TOKEN = re.compile(r'\.?([^.\[\]"]+)|\[(-?\d+)\]|\["([^"]+)"\]|(\[\*\])')
Step = str | int


class BadPathError(ValueError):
    """A text that is no path."""


class Path(NamedTuple):
    """A compiled path: steps to a value, or to a list (`before`) and from each of its items on (`after`)."""

    text: str
    before: tuple[Step, ...]
    after: tuple[Step, ...] | None = None

    @property
    def starred(self) -> bool:
        """Whether the path leads to one value per item of a list."""
        return self.after is not None


def compiled(text: str) -> Path:
    """Return the path a text describes.

    Raises
    ------
    BadPathError
        Saying where the text stops being a path.

    >>> compiled('$.instances[*].age')
    Path(text='$.instances[*].age', before=('instances',), after=('age',))
    """
    if not text or len(text) > MAX_PATH:
        raise BadPathError(f"a path has 1 to {MAX_PATH} characters")
    rest = text.removeprefix("$") if text.startswith(("$.", "$[")) else text
    before: list[Step] = []
    after: list[Step] | None = None
    position = 0
    while position < len(rest):
        found = _TOKEN.match(rest, position)
        dotted = found is not None and found.group(1) is not None and rest[position] == "."
        bare_start = position == 0 and found is not None and found.group(1) is not None
        if found is None or (found.group(1) is not None and not dotted and not bare_start):
            raise BadPathError(f"{text[:80]!r} is no path at {rest[position:][:20]!r}; write a.b, a[0], a[*].b")
        name, index, quoted, star = found.groups()
        if star:
            if after is not None:
                raise BadPathError(f"{text[:80]!r} has more than one [*]")
            after = []
        else:
            steps = before if after is None else after
            steps.append(int(index) if index else name or quoted)
        position = found.end()
    return Path(text, tuple(before), None if after is None else tuple(after))


class Columns:
    """Values of documents by path, each step walked once however many paths share it.

    >>> Columns([{"a": {"b": 1}}, {"a": 2}]).at(("a", "b"))
    [1, None]
    """

    def __init__(self, documents: list[Any]) -> None:
        self._found: dict[tuple[Step, ...], list[Any]] = {(): documents}

    def at(self, steps: tuple[Step, ...]) -> list[Any]:
        """Return the value each document has there; None where it has none."""
        found = self._found.get(steps)
        if found is None:
            inside, step = self.at(steps[:-1]), steps[-1]
            if isinstance(step, str):
                found = [value.get(step) if type(value) is dict else None for value in inside]
            else:
                found = [
                    value[step] if type(value) is list and -len(value) <= step < len(value) else None
                    for value in inside
                ]
            self._found[steps] = found
        return found


class Rows:
    """The rows of documents: one each, or one per item of the lists that starred paths lead to.

    Parameters
    ----------
    lengths
        Rows of each document; None when each is one row.
    """

    def __init__(self, documents: list[Any], lengths: Sequence[int] | None) -> None:
        self._columns, self._lengths = Columns(documents), lengths
        self._items: dict[tuple[Step, ...], Columns] = {}

    def at(self, path: Path) -> list[Any]:
        """Return the value of each row there; what is not starred is the same for all rows of a document."""
        values = self._columns.at(path.before)
        if self._lengths is None:
            return values
        if path.after is None:
            return [value for value, n in zip(values, self._lengths, strict=True) for _ in range(n)]
        items = self._items.get(path.before)
        if items is None:
            flat: list[Any] = []
            for value, n in zip(values, self._lengths, strict=True):
                flat += value if type(value) is list and len(value) == n else [None] * n
            items = self._items[path.before] = Columns(flat)
        return items.at(path.after)
