"""What to watch for a model. Every field has a default, so an unknown model needs none.

A file is taken whole or refused (`msgspec.convert` knows every field). A record of the topic may have been written
by a newer release: `decode` leaves out the fields it does not know.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

import msgspec
from msgspec import Meta

from schemas.sources import Constant, Fields, Source

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
    sources: Annotated[list[Source], Meta(max_length=20)] = []

    @property
    def keep_windows(self) -> int:
        """For how many base windows after its end counts of a window are still taken: three of the longest scale."""
        return 3 * max(self.scales)

    @property
    def sensitive_features(self) -> frozenset[str]:
        """The features whose values stand nowhere in clear."""
        return frozenset(name for name, feature in self.features.items() if feature.sensitive)

    def __post_init__(self) -> None:
        """Refuse a time zone in which no window could be aligned, and sources that contradict the rest."""
        try:
            ZoneInfo(self.timezone)
        except (KeyError, ValueError, OSError):
            shown = self.timezone[:80]
            raise ValueError(
                f"{shown!r} is no known time zone; use a name such as Europe/Paris - at `$.timezone`"
            ) from None
        for place, source in enumerate(self.sources):
            if source.format == "open-inference" and self.sensitive_features:
                raise ValueError(
                    "requests wait for their responses in a snapshot as they came, so open-inference cannot be read "
                    f"with sensitive features - at `$.sources[{place}].format`"
                )
            named = source.fields.model
            if isinstance(named, Constant) and named.const != self.model:
                where = f"`$.sources[{place}].fields.model`"
                raise ValueError(f"the rows of this monitor are of {self.model!r}; leave the constant out - at {where}")


encode = msgspec.json.Encoder().encode


def decode(data: bytes) -> Monitor:
    """Return the monitor in a record; fields unknown to this release are left out, at every level.

    Raises
    ------
    msgspec.DecodeError
        When `data` is not a monitor, or a field has a value this release does not know.

    >>> decode(b'{"model": "m", "mood": 1, "features": {"age": {"ignore": true, "mood": 2}}}').features
    {'age': FeatureMonitor(type='auto', sensitive=False, ignore=True, statistics=[])}
    """
    try:
        plain = _known(msgspec.json.decode(data), Monitor)
    except (UnicodeDecodeError, RecursionError) as error:
        raise msgspec.DecodeError(f"not a monitor: {error}") from None
    return msgspec.convert(plain, Monitor)


_EACH: dict[tuple[type[msgspec.Struct], str], type[msgspec.Struct]] = {
    (Monitor, "features"): FeatureMonitor,
    (FeatureMonitor, "statistics"): FixedLimit,
    (Monitor, "sources"): Source,
}
_ONE: dict[tuple[type[msgspec.Struct], str], type[msgspec.Struct]] = {(Source, "fields"): Fields}


def _known(plain: Any, kind: type[msgspec.Struct]) -> Any:
    """Return `plain` without fields `kind` lacks; what has another shape stays, to be refused by its name."""
    if not isinstance(plain, dict):
        return plain
    known = {name: value for name, value in plain.items() if name in kind.__struct_fields__}
    for name, value in known.items():
        if (kind, name) in _ONE:
            known[name] = _known(value, _ONE[kind, name])
        elif (inner := _EACH.get((kind, name))) and isinstance(value, dict):
            known[name] = {key: _known(one, inner) for key, one in value.items()}
        elif inner and isinstance(value, list):
            known[name] = [_known(one, inner) for one in value]
    return known
