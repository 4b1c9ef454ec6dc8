"""The examples of docs/sources.md are what they say."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from schemas.mapped import MappedDecoder
from schemas.records import PlainRecord
from schemas.sources import Mapping, TimeFormat
from streams.commands.monitors import read_monitor
from tests.schemas.rows import T0, seen

PAGE = (Path(__file__).parents[2] / "docs" / "sources.md").read_text()
BLOCKS = re.findall(r"```(yaml|json)\n(.*?)```", PAGE, re.DOTALL)
MONITORS = [text for kind, text in BLOCKS if kind == "yaml"]
WITH_MESSAGES = [
    (text, BLOCKS[place + 1][1], BLOCKS[place + 2][1])
    for place, (kind, text) in enumerate(BLOCKS)
    if kind == "yaml" and [kind for kind, _ in BLOCKS[place + 1 : place + 3]] == ["json", "json"]
]


@pytest.mark.parametrize("text", MONITORS)
def test_every_monitor_can_be_applied(tmp_path: Path, text: str) -> None:
    path = tmp_path / "monitor.yaml"
    path.write_text(text)
    assert read_monitor(path).model == yaml.safe_load(text)["model"]


@pytest.mark.parametrize(("text", "message", "wanted"), WITH_MESSAGES)
def test_every_message_becomes_the_rows_shown(tmp_path: Path, text: str, message: str, wanted: str) -> None:
    path = tmp_path / "monitor.yaml"
    path.write_text(text)
    monitor = read_monitor(path)
    mappings = tuple(Mapping(monitor.model, 0, 1 << 62, source) for source in monitor.sources)
    record = PlainRecord(monitor.sources[0].topic or "", 0, 0, T0, message.encode())
    found = MappedDecoder(lambda: mappings).decode([record])
    assert not found.rejected
    rows: Any = json.loads(wanted)
    assert [row[4] for row in seen(found.batches)[monitor.model]] == (rows if isinstance(rows, list) else [rows])


def test_there_are_messages_and_every_time_format_is_listed() -> None:
    assert len(WITH_MESSAGES) == 2
    for form in TimeFormat.__args__:  # type: ignore[attr-defined]  # a Literal has them
        assert f"`{form}`" in PAGE
