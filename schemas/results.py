"""The judgement of one window of a model, as published on the results topic."""

from __future__ import annotations

from typing import ClassVar, Literal

import msgspec

Verdict = Literal["ok", "drift", "insufficient", "reference_too_short", "no_baseline"]
Severity = Literal["", "minor", "moderate", "major"]


class Test(msgspec.Struct, frozen=True, omit_defaults=True):
    """One test of one feature: what was measured, what noise alone would show, the alarm line."""

    __test__: ClassVar[bool] = False  # no test case, whatever pytest makes of its name

    value: float
    noise: float
    line: float
    effect: float
    interval: tuple[float, float] | None = None
    drifted: bool = False


class FeatureVerdict(msgspec.Struct, frozen=True, omit_defaults=True):
    """The decision about one feature in one window.

    `tests` is keyed by the test's name: ``psi``, ``ks``, ``location``, ``scale``, ``growth``,
    ``share``. `counts` are the current rows per bin of the baseline (`bins` names them), so that
    a distribution can be drawn and judged again without raw rows.
    """

    feature: str
    verdict: Verdict
    severity: Severity = ""
    reason: str = ""
    tests: dict[str, Test] = {}
    rows: int = 0
    missing: int = 0
    unseen: int = 0
    type_errors: int = 0
    before: str = ""
    after: str = ""
    top_bins: list[tuple[str, float, float]] = []
    counts: list[int] = []


class Warning(msgspec.Struct, frozen=True):
    """A change point of a sequential detector. Alone it never pages."""

    feature: str
    detector: str
    time: int
    before: float
    after: float


class Result(msgspec.Struct, frozen=True):
    """All features of one (model, slice, scale, window).

    Identity is (run_id, model, baseline_id, slice, scale, window_start). `revision` grows with what
    the window was judged from (two for each row counted or late, one more once sealed; rows of a wide
    model count once for each part their counts come in), so it is a function of the data alone. A
    higher one replaces a lower one; of equal ones the later record holds, because what is said beside
    the counts (`flags`, `deployments`) may become known after them. Only `produced_at` depends on the
    wall clock.

    `flags`: ``version_mixed``: rows were counted under several versions of baseline or monitor, so it is
    judged under none. ``state_lost``: rows of the window may be missing. ``late_after_final``: see the field.
    ``detectors_reset``: a sequential detector could not go on from its saved state and began afresh.

    `late_after_final` is the number of older windows that had counts too late to be judged again (more than
    three times the longest scale behind); told once, with the model's next window, at scale 1. `deployments` are
    (version, event time in ms) of each version of the model whose first event lies in this window; the
    earliest version of a model is none.
    """

    run_id: str
    model: str
    version: str
    slice: str
    scale: int
    window_start: int
    window_end: int
    revision: int
    sealed: bool
    rows: int
    late_rows: int
    baseline_id: str
    monitor_version: int
    state: Verdict
    features: list[FeatureVerdict]
    warnings: list[Warning] = []
    flags: list[str] = []
    unknown_features: int = 0
    produced_at: int = 0
    late_after_final: int = 0
    deployments: list[tuple[str, int]] = []


encode = msgspec.json.Encoder().encode
decode = msgspec.json.Decoder(Result).decode
