"""A made-up past with the shape of the car-loan data: five of nine features change on 12 November.

Rows are drawn from seeded generators, counted into bins and compared with the reference; nothing is
written by hand but the distributions. ``python -m tests.panel.story PORT`` serves it for a look.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import msgspec
import numpy as np
from aiohttp import web
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry

from schemas.alerts import Alert, AlertFeature
from schemas.baselines import Array, Baseline, FeatureBaseline, Kind, ShareBaseline
from schemas.results import FeatureVerdict, Result, Severity, Test, Verdict, Warning
from streams.panel.history import LIVE
from streams.panel.live import Hub
from streams.panel.server import create_app

HOUR_MS = 3_600_000
SIZE_MS = 6 * HOUR_MS
START_MS = int(datetime(2026, 10, 30, 18, tzinfo=UTC).timestamp() * 1000)
CHANGE_MS = int(datetime(2026, 11, 12, 6, tzinfo=UTC).timestamp() * 1000)
DEPLOYMENT = ("2026-11-b", CHANGE_MS - 90 * 60_000)
N_ROWS = 640
Draw = Callable[[np.random.Generator, int, bool], NDArray[Any]]


def _choice(levels: Sequence[str], before: Sequence[float], after: Sequence[float]) -> Draw:
    return lambda rng, n, changed: rng.choice(np.array(levels, object), n, p=after if changed else before)


def _normal(mean: float, sd: float, new_mean: float, new_sd: float) -> Draw:
    return lambda rng, n, changed: rng.normal(new_mean if changed else mean, new_sd if changed else sd, n)


def _value(rng: np.random.Generator, n: int, changed: bool) -> NDArray[Any]:
    new = rng.random(n) < (0.7 if changed else 0.1)
    return np.round(np.where(new, rng.normal(48_100, 9_000, n), rng.lognormal(10.0, 0.55, n)))


FEATURES: dict[str, tuple[Kind, Draw]] = {
    "car_value": ("numeric", _value),
    "debt_to_income_ratio": ("numeric", _normal(0.585, 0.156, 0.585, 0.156)),
    "driver_tenure": ("numeric", lambda rng, n, _: rng.uniform(0, 8, n)),
    "loan_length": ("numeric", _normal(19.9, 5.3, 17.2, 4.9)),
    "prediction": (
        "numeric",
        lambda rng, n, changed: rng.beta(0.55, 0.45, n) if changed else rng.beta(0.3, 0.42, n),
    ),
    "repaid_loan_on_prev_car": ("categorical", _choice(("true", "false"), (0.51, 0.49), (0.75, 0.25))),
    "salary_range": (
        "categorical",
        _choice(("0 - 20K €", "20K - 40K €", "40K - 60K €", "60K+ €"), (0.4, 0.3, 0.2, 0.1), (0.44, 0.33, 0.22, 0.01)),
    ),
    "size_of_downpayment": (
        "categorical",
        _choice(("0%", "10%", "20%", "30%", "40%"), (0.2, 0.2, 0.2, 0.2, 0.2), (0.2, 0.2, 0.2, 0.2, 0.2)),
    ),
    "latency_ms": ("numeric", lambda rng, n, _: rng.gamma(4, 3, n)),
}


def short(value: float) -> str:
    """Write the label of an edge."""
    return f"{value / 1000:.3g}k" if abs(value) >= 1000 else f"{value:.3g}"


def label_bins(edges: Sequence[float]) -> list[str]:
    """Label the bins between edges."""
    names = [short(edge) for edge in edges]
    return [f"<= {names[0]}", *(f"{a}-{b}" for a, b in pairwise(names)), f"> {names[-1]}"]


@dataclass
class Feature:
    """One feature of the story: how it is drawn, its bins and its reference counts."""

    name: str
    kind: Kind
    draw: Draw
    bins: list[str]
    edges: NDArray[Any]
    counts: NDArray[np.int64]
    words: str

    @classmethod
    def build(cls, name: str, kind: Kind, draw: Draw, rng: np.random.Generator) -> Feature:
        """Draw 10,000 reference rows and bin them."""
        rows = draw(rng, 10_000, False)
        if kind == "numeric":
            edges = np.unique(np.quantile(rows, [0.01, *np.arange(0.1, 1, 0.1), 0.99]))
            made = cls(name, kind, draw, label_bins(list(edges)), edges, np.zeros(0, np.int64), "")
        else:
            levels, n = np.unique(rows.astype(str), return_counts=True)
            bins = [str(level) for level in levels[np.argsort(-n)]]
            made = cls(name, kind, draw, bins, np.empty(0), np.zeros(0, np.int64), "")
        made.counts = made.count(rows)
        made.words = made.describe(rows)
        return made

    def count(self, rows: NDArray[Any]) -> NDArray[np.int64]:
        """Count rows per bin."""
        if self.kind == "numeric":
            return np.bincount(np.searchsorted(self.edges, rows, "left"), minlength=len(self.bins))
        return np.array([int((rows == level).sum()) for level in self.bins])

    def describe(self, rows: NDArray[Any]) -> str:
        """Say in words how the rows are distributed."""
        if self.kind == "numeric":
            low, high = np.quantile(rows, [0.1, 0.9])
            return f"mean {_plain(float(rows.mean()))}, 10-90 % {_plain(low)}-{_plain(high)}"
        shares = sorted(zip(self.count(rows) / len(rows), self.bins, strict=True), reverse=True)[:3]
        return ", ".join(f"{level} {100 * share:.0f} %" for share, level in shares)

    def judge(self, rows: NDArray[Any], missing: int) -> FeatureVerdict:
        """Compare a window's rows with the reference by PSI and KS on the bins."""
        counts = self.count(rows)
        n, m, b = int(self.counts.sum()), max(1, int(counts.sum())), len(self.bins)
        p, q = (self.counts + 0.5) / (n + b / 2), (counts + 0.5) / (m + b / 2)
        s = 1 / n + 1 / m
        noise = s * (b - 1)
        line = max(s * (b - 1 + 5.5 * np.sqrt(2 * (b - 1))), 0.02 + noise)
        tests = {"psi": _test(((q - p) * np.log(q / p)).sum(), noise, line)}
        if self.kind == "numeric":
            ks = float(np.abs(np.cumsum(counts) / m - np.cumsum(self.counts) / n).max())
            tests["ks"] = _test(ks, 0.8687 * np.sqrt(s), max(2.4 * np.sqrt(s), 0.05 + 0.8687 * np.sqrt(s)))
        reason = next((name for name, test in tests.items() if test.drifted), "")
        effect = tests["psi"].effect
        severity: Severity = "minor" if effect < 0.1 else "moderate" if effect <= 0.25 else "major"
        changed = np.argsort(-np.abs(q - p))[:3]
        return FeatureVerdict(
            feature=self.name,
            verdict="drift" if reason else "ok",
            severity=severity if reason else "",
            reason=reason,
            tests=tests,
            rows=m,
            missing=missing,
            before=self.words,
            after=self.describe(rows),
            top_bins=[(self.bins[i], float(p[i]), float(q[i])) for i in changed],
            counts=[int(c) for c in counts],
        )


def _plain(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _test(value: float, noise: float, line: float) -> Test:
    value, noise, line = float(value), float(noise), float(line)
    return Test(value, noise, line, value - noise, None, value > line)


@dataclass
class Story:
    """Models with their baselines, results and alerts."""

    baselines: dict[str, Baseline] = field(default_factory=dict)
    results: list[Result] = field(default_factory=list)
    alerts: list[Alert] = field(default_factory=list)

    def add_model(
        self, model: str, *, seed: int, n_windows: int, drifts: bool, features: Sequence[str] = tuple(FEATURES)
    ) -> None:
        """Add a model with `n_windows` base windows and its five-fold windows."""
        rng = np.random.default_rng(seed)
        built = [Feature.build(name, *FEATURES[name], rng) for name in features]
        self.baselines[model] = baseline_of(model, built)
        rows: dict[str, list[NDArray[Any]]] = {each.name: [] for each in built}
        for i in range(n_windows):
            start = START_MS + i * SIZE_MS
            changed = drifts and start >= CHANGE_MS
            n = int(N_ROWS * (1 + 0.15 * np.sin(i * np.pi / 2)) + rng.integers(-30, 30))
            for each in built:
                rows[each.name].append(each.draw(rng, n, changed))
            for scale in (1, 5):
                if i + 1 >= scale:
                    self.results.append(_judge(model, built, rows, start, scale, rng, i == n_windows - 1))
        changed_at = [w for w in self.results if w.model == model and w.scale == 1 and w.state == "drift"]
        if drifts and changed_at:
            self.alerts.append(episode(model, changed_at[0], "open", 2))

    def latest_alert(self, model: str) -> Alert:
        """Return the newest alert of a model."""
        return next(alert for alert in reversed(self.alerts) if alert.model == model)


def _judge(
    model: str,
    built: Sequence[Feature],
    rows: dict[str, list[NDArray[Any]]],
    start: int,
    scale: int,
    rng: np.random.Generator,
    newest: bool,
) -> Result:
    verdicts = [each.judge(np.concatenate(rows[each.name][-scale:]), int(rng.integers(0, 4)) * scale) for each in built]
    warnings = []
    if start == CHANGE_MS and scale == 1 and "car_value" in rows:
        warnings = [Warning("car_value", "adwin", start + 41 * 60_000, 20_014.0, 41_800.0)]
    return Result(
        run_id=LIVE,
        model=model,
        version="7",
        slice="",
        scale=scale,
        window_start=start - (scale - 1) * SIZE_MS,
        window_end=start + SIZE_MS,
        revision=2 * verdicts[0].rows,
        sealed=not newest,
        rows=verdicts[0].rows,
        late_rows=3 if start % 5 == 0 else 0,
        baseline_id=f"{model}@1",
        monitor_version=1,
        state="drift" if any(v.verdict == "drift" for v in verdicts) else "ok",
        features=verdicts,
        warnings=warnings,
        produced_at=start + SIZE_MS + 412,
        deployments=[DEPLOYMENT] if model == "car-loan" and start <= DEPLOYMENT[1] < start + SIZE_MS else [],
    )


def baseline_of(model: str, built: Sequence[Feature]) -> Baseline:
    """Return a baseline with the bins of the story; its calibration is left out."""
    share = ShareBaseline(0)
    return Baseline(
        baseline_id=f"{model}@1",
        model=model,
        number=1,
        created_ms=START_MS,
        source="story",
        rows=10_000,
        first_ms=START_MS - 30 * 24 * HOUR_MS,
        last_ms=START_MS,
        window_ms=SIZE_MS,
        window_reason="the smallest whose median window of the reference held >= 500 rows",
        scales=[1, 5],
        n_series=len(built),
        features={
            each.name: FeatureBaseline(
                *(each.kind, 10_000, Array.of(each.counts, "<i8"), share, share),
                before=each.words,
                bins=each.bins,
                bin_counts=each.counts.tolist(),
            )
            for each in built
        },
    )


def episode(model: str, first: Result, state: Any, sequence: int, time: int | None = None) -> Alert:
    """Return the state of an episode that opened at a result."""
    drifted = [verdict for verdict in first.features if verdict.verdict == "drift"]
    return Alert(
        episode_id=f"{model}/{first.window_end}/1",
        sequence=sequence,
        state=state,
        previous=None if sequence == 1 else "open",
        why="worse" if state == "open" else "calm",
        model=model,
        version=first.version,
        slice="",
        severity="major",
        opened=first.window_end,
        time=time or first.window_end + SIZE_MS,
        features=[
            AlertFeature(
                *(v.feature, first.window_start, v.tests[v.reason].effect, v.tests[v.reason].line),
                *(v.severity, v.reason, v.before, v.after),
            )
            for v in drifted
        ],
        baseline_id=first.baseline_id,
        owner="team-credit",
    )


def one_result(
    model: str,
    window: int = 0,
    *,
    verdict: Verdict = "ok",
    features: Sequence[str] = ("age",),
    revision: int = 1,
    scale: int = 1,
    slice: str = "",
    run_id: str = LIVE,
) -> Result:
    """Return a small result for window number `window`."""
    drifts = verdict == "drift"
    psi = Test(0.214, 0.006, 0.041, 0.208, None, True) if drifts else Test(0.01, 0.006, 0.041, 0.004)
    tests = {"psi": psi} if verdict in ("ok", "drift") else {}
    severity: Severity = "moderate" if drifts else ""
    reason = "psi" if drifts else ""
    start = START_MS + window * SIZE_MS
    return Result(
        *(run_id, model, "7", slice, scale, start, start + SIZE_MS, revision, False, 640, 0, f"{model}@1", 1, verdict),
        features=[
            FeatureVerdict(name, verdict, severity, reason, tests, 640, 4, top_bins=[(name, 0.1, 0.2)])
            for name in features
        ],
    )


class StoryHistory:
    """A past in memory; `failure` makes every question fail, as a store that is down does."""

    def __init__(self, story: Story | None = None) -> None:
        self.story = story or Story()
        self.failure: Exception | None = None
        self.n_asked = 0

    def _asked(self) -> None:
        self.n_asked += 1
        if self.failure is not None:
            raise self.failure

    async def latest(self, *, run_id: str = LIVE, limit: int = 1000) -> list[Result]:
        """Return the newest result of every (model, slice, scale)."""
        self._asked()
        ordered = sorted(self.story.results, key=lambda r: r.window_end)
        newest = {(r.model, r.slice, r.scale): r for r in ordered if r.run_id == run_id}
        return list(newest.values())[:limit]

    async def results(
        self,
        model: str,
        *,
        run_id: str = LIVE,
        slice: str = "",
        scale: int = 1,
        feature: str | None = None,  # noqa: ARG002 - this past keeps whole results
        start_ms: int | None = None,
        end_ms: int | None = None,
        limit: int = 200,
    ) -> list[Result]:
        """Return the windows of a model."""
        self._asked()
        found = [
            r
            for r in self.story.results
            if (r.run_id, r.model, r.slice, r.scale) == (run_id, model, slice, scale)
            and (start_ms is None or r.window_start >= start_ms)
            and (end_ms is None or r.window_start < end_ms)
        ]
        return sorted(found, key=lambda r: r.window_start)[-limit:]

    async def alerts(self, *, model: str | None = None, limit: int = 200) -> list[Alert]:
        """Return the newest state of each episode."""
        self._asked()
        return [alert for alert in reversed(self.story.alerts) if model in (None, alert.model)][:limit]


def car_loan() -> Story:
    """Return the story of the README's picture: one model drifts, three do not, one waits."""
    story = Story()
    story.add_model("car-loan", seed=7, n_windows=96, drifts=True)
    fraud = ("debt_to_income_ratio", "driver_tenure", "size_of_downpayment", "latency_ms")
    story.add_model("fraud-score", seed=11, n_windows=92, drifts=False, features=fraud)
    churn = ("loan_length", "salary_range", "latency_ms", "prediction")
    story.add_model("churn", seed=13, n_windows=95, drifts=False, features=churn)
    short_lived = one_result("churn", 12, verdict="drift", features=("loan_length",))
    story.alerts.insert(0, episode("churn", short_lived, "resolved", 4, short_lived.window_end + 3 * SIZE_MS))
    story.baselines["search-ranking"] = msgspec.structs.replace(
        story.baselines["churn"], model="search-ranking", baseline_id="search-ranking@1", provisional=True
    )
    triage = ("tokens", "language", "latency_ms")
    story.results.append(one_result("support-triage", 94, verdict="insufficient", features=triage))
    return story


async def serve(port: int) -> None:
    """Serve the story on 127.0.0.1 until interrupted."""
    story = car_loan()
    app = create_app(
        history=StoryHistory(story),
        live=Hub(),
        baselines=story.baselines,
        token=None,
        insecure=False,
        registry=CollectorRegistry(),
    )
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
