"""The command that judges an alert's time again."""

from __future__ import annotations

import shlex
from datetime import UTC, datetime

from schemas.alerts import Alert


def command_for(alert: Alert) -> str:
    """Return the command that judges an alert's time again from the events topic."""
    since = min([feature.since for feature in alert.features], default=alert.opened)
    day = datetime.fromtimestamp(since / 1000, UTC).strftime("%Y-%m-%d")
    return f"driftgauge replay --model {shlex.quote(alert.model)} --from {day}"
