"""The page of one feature: its verdict now, its tests over time, its distributions."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from schemas.baselines import Baseline
from schemas.results import FeatureVerdict, Result, Warning
from streams.panel.distributions import Distribution, bins_of, distribution
from streams.panel.views import FeatureRow, deployments_in, feature_rows


class TestSeries(msgspec.Struct, frozen=True):
    """One test of a feature over its windows; a None is a window without it."""

    name: str
    values: list[float | None]
    noise: list[float | None]
    lines: list[float | None]
    effects: list[float | None]
    drifted: list[bool]


class FeatureView(msgspec.Struct, frozen=True):
    """Everything the page of one feature shows. Lists run over the windows, oldest first; shares in [0, 1]."""

    model: str
    feature: str
    scale: int
    current: FeatureRow
    starts: list[int]
    ends: list[int]
    verdicts: list[str]
    rows: list[int]
    missing: list[float | None]
    unseen: list[float | None]
    type_errors: list[int]
    tests: list[TestSeries]
    warnings: list[Warning]
    distribution: Distribution | None
    baseline_id: str
    deployments: list[tuple[str, int]] = []


def verdict_of(result: Result, feature: str) -> FeatureVerdict | None:
    """Return the verdict about a feature in a result."""
    return next((verdict for verdict in result.features if verdict.feature == feature), None)


def feature_view(
    model: str,
    feature: str,
    newest: Sequence[Result],
    windows: Sequence[Result],
    baseline: Baseline | None,
    at_ms: int | None = None,
) -> FeatureView | None:
    """Return the page of one feature, or None if no window has it.

    `newest` is the newest result of each scale, `windows` those of the shown scale, oldest first;
    `at_ms` is the start of the window whose distribution is shown (default: the newest).
    """
    judged = [(result, verdict) for result in windows if (verdict := verdict_of(result, feature)) is not None]
    scale = windows[-1].scale if windows else 1
    found = [(result, verdict) for result in newest if (verdict := verdict_of(result, feature)) is not None]
    if not judged and not found:
        return None
    rows = feature_rows(newest or [judged[-1][0]], {scale: windows})
    current = next((row for row in rows if row.feature == feature), None)
    shown = next(((r, v) for r, v in judged if r.window_start == at_ms), None) or (judged or found)[-1]
    names = list(dict.fromkeys(name for _, verdict in judged for name in verdict.tests))
    return FeatureView(
        model=model,
        feature=feature,
        scale=scale,
        current=current or feature_rows([judged[-1][0]])[0],
        starts=[result.window_start for result, _ in judged],
        ends=[result.window_end for result, _ in judged],
        verdicts=[verdict.verdict for _, verdict in judged],
        rows=[verdict.rows for _, verdict in judged],
        missing=[_share(verdict.missing, verdict.rows + verdict.missing) for _, verdict in judged],
        unseen=[_share(verdict.unseen, verdict.rows) for _, verdict in judged],
        type_errors=[verdict.type_errors for _, verdict in judged],
        tests=[_series(name, [verdict for _, verdict in judged]) for name in names],
        warnings=_warnings(windows, feature),
        distribution=distribution(*shown, bins_of(baseline, shown[0].baseline_id, feature)),
        baseline_id=(judged or found)[-1][0].baseline_id,
        deployments=deployments_in(windows),
    )


def _series(name: str, verdicts: Sequence[FeatureVerdict]) -> TestSeries:
    tests = [verdict.tests.get(name) for verdict in verdicts]
    return TestSeries(
        name=name,
        values=[test.value if test else None for test in tests],
        noise=[test.noise if test else None for test in tests],
        lines=[test.line if test else None for test in tests],
        effects=[test.effect if test else None for test in tests],
        drifted=[bool(test and test.drifted) for test in tests],
    )


def _warnings(windows: Sequence[Result], feature: str) -> list[Warning]:
    seen = {
        (warning.detector, warning.time): warning
        for result in windows
        for warning in result.warnings
        if warning.feature == feature
    }
    return [seen[key] for key in sorted(seen, key=lambda key: key[1])]


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
