"""``python -m streams.reference`` writes the tables of docs/operations.md anew, from the code that they describe."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from streams import permissions
from streams.settings import Settings, variable
from streams.sinks import metrics

PAGE = Path(__file__).resolve().parent.parent / "docs" / "operations.md"
MARKED = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def settings_table() -> str:
    """Return every setting with its default and meaning."""
    return _table(
        ("variable", "default", "meaning"),
        ((f"`{variable(name)}`", _default(field), _meaning(field)) for name, field in Settings.model_fields.items()),
    )


def _default(field: FieldInfo) -> str:
    value: Any = field.default.get_secret_value() if isinstance(field.default, SecretStr) else field.default
    if value is None or value == "" or value == {}:
        return ""
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _meaning(field: FieldInfo) -> str:
    choices = [choice for choice in get_args(field.annotation) if isinstance(choice, str)]
    parts = [field.description or "", " ".join(f"`{choice}`" for choice in choices)]
    secret = "a secret" if "SecretStr" in str(field.annotation) else ""
    return "; ".join(part for part in (*parts, secret) if part)


def metrics_table() -> str:
    """Return every metric with its labels, meaning and what to do about it."""
    return _table(
        ("metric", "labels", "meaning", "what to do"),
        ((f"`{metrics.PREFIX}{one.name}`", ", ".join(one.labels), one.meaning, one.remedy) for one in metrics.ALL),
    )


def _table(head: tuple[str, ...], rows: Iterator[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |\n" for line in lines)


TABLES = {"permissions": permissions.table, "settings": settings_table, "metrics": metrics_table}


def written(page: str) -> str:
    """Return a page with the tables between its marks as the code has them."""
    return MARKED.sub(lambda mark: f"{mark[1]}{TABLES[mark[2]]()}{mark[3]}", page)


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
