"""What `history.History` answers with, where it is not a message. Times are epoch milliseconds."""

from __future__ import annotations

from typing import NamedTuple

from schemas.results import Severity, Verdict


class ModelState(NamedTuple):
    """A model as its newest window of the smallest scale left it. Times in epoch milliseconds."""

    model: str
    version: str
    state: Verdict
    rows: int
    window_start: int
    window_end: int
    n_features: int
    n_drifted: int
    severity: Severity


class FeatureState(NamedTuple):
    """The newest verdict about one feature."""

    feature: str
    slice: str
    scale: int
    window_start: int
    window_end: int
    verdict: Verdict
    severity: Severity
    reason: str
    rows: int
    missing: int
    effect: float
    line: float
    before: str
    after: str


class Point(NamedTuple):
    """One window in a feature's series of one test: the value, what noise alone shows, the alarm line."""

    window_start: int
    window_end: int
    verdict: Verdict
    test: str
    value: float
    noise: float
    line: float
    effect: float
    rows: int


class Distribution(NamedTuple):
    """The rows per bin of one window; `baseline_id` names whose bins."""

    window_start: int
    window_end: int
    baseline_id: str
    counts: list[int]


class StoredWarning(NamedTuple):
    """A change point as stored."""

    model: str
    slice: str
    feature: str
    detector: str
    time: int
    before: float
    after: float


class Prediction(NamedTuple):
    """A stored prediction: a number or a label."""

    id: str
    version: str
    time: int
    number: float | None
    label: str
