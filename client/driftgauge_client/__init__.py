"""driftgauge-client: tell driftgauge what a model was asked, what it answered and what came of it.

The functions here use one client made from the environment at the first call; `configure` makes it
with other settings. See `Client`.
"""

from __future__ import annotations

from driftgauge_client.buffer import Stats
from driftgauge_client.client import Client
from driftgauge_client.default import close, configure, feedback, feedback_many, flush, log, log_many, stats
from driftgauge_client.settings import Settings, SettingsError

__all__ = [
    "Client",
    "Settings",
    "SettingsError",
    "Stats",
    "close",
    "configure",
    "feedback",
    "feedback_many",
    "flush",
    "log",
    "log_many",
    "stats",
]
