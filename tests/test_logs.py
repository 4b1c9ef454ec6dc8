"""Log lines: fields for machines, text for people, and no secret in either."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import SecretStr

from streams import logs
from streams.settings import Settings

SECRET = 'hunter2 "very" secret'
PLACE = {"agent": "judge", "model": "credit-risk", "topic": "drift.evidence.v1", "partition": 3, "offset": 41}


@pytest.fixture(autouse=True)
def root() -> Iterator[None]:
    """Leave the root logger as it was."""
    logger = logging.getLogger()
    handlers, level = logger.handlers[:], logger.level
    yield
    logger.handlers[:] = handlers
    logger.setLevel(level)


def _written(capsys: pytest.CaptureFixture[str], **settings: Any) -> list[str]:
    logs.start(Settings(sasl_password=SecretStr(SECRET), otlp_headers={"k": SecretStr(SECRET)}, **settings), "detect")
    logger = logging.getLogger("streams.engine.agent")
    logger.error("state_lost: %d records, %s", 7, SECRET, extra=PLACE)
    try:
        raise ValueError(f"cannot log in with {SECRET}")
    except ValueError:
        logger.exception("failed")
    return capsys.readouterr().err.splitlines()


def test_a_json_line_has_role_and_place_as_fields(capsys: pytest.CaptureFixture[str]) -> None:
    first, second = map(json.loads, _written(capsys, log_format="json"))
    assert first["time"].endswith("+00:00")
    del first["time"]
    assert first == {
        "level": "ERROR", "logger": "streams.engine.agent", "role": "detect",
        "message": "state_lost: 7 records, ***", **PLACE,
    }  # fmt: skip
    assert second["message"] == "failed"
    assert "Traceback" in second["exception"]


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_no_line_shows_a_secret(capsys: pytest.CaptureFixture[str], log_format: str) -> None:
    text = "\n".join(_written(capsys, log_format=log_format))
    assert "hunter2" not in text
    assert text.count(logs.HIDDEN) >= 2


def test_the_libraries_are_quiet_unless_asked(capsys: pytest.CaptureFixture[str]) -> None:
    logs.start(Settings(), "detect")
    logging.getLogger("aiokafka.conn").info("Authenticated")
    assert capsys.readouterr().err == ""
    logs.start(Settings(log_level="DEBUG"), "detect")
    logging.getLogger("aiokafka.conn").info("Authenticated")
    assert "Authenticated" in capsys.readouterr().err
    logs.start(Settings(), "detect")
