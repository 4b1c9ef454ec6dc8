"""Alerts for tests of the sinks that tell people."""

from __future__ import annotations

from typing import Any

import msgspec

from schemas.alerts import Alert, AlertFeature

HOUR_MS = 3_600_000
OPENED_MS = 1_772_370_000_000  # 2026-03-01 13:00 UTC

INCOME = AlertFeature(
    feature="income",
    since=OPENED_MS - HOUR_MS,
    effect=0.208,
    line=0.041,
    severity="moderate",
    reason="psi",
    before="mean 32,000, 10-90 % 14,000-61,000",
    after="mean 41,500, 10-90 % 19,000-70,000",
)
CITY = AlertFeature(
    feature="city",
    since=OPENED_MS,
    effect=0.31,
    line=0.05,
    severity="major",
    reason="growth",
    before="Lyon 10 %, Paris 52 %",
    after="Lyon 31 %, Paris 40 %",
)
ONE = Alert(
    episode_id="credit-risk/2026-03-01T12:00Z/1",
    sequence=1,
    state="open",
    previous=None,
    why="drift",
    model="credit-risk",
    version="7",
    slice="",
    severity="moderate",
    opened=OPENED_MS,
    time=OPENED_MS,
    features=[INCOME],
    owner="team-credit",
    runbook_url="https://runbooks.example/credit",
)
HOSTILE = "<!channel> *bold* `code` & </script>\n\r\u202e<https://evil.example|click>\x00"


def alert(**changes: Any) -> Alert:
    return msgspec.structs.replace(ONE, **changes)


def feature(**changes: Any) -> AlertFeature:
    return msgspec.structs.replace(INCOME, **changes)


def many(n_features: int) -> Alert:
    """Return an alert with this many numbered features, of rising effect and mixed severity."""
    names = [
        feature(feature=f"f{n:02}", effect=0.05 + n / 100, severity=("minor", "moderate", "major")[n % 3])
        for n in range(n_features)
    ]
    return alert(severity="major", features=names, slice="country=FR")


def resolved() -> Alert:
    changes: dict[str, Any] = {"sequence": 4, "state": "resolved", "previous": "open", "why": "over"}
    return alert(**changes, time=OPENED_MS + 2 * HOUR_MS, features=[CITY, INCOME])


def worse() -> Alert:
    changes: dict[str, Any] = {"sequence": 2, "previous": "open", "why": "worse", "severity": "major"}
    return alert(**changes, time=OPENED_MS + HOUR_MS, features=[INCOME, CITY])


def hostile(n: int = 1) -> Alert:
    """Return an alert in which every name is hostile, and n times as long."""
    name = HOSTILE * n
    bad = feature(feature=name, before=name, after=name, reason=name)
    named = dict.fromkeys(("model", "version", "slice", "owner", "by", "episode_id"), name)
    return alert(**named, runbook_url="javascript:" + name, features=[bad] * (1 if n == 1 else 60))
