"""The JSON Schemas of every JSON message, made from the types that decode them.

``python -m schemas.published`` writes them to ``schemas/json/``; a test holds the files to the types.
"""

from __future__ import annotations

import json
from inspect import cleandoc
from pathlib import Path
from typing import Any

import msgspec

from schemas.alerts import Alert
from schemas.events import EventColumns, EventRow
from schemas.feedback import Feedback, FeedbackColumns
from schemas.monitors import Monitor
from schemas.results import Result

FOLDER = Path(__file__).parent / "json"
DIALECT = "https://json-schema.org/draft/2020-12/schema"
MESSAGES: dict[str, type[msgspec.Struct]] = {
    "event": EventRow,
    "event-columns": EventColumns,
    "feedback": Feedback,
    "feedback-columns": FeedbackColumns,
    "monitor": Monitor,
    "result": Result,
    "alert": Alert,
}


def schema(name: str) -> dict[str, Any]:
    """Return the JSON Schema of one kind of message.

    >>> schema("alert")["$id"]
    'urn:driftgauge:schema:alert:v1'
    """
    (reference,), definitions = msgspec.json.schema_components([MESSAGES[name]], ref_template="#/$defs/{name}")
    top = definitions.pop(reference["$ref"].removeprefix("#/$defs/"))
    made = {"$schema": DIALECT, "$id": f"urn:driftgauge:schema:{name}:v1", **top}
    whole: dict[str, Any] = _dedented({**made, "$defs": dict(sorted(definitions.items()))} if definitions else made)
    return whole


def _dedented(node: Any) -> Any:
    """Return a schema whose descriptions are docstrings without the indent of the code they stood in."""
    if isinstance(node, list):
        return list(map(_dedented, node))
    if isinstance(node, dict):
        cleaned = {name: _dedented(value) for name, value in node.items()}
        if isinstance(node.get("description"), str):
            cleaned["description"] = cleandoc(node["description"])
        return cleaned
    return node


def text(name: str) -> str:
    """Return the file of one kind of message."""
    return json.dumps(schema(name), indent=2, ensure_ascii=False) + "\n"


def path(name: str) -> Path:
    """Return where the file of one kind of message stands."""
    return FOLDER / f"{name}.json"


def main() -> None:
    """Write every file."""
    FOLDER.mkdir(exist_ok=True)
    for name in MESSAGES:
        path(name).write_text(text(name), encoding="utf-8")


if __name__ == "__main__":
    main()
