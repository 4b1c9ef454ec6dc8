"""The tables of the store, as numbered SQL files: applied by the store role, or by hand in this order."""

from __future__ import annotations

from importlib.resources import files


def migrations() -> list[tuple[str, str]]:
    """Return (file name, SQL) of every migration, in order."""
    folder = files(__name__)
    return sorted((each.name, each.read_text("utf-8")) for each in folder.iterdir() if each.name.endswith(".sql"))


def statements(text: str) -> list[str]:
    """Split a migration at its semicolons; comments are lines that start with ``--``.

    >>> statements("-- why\\nCREATE TABLE a (x Int8);\\nDROP TABLE b;\\n")
    ['CREATE TABLE a (x Int8)', 'DROP TABLE b']
    """
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("--")]
    return [statement for each in "\n".join(lines).split(";") if (statement := each.strip())]
