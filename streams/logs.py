"""What a role logs: text for people or one JSON object a line, with its role and place, and never a secret."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import orjson
from pydantic import SecretStr

from streams.settings import Settings

TEXT = "%(asctime)s %(levelname)s %(name)s %(message)s"
NOISY = ("aiokafka", "faust", "mode")
HIDDEN = "***"
MIN_SECRET = 4  # shorter ones would hide ordinary words
_OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def _secrets(value: Any) -> Iterator[str]:
    if isinstance(value, SecretStr):
        yield value.get_secret_value()
    elif isinstance(value, dict):
        for one in value.values():
            yield from _secrets(one)


class TextFormatter(logging.Formatter):
    """Lines for people, secrets left out."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(TEXT)
        found = {secret for field in type(settings).model_fields for secret in _secrets(getattr(settings, field))}
        self._secrets = sorted((secret for secret in found if len(secret) >= MIN_SECRET), key=len, reverse=True)

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        return self.hidden(super().format(record))

    def hidden(self, text: str) -> str:
        """Return a text without the values of secret settings."""
        for secret in self._secrets:
            text = text.replace(secret, HIDDEN)
        return text


class JsonFormatter(TextFormatter):
    """One JSON object a line: time, level, logger, message, role, what `extra` gave, and the exception."""

    def __init__(self, settings: Settings, role: str) -> None:
        super().__init__(settings)
        self._role = role

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        fields: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": self.hidden(record.getMessage()),
            "role": self._role,
        }
        for name, value in vars(record).items():
            if name not in _OWN and not name.startswith("_"):
                fields[name] = value if value is None or isinstance(value, int | float) else self.hidden(str(value))
        if record.exc_info:
            fields["exception"] = self.hidden(self.formatException(record.exc_info))
        return orjson.dumps(fields, default=str).decode()


def start(settings: Settings, role: str) -> None:
    """Let everything this process logs be written as the settings say, and nothing else be."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter(settings, role) if settings.log_format == "json" else TextFormatter(settings))
    logging.basicConfig(level=settings.log_level, handlers=[handler], force=True)
    for noisy in NOISY:
        logging.getLogger(noisy).setLevel("WARNING" if settings.log_level == "INFO" else settings.log_level)
