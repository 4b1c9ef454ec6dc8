"""What the pages and `/api` show, made from results and alerts. Pure: results in, plain values out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from schemas.alerts import Alert
from schemas.baselines import Baseline
from schemas.results import FeatureVerdict, Result, Test

ACTIVE = ("open", "acknowledged", "silenced")
SEVERITIES = ("", "minor", "moderate", "major")


class ModelSummary(msgspec.Struct, frozen=True):
    """One row of the front page. Times in epoch milliseconds, `size_ms` the base window."""

    model: str
    version: str
    state: str
    rows: int
    n_features: int
    drifted: list[str]
    strength: float | None
    window_start: int | None
    window_end: int | None
    size_ms: int | None
    baseline_id: str
    provisional: bool
    flags: list[str]
    open_alerts: int
    severity: str
    produced_at: int | None


class FeatureRow(msgspec.Struct, frozen=True):
    """One feature of a model now. `strength` is its strongest effect in units of its alarm line."""

    feature: str
    verdict: str
    severity: str
    scale: int
    test: str
    value: float | None
    line: float | None
    effect: float | None
    strength: float | None
    before: str
    after: str
    missing: float | None
    unseen: float | None
    since: int | None


class HeatMap(msgspec.Struct, frozen=True):
    """Effect in units of the line: `strengths[feature][window]`, None where nothing was judged.

    `deployments` are (version, event time of its first event) in these windows.
    """

    features: list[str]
    starts: list[int]
    ends: list[int]
    rows: list[int]
    strengths: list[list[float | None]]
    drifted: list[list[bool]]
    deployments: list[tuple[str, int]] = []


class ModelView(msgspec.Struct, frozen=True):
    """Everything the page of one model shows."""

    summary: ModelSummary
    features: list[FeatureRow]
    heat: HeatMap
    episodes: list[Alert]
    late_rows: int
    unknown_features: int
    slices: list[str]
    n_warnings: int


def strength(test: Test) -> float | None:
    """Return how far a test is on the way from noise (0) to its alarm line (1), or beyond it.

    A share may drift downwards, with its line below what noise shows; a score may be negative.
    A test that drifted never reads less than 1, one that did not never 1 or more.
    """
    room = test.line - test.noise
    if room:
        value = abs(test.value) if room > 0 else test.value
        reached = max(0.0, (value - test.noise) / room)
    elif test.line > 0:
        reached = abs(test.effect) / test.line
    else:
        return 1.0 if test.drifted else None
    return max(reached, 1.0) if test.drifted else min(reached, 0.999)


def strongest(verdict: FeatureVerdict) -> tuple[str, Test | None, float | None]:
    """Return the name, the test and the strength of the test that says most; None before anything was judged.

    Growth counts only once it drifted: it is the largest gain of many cells, which noise alone brings near its line.
    """
    if verdict.verdict not in ("ok", "drift"):
        return "", None, None
    best: tuple[str, Test | None, float | None] = ("", None, None)
    for name, test in verdict.tests.items():
        reached = strength(test) if test.drifted or name != "growth" else None
        if reached is not None and (best[2] is None or reached > best[2]):
            best = (name, test, reached)
    return best


def summarise(
    newest: Iterable[Result], alerts: Iterable[Alert], baselines: Mapping[str, Baseline] | None = None
) -> list[ModelSummary]:
    """Return one summary a model, those that need attention first."""
    by_model: dict[str, list[Result]] = defaultdict(list)
    for result in newest:
        if result.slice == "":
            by_model[result.model].append(result)
    active: dict[str, list[Alert]] = defaultdict(list)
    for alert in alerts:
        if alert.state in ACTIVE:
            active[alert.model].append(alert)
    known = dict(baselines or {})
    summaries = [summary_of(results, active[model], known.get(model)) for model, results in by_model.items()]
    for model, baseline in known.items():
        if model not in by_model:
            summaries.append(waiting(model, baseline, active[model]))
    return sorted(summaries, key=lambda s: (s.state != "drift", -s.open_alerts, -(s.strength or 0.0), s.model))


def waiting(model: str, baseline: Baseline | None, active: Sequence[Alert] = ()) -> ModelSummary:
    """Return the summary of a model that has no result yet."""
    return ModelSummary(
        model=model,
        version="",
        state="waiting" if baseline else "no_baseline",
        rows=0,
        n_features=len(baseline.features) if baseline else 0,
        drifted=[],
        strength=None,
        window_start=None,
        window_end=None,
        size_ms=baseline.window_ms if baseline else None,
        baseline_id=baseline.baseline_id if baseline else "",
        provisional=bool(baseline and baseline.provisional),
        flags=[],
        open_alerts=len(active),
        severity=_worst(active),
        produced_at=None,
    )


def summary_of(newest: Sequence[Result], active: Sequence[Alert], baseline: Baseline | None = None) -> ModelSummary:
    """Summarise a model from its newest result of each scale: drift at any scale is drift."""
    base = min(newest, key=lambda result: result.scale)
    rows = feature_rows(newest)
    drifted = [row for row in rows if row.verdict == "drift"]
    flags = sorted({flag for result in newest for flag in result.flags})
    return ModelSummary(
        model=base.model,
        version=base.version,
        state="drift" if drifted else base.state,
        rows=base.rows,
        n_features=len(base.features),
        drifted=[row.feature for row in drifted],
        strength=rows[0].strength if rows else None,
        window_start=base.window_start,
        window_end=base.window_end,
        size_ms=base.window_end - base.window_start,
        baseline_id=base.baseline_id,
        provisional="provisional" in flags or bool(baseline and baseline.provisional),
        flags=flags,
        open_alerts=len(active),
        severity=_worst(active),
        produced_at=base.produced_at or None,
    )


def feature_rows(newest: Sequence[Result], windows: Mapping[int, Sequence[Result]] | None = None) -> list[FeatureRow]:
    """Return the features of a model, strongest first.

    A feature shows the finest scale that drifts, else the base scale. `windows`, by scale and oldest
    first, tell since when.
    """
    by_feature: dict[str, list[tuple[Result, FeatureVerdict]]] = defaultdict(list)
    for result in sorted(newest, key=lambda result: result.scale):
        for verdict in result.features:
            by_feature[verdict.feature].append((result, verdict))
    drifting = {
        (scale, feature): start
        for scale, results in (windows or {}).items()
        for feature, start in _drifting_since(results).items()
    }
    rows = []
    for feature, found in by_feature.items():
        result, verdict = next((pair for pair in found if pair[1].verdict == "drift"), found[0])
        name, test, reached = strongest(verdict)
        n_all = verdict.rows + verdict.missing
        rows.append(
            FeatureRow(
                feature=feature,
                verdict=verdict.verdict,
                severity=verdict.severity,
                scale=result.scale,
                test=name,
                value=None if test is None else test.value,
                line=None if test is None else test.line,
                effect=None if test is None else test.effect,
                strength=reached,
                before=verdict.before,
                after=verdict.after,
                missing=verdict.missing / n_all if n_all else None,
                unseen=verdict.unseen / verdict.rows if verdict.rows else None,
                since=drifting.get((result.scale, feature)) if verdict.verdict == "drift" else None,
            )
        )
    return sorted(rows, key=lambda row: (row.verdict != "drift", -(row.strength or 0.0), row.feature))


def heat_map(windows: Sequence[Result], order: Sequence[str], n_features: int = 60) -> HeatMap:
    """Return effect against line of the first `n_features` features of `order` over the windows, oldest first."""
    features = list(order[:n_features])
    at = {feature: i for i, feature in enumerate(features)}
    strengths: list[list[float | None]] = [[None] * len(windows) for _ in features]
    drifted = [[False] * len(windows) for _ in features]
    for column, result in enumerate(windows):
        for verdict in result.features:
            row = at.get(verdict.feature)
            if row is not None:
                reached = strongest(verdict)[2]
                strengths[row][column] = None if reached is None else round(reached, 3)
                drifted[row][column] = verdict.verdict == "drift"
    return HeatMap(
        features,
        [result.window_start for result in windows],
        [result.window_end for result in windows],
        [result.rows for result in windows],
        strengths,
        drifted,
        deployments_in(windows),
    )


def deployments_in(windows: Sequence[Result]) -> list[tuple[str, int]]:
    """Return (version, event time) of every deployment in some windows, in order of time, each version once."""
    first: dict[str, int] = {}
    for result in windows:
        for version, time in result.deployments:
            first[version] = min(time, first.get(version, time))
    return sorted(first.items(), key=lambda mark: (mark[1], mark[0]))


def model_view(
    newest: Sequence[Result],
    windows: Mapping[int, Sequence[Result]],
    alerts: Sequence[Alert],
    slices: Sequence[str],
    baseline: Baseline | None = None,
) -> ModelView:
    """Return the page of one model from its newest results, its windows by scale and its episodes."""
    rows = feature_rows(newest, windows)
    base = windows[min(windows)] if windows else []
    active = [alert for alert in alerts if alert.state in ACTIVE]
    last = min(newest, key=lambda result: result.scale)
    return ModelView(
        summary=summary_of(newest, active, baseline),
        features=rows,
        heat=heat_map(base, [row.feature for row in rows]),
        episodes=list(alerts),
        late_rows=sum(result.late_rows for result in base),
        unknown_features=last.unknown_features,
        slices=sorted(slices),
        n_warnings=sum(len(result.warnings) for result in base),
    )


def _drifting_since(results: Sequence[Result]) -> dict[str, int]:
    since: dict[str, int] = {}
    for result in results:
        for verdict in result.features:
            if verdict.verdict == "drift":
                since.setdefault(verdict.feature, result.window_start)
            elif verdict.verdict == "ok":
                since.pop(verdict.feature, None)
    return since


def _worst(alerts: Iterable[Alert]) -> str:
    return max((alert.severity for alert in alerts), key=SEVERITIES.index, default="")
