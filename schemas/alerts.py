"""The states of an alert: one episode of drift of one model and slice."""

from __future__ import annotations

from typing import Literal

import msgspec

from schemas.results import Severity

State = Literal["open", "acknowledged", "resolved", "silenced"]


class AlertFeature(msgspec.Struct, frozen=True):
    """One drifted feature of an episode, in the words a person reads."""

    feature: str
    since: int
    effect: float
    line: float
    severity: Severity = ""
    reason: str = ""
    before: str = ""
    after: str = ""


class Alert(msgspec.Struct, frozen=True):
    """One state of one episode; (`episode_id`, `sequence`) is the dedup key everywhere.

    `deployments` are (version, event time in ms of its first event) of new versions of the model that may
    have to do with it: from the length of the longest scale before it opened, to this state.
    """

    episode_id: str
    sequence: int
    state: State
    previous: State | None
    why: str
    model: str
    version: str
    slice: str
    severity: Severity
    opened: int
    time: int
    features: list[AlertFeature]
    baseline_id: str = ""
    expected_false_alarms_per_week: float = 1.0
    owner: str | None = None
    runbook_url: str | None = None
    by: str | None = None
    label: str | None = None
    deployments: list[tuple[str, int]] = []


encode = msgspec.json.Encoder().encode
decode = msgspec.json.Decoder(Alert).decode
