"""The default rule: a window's counts become one verdict a feature.

Budgeted, debiased, calibrated on the reference, on several scales; see `lines` for the formulas.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import log, sqrt

import numpy as np

from detectors import lines, profile
from detectors.categorical import CategoricalRule
from detectors.growth import share_changed
from detectors.layout import CategoricalLayout, Counts, FeatureLayout, Layout, NumericLayout
from detectors.lines import GATES, MIN_RISE, Gates
from detectors.numeric import NumericRule, Scored, pad_last
from detectors.profile import Unseen, bin_counts, in_words
from detectors.reference import MIN_REFERENCE_WINDOWS
from detectors.windows import windows_per_week
from schemas.baselines import Baseline, ShareBaseline
from schemas.monitors import Monitor, Sensitivity
from schemas.results import FeatureVerdict, Severity, Test, Verdict

MIN_ROWS = 100
MIN_EFFECTIVE_ROWS = 500
N_TOP_BINS = 3
MODERATE, MAJOR = 0.1, 0.25


def gates(sensitivity: Sensitivity) -> Gates:
    """Return the smallest effects worth an alarm.

    >>> gates("high").psi
    0.005
    """
    return GATES[sensitivity]


def severity_of(effect: float) -> Severity:
    """Return the severity of an effect on the scale of PSI.

    >>> severity_of(0.05), severity_of(0.2), severity_of(0.3)
    ('minor', 'moderate', 'major')
    """
    return "minor" if effect < MODERATE else "moderate" if effect <= MAJOR else "major"


class Rule:
    """Judges windows of one model under one baseline and monitor.

    Examples
    --------
    ``Rule(baseline, layout, monitor).score(counts, rows=4120, scale=1)`` returns one verdict for
    every feature of the baseline, in its order.
    """

    def __init__(self, baseline: Baseline, layout: Layout, monitor: Monitor) -> None:
        self._baseline, self._layout, self._monitor = baseline, layout, monitor
        self.gates = gates(monitor.sensitivity)
        strict = monitor.sensitivity == "strict"
        span_ms = baseline.last_ms - baseline.first_ms
        self.scales = [
            k for k in sorted(set(monitor.scales)) if span_ms >= MIN_REFERENCE_WINDOWS * k * baseline.window_ms
        ]
        self._numeric_parts = [
            part
            for part in layout.features.values()
            if isinstance(part, NumericLayout) and part.feature.calibration is not None
        ]
        self._numeric = NumericRule(self._numeric_parts, layout.size, self.gates, strict)
        self._categorical = {
            part.name: CategoricalRule(part, self.gates, strict)
            for part in layout.features.values()
            if isinstance(part, CategoricalLayout) and part.feature.calibration is not None
        }
        self._row_of = {part.name: row for row, part in enumerate(self._numeric_parts)}
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
        numbers = self._numeric.score(np.append(counts, 0), a) if self._numeric_parts else None
        verdicts = []
        for name, part in self._layout.features.items():
            scored, row, n_effective = None, 0, 0.0
            if name in self._row_of:
                scored, row = numbers, self._row_of[name]
                n_effective = float(self._numeric.n_effective[row])
            elif name in self._categorical:
                scored = self._categorical[name].score(counts, a)
                n_effective = self._categorical[name].n_effective
            short_of = scale not in self.scales or n_effective < MIN_EFFECTIVE_ROWS
            names = (unseen or {}).get(name, {})
            verdicts.append(self._verdict(part, counts, rows, a, scored, row, short_of, names))
        return verdicts

    def _verdict(
        self,
        part: FeatureLayout,
        counts: Counts,
        rows: int,
        a: float,
        scored: Scored | None,
        row: int,
        short_of: bool,
        unseen: Mapping[str, int],
    ) -> FeatureVerdict:
        feature = part.feature
        tests: dict[str, Test] = {}
        n_used = 0
        insufficient = rows < MIN_ROWS
        if scored is not None:
            n_used = int(scored.rows[row])
            insufficient = bool(scored.insufficient[row])
            if n_used:
                tests = _tests(scored, row, insufficient or short_of)
        elif not short_of or feature.note:
            n_used = profile.n_used(part, counts)
        identifier = bool(feature.note) and scored is None
        if identifier:
            short_of, insufficient = self._baseline.rows < MIN_EFFECTIVE_ROWS, rows < MIN_ROWS
        share = self._share(part, counts, rows, a, short_of)
        if share is not None:
            tests["share"] = share
        drifted = [name for name, test in tests.items() if test.drifted]
        verdict: Verdict = "drift" if drifted else "insufficient" if insufficient else "ok"
        if short_of:
            verdict = "reference_too_short"
        shown = bin_counts(part, counts)
        return FeatureVerdict(
            feature=part.name,
            verdict=verdict,
            severity=_severity(tests) if drifted else "",
            reason=drifted[0] if drifted else "",
            tests=tests,
            rows=n_used,
            missing=int(counts[part.missing]),
            unseen=int(counts[part.unseen]) if isinstance(part, CategoricalLayout) else 0,
            type_errors=int(counts[part.type_errors]),
            before=feature.before,
            after=in_words(part, counts),
            top_bins=_top_bins(feature.bins, feature.bin_counts, shown, unseen),
            counts=shown,
        )

    def _share(self, part: FeatureLayout, counts: Counts, rows: int, a: float, short_of: bool) -> Test | None:
        if rows == 0:
            return None
        n = self._baseline.rows
        found = None
        for series, position in ((part.feature.missing, part.missing), (part.feature.type_errors, part.type_errors)):
            current = int(counts[position])
            effect = _share_effect(series, rows)
            before, after = series.n / n, current / rows
            judged = rows >= MIN_ROWS and not short_of
            drifted = judged and share_changed(a / 2, series.n, n, current, rows, effect)
            se = sqrt(max(before * (1 - before), 1 / n) * effect * (1 / n + 1 / rows))
            test = Test(after, before, before + max(MIN_RISE, 4 * se), abs(after - before), None, drifted)
            if found is None or (test.drifted, test.effect) > (found.drifted, found.effect):
                found = test
        return found


def _share_effect(series: ShareBaseline, rows: int) -> float:
    one = np.ones(1)
    sizes = lines.Sizes(one, one * rows, one * series.batch_rows, one * 0, one * 0)
    coarse = float(lines.interpolate(pad_last([series.coarse]), sizes)[0])
    return max(series.effect * max(coarse, 1.0), 1.0)


def _tests(scored: Scored, row: int, silent: bool) -> dict[str, Test]:
    tests = {}
    for name, tested in scored.tests.items():
        line = float(tested.line.line[row])
        if line == np.inf:
            continue
        tests[name] = Test(
            float(tested.value[row]),
            float(tested.line.noise[row]),
            line,
            float(tested.effect[row]),
            (float(tested.low[row]), float(tested.high[row])),
            bool(tested.drifted[row]) and not silent,
        )
    growth = scored.growth
    before, after = float(growth.reference[row]), float(growth.current[row])
    tests["growth"] = Test(
        after, before, float(growth.line[row]), after - before, None, bool(growth.grown[row]) and not silent
    )
    return tests


def _severity(tests: Mapping[str, Test]) -> Severity:
    """Return the severity by the effect of PSI, or of a two-bin PSI where only a share has changed."""
    effects = [tests["psi"].effect] if "psi" in tests else []
    for name in ("share", "growth"):
        if name in tests and tests[name].drifted:
            effects.append(_two_bins(tests[name].noise, tests[name].value))
    return severity_of(max(effects, default=0.0))


def _two_bins(before: float, after: float) -> float:
    p, q = (min(max(share, 0.0005), 0.9995) for share in (before, after))
    return (q - p) * log(q / p) + (p - q) * log((1 - q) / (1 - p))


def _top_bins(
    names: Sequence[str], reference: Sequence[int], current: Sequence[int], unseen: Mapping[str, int]
) -> list[tuple[str, float, float]]:
    n, m = sum(reference), sum(current)
    if n == 0 or m == 0:
        return []
    rows = [(name, r / n, c / m) for name, r, c in zip(names, reference, current, strict=True)]
    rows.extend((level, 0.0, count / m) for level, count in unseen.items())
    rows = [row for row in rows if row[1] or row[2]]
    rows.sort(key=lambda row: (-abs(row[2] - row[1]), row[0]))
    return rows[:N_TOP_BINS]


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
