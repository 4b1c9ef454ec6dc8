"""What to watch for a model. Every field has a default, so an unknown model needs none."""

from __future__ import annotations

from typing import Annotated, Literal
from zoneinfo import ZoneInfo

import msgspec
from msgspec import Meta

Window = Literal["auto", "1m", "5m", "15m", "1h", "6h", "1d", "7d"]
Sensitivity = Literal["default", "high", "strict"]
FeatureType = Literal["auto", "numeric", "categorical", "text", "embedding"]


class FixedLimit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A fixed limit on one statistic, beside the rule."""

    name: str
    threshold: Annotated[float, Meta(gt=0)]


class FeatureMonitor(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What differs from the default for one feature."""

    type: FeatureType = "auto"
    sensitive: bool = False
    ignore: bool = False
    statistics: list[FixedLimit] = []


class Monitor(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The settings of one model.

    `lateness_windows` is in base windows, `idle_s` in seconds; `budget` is the expected number of
    false alarms per week for this model, over every monitored series. `timezone` is an IANA name.
    """

    model: Annotated[str, Meta(min_length=1, max_length=200)]
    monitor_version: int = 0
    effective_from: int = 0
    owner: str | None = None
    purpose: str | None = None
    criticality: str | None = None
    runbook_url: str | None = None
    timezone: str = "UTC"
    window: Window = "auto"
    scales: Annotated[list[Annotated[int, Meta(ge=1, le=125)]], Meta(min_length=1, max_length=5)] = msgspec.field(
        default_factory=lambda: [1, 5, 25]
    )
    lateness_windows: Annotated[float, Meta(ge=0, le=100)] = 1.0
    idle_s: Annotated[float, Meta(gt=0, le=604800)] = 60.0
    budget: Annotated[float, Meta(gt=0, le=1000)] = 1.0
    sensitivity: Sensitivity = "default"
    versions: Literal["inherit", "learn", "none"] = "inherit"
    baseline: str = "auto"
    learn_rows: Annotated[int, Meta(ge=500, le=1_000_000)] = 10_000
    features: dict[str, FeatureMonitor] = {}
    routes: list[str] = []

    def __post_init__(self) -> None:
        """Refuse a time zone in which no window could be aligned."""
        try:
            ZoneInfo(self.timezone)
        except (KeyError, ValueError, OSError):
            shown = self.timezone[:80]
            raise ValueError(
                f"{shown!r} is no known time zone; use a name such as Europe/Paris - at `$.timezone`"
            ) from None


encode = msgspec.json.Encoder().encode
decode = msgspec.json.Decoder(Monitor).decode
