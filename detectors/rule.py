"""The default rule: a window's counts become one verdict a feature.

Budgeted, debiased, calibrated on the reference, on several scales; see `lines` for the formulas.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from detectors import explain, lines, views
from detectors.categorical import CategoricalRule
from detectors.errors import UnknownStatistic
from detectors.layout import CategoricalLayout, Counts, FeatureLayout, Layout, NumericLayout
from detectors.lines import GATES, Gates
from detectors.numeric import NumericRule
from detectors.profile import Unseen
from detectors.reference import MIN_REFERENCE_WINDOWS
from detectors.shares import ShareRule
from detectors.statistics import STATISTICS
from detectors.windows import spanned_ms, windows_per_week
from schemas.baselines import Baseline
from schemas.monitors import FeatureMonitor, Monitor, Sensitivity
from schemas.results import FeatureVerdict, Test, Verdict

MIN_ROWS = 100
MIN_EFFECTIVE_ROWS = 500


def gates(sensitivity: Sensitivity) -> Gates:
    """Return the smallest effects worth an alarm.

    >>> gates("high").psi
    0.005
    """
    return GATES[sensitivity]


class Rule:
    """Judges windows of one model under one baseline and monitor.

    ``Rule(baseline, layout, monitor).score(counts, rows=4120, scale=1)`` returns one verdict for
    every feature of the baseline that the monitor does not ignore, in its order.

    Attributes
    ----------
    gates
        The smallest effects worth an alarm.
    scales
        Scales of the monitor for which the reference spans at least eight windows.

    Raises
    ------
    UnknownStatistic
        When the monitor sets a limit on a statistic that does not exist.
    """

    def __init__(self, baseline: Baseline, layout: Layout, monitor: Monitor) -> None:
        self._baseline, self._layout, self._monitor = baseline, layout, monitor
        self._features = monitor.features
        self._ignored = {name for name, wanted in monitor.features.items() if wanted.ignore}
        for name, wanted in monitor.features.items():
            for limit in wanted.statistics:
                if limit.name not in STATISTICS:
                    raise UnknownStatistic(
                        f"features.{name}.statistics: {limit.name!r} is not known; use one of {', '.join(STATISTICS)}"
                    )
        self.gates = gates(monitor.sensitivity)
        strict = monitor.sensitivity == "strict"
        span_ms = spanned_ms(baseline.first_ms, baseline.last_ms, baseline.rows)
        self.scales = [
            k for k in sorted(set(monitor.scales)) if span_ms >= MIN_REFERENCE_WINDOWS * k * baseline.window_ms
        ]
        calibrated = [part for part in layout.features.values() if part.feature.calibration is not None]
        numeric = [part for part in calibrated if isinstance(part, NumericLayout)]
        categorical = [part for part in calibrated if isinstance(part, CategoricalLayout)]
        self._rules: list[tuple[Sequence[FeatureLayout], NumericRule | CategoricalRule]] = [
            (numeric, NumericRule(numeric, layout.size, self.gates, strict)),
            (categorical, CategoricalRule(categorical, layout.size, self.gates, strict)),
        ]
        self._shares = ShareRule(list(layout.features.values()), baseline.rows)
        self._n_effective = {
            part.name: n
            for parts, rule in self._rules
            for part, n in zip(parts, rule.n_effective.tolist(), strict=True)
        }
        self._significance: dict[int, float] = {}

    def significance(self, scale: int) -> float:
        """Return the significance of one test at this scale."""
        if scale not in self._significance:
            per_week = windows_per_week(self._baseline.window_ms, scale)
            self._significance[scale] = lines.significance(
                self._monitor.budget, self._baseline.n_series, per_week, scale, self.scales
            )
        return self._significance[scale]

    def score(self, counts: Counts, rows: int, scale: int = 1, unseen: Unseen | None = None) -> list[FeatureVerdict]:
        """Judge one window.

        Parameters
        ----------
        counts
            Shape ``(layout.size,)``, as `profile.add` fills it.
        rows
            Rows of the window.
        scale
            How many base windows it is merged from.
        unseen
            Unseen levels for the explanation, as `profile.unseen_levels` returns them.
        """
        a = self.significance(scale)
        vector = np.append(counts, 0)
        tests: dict[str, tuple[bool, dict[str, Test]]] = {}
        for parts, rule in self._rules:
            if parts:
                scored = rule.score(vector, a)
                for part, insufficient, found in zip(
                    parts, scored.insufficient.tolist(), explain.tests_of(scored), strict=True
                ):
                    tests[part.name] = (insufficient, found)
        spans = scale in self.scales and self._baseline.rows >= MIN_EFFECTIVE_ROWS
        shares = self._shares.score(counts, max(rows, 1), a, spans and rows >= MIN_ROWS)
        return [
            self._verdict(part, counts, rows, spans, tests.get(name), share, (unseen or {}).get(name, {}))
            for (name, part), share in zip(self._layout.features.items(), shares, strict=True)
            if name not in self._ignored
        ]

    def _verdict(
        self,
        part: FeatureLayout,
        counts: Counts,
        rows: int,
        spans: bool,
        scored: tuple[bool, dict[str, Test]] | None,
        share: Test,
        unseen: Mapping[str, int],
    ) -> FeatureVerdict:
        feature = part.feature
        insufficient, tests = scored or (rows < MIN_ROWS, {})
        identifier = scored is None and bool(feature.note)
        short_of = not spans or (not identifier and self._n_effective.get(part.name, 0.0) < MIN_EFFECTIVE_ROWS)
        n_used = views.n_used(part, counts)
        tests = explain.with_limits(tests, self._features.get(part.name, FeatureMonitor()).statistics)
        if not n_used:
            tests = {}
        elif insufficient or short_of:
            tests = explain.silenced(tests)
        if rows:
            tests["share"] = share
        drifted = [name for name, test in tests.items() if test.drifted]
        verdict: Verdict = "drift" if drifted else "insufficient" if insufficient else "ok"
        if short_of and not drifted:
            verdict = "reference_too_short"
        shown = views.bin_counts(part, counts)
        return FeatureVerdict(
            feature=part.name,
            verdict=verdict,
            severity=explain.severity(tests) if drifted else "",
            reason=drifted[0] if drifted else "",
            tests=tests,
            rows=n_used,
            missing=int(counts[part.missing]),
            unseen=int(counts[part.unseen]) if isinstance(part, CategoricalLayout) else 0,
            type_errors=int(counts[part.type_errors]),
            before=feature.before,
            after=views.in_words(part, counts),
            top_bins=explain.top_bins(feature.bins, feature.bin_counts, shown, unseen),
            counts=shown,
        )


def judge(
    baseline: Baseline,
    layout: Layout,
    counts: Counts,
    *,
    rows: int,
    scale: int,
    monitor: Monitor,
    unseen: Unseen | None = None,
) -> list[FeatureVerdict]:
    """Judge a single window; keep a `Rule` to judge many."""
    return Rule(baseline, layout, monitor).score(counts, rows, scale, unseen)


def window_state(verdicts: Sequence[FeatureVerdict]) -> Verdict:
    """Return the state of a whole window: drift if any feature drifts, ok if any could be judged.

    >>> window_state([FeatureVerdict("a", "insufficient"), FeatureVerdict("b", "ok")])
    'ok'
    """
    found = {verdict.verdict for verdict in verdicts}
    order: tuple[Verdict, ...] = ("drift", "ok", "insufficient", "reference_too_short")
    return next((state for state in order if state in found), "no_baseline")
