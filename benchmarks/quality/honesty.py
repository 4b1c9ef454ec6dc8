"""Q8 on real data, and Q9 to Q12: exactness, honesty about the reference, River's own alarms, cost."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from river.drift import ADWIN
from scipy import stats

import streams
from benchmarks.quality import line
from benchmarks.quality.alarms import mixed, pieces
from benchmarks.quality.shapes import INDEPENDENT, Rows, Shape, Source, Values, independent, normal, seasonal
from detectors import profile
from detectors.blocks import SCALE
from detectors.layout import Layout, NumericLayout
from detectors.online import CLOCK, DELTA, ChangeDetector
from detectors.reference import build_baseline
from detectors.rule import Rule
from detectors.statistics import STATISTICS
from detectors.windows import HOUR_MS
from schemas.baselines import Baseline
from schemas.columns import Column
from schemas.monitors import Monitor
from streams.replay.files import Roles, columns_of, read_table

CAR_LOAN = Path(streams.__path__[0]) / "demo"
CAR_LOAN_COLUMNS = Roles(time="timestamp", prediction="y_pred_proba", ignored=("y_pred", "repaid"))
CAR_LOAN_CHANGED = {"car_value", "salary_range", "loan_length", "repaid_loan_on_prev_car", "prediction"}
Floats = NDArray[np.float64]


def q8_car_loan() -> tuple[float, float]:
    """Five of the car loan's columns change at row 12,500: return precision and recall by name."""
    under = Monitor(line.MODEL, monitor_version=1)
    reference, current = (read_table(CAR_LOAN / f"{name}.parquet") for name in ("reference", "monitoring"))
    baseline = line.baseline_of(reference, under, CAR_LOAN_COLUMNS)
    named = {alarm.feature for alarm in line.outcome(baseline, [current], under, CAR_LOAN_COLUMNS).alarms}
    right = len(named & CAR_LOAN_CHANGED)
    return right / max(len(named), 1), right / len(CAR_LOAN_CHANGED)


def _awkward(rng: np.random.Generator, n: int) -> Floats:
    """Return values with ties, infinities, NaN, both zeros and a constant stretch."""
    values = rng.normal(0, 2, n).round(1)
    values[rng.random(n) < 0.05] = rng.choice([np.inf, -np.inf, np.nan, 0.0, -0.0, 3.0])
    values[: n // 10] = 1.0
    return np.asarray(values)


def _single(values: Floats) -> tuple[Baseline, Layout]:
    baseline = build_baseline(
        {"x": Column(values)}, np.arange(len(values), dtype=np.int64) * 1000, baseline_id="m@1", model="m",
        monitor=line.monitor("1m"), source="", created_ms=0, n_knots=0,
    )  # fmt: skip
    return baseline, Layout(baseline)


def q9(n_cases: int, seed: int) -> tuple[float, float, int]:
    """Exact mode against scipy: return the largest error of KS and of Mann-Whitney's U, and how many splits differ."""
    rng = np.random.default_rng(seed)
    ks_error = u_error = 0.0
    n_different = 0
    for _ in range(n_cases):
        reference, current = _awkward(rng, int(rng.integers(300, 3_000))), _awkward(rng, int(rng.integers(50, 2_000)))
        _, layout = _single(reference)
        part = layout.features["x"]
        assert isinstance(part, NumericLayout)
        whole, split = layout.zeros(), layout.zeros()
        profile.add(layout, whole, {"x": Column(current)}, len(current))
        shuffled = rng.permutation(current)
        cuts = np.sort(rng.integers(0, len(current), 5))
        for piece in np.split(shuffled, cuts):
            profile.add(layout, split, {"x": Column(piece)}, len(piece))
        n_different += not np.array_equal(whole, split)
        kept = [values[~np.isnan(values)] for values in (reference, current)]
        cells = [part.feature.counts.numpy(), whole[part.cells]]
        expected = stats.ks_2samp(kept[0], kept[1], method="asymp").statistic
        ks_error = max(ks_error, abs(float(STATISTICS["ks"](*cells)) - float(expected)))
        below = np.concatenate([[0], cells[0].cumsum()[:-1]])
        u = float((cells[1] * (below + cells[0] / 2)).sum())
        u_error = max(u_error, abs(u - float(stats.mannwhitneyu(kept[1], kept[0]).statistic)) / max(u, 1.0))
    return ks_error, u_error, n_different


def _short(n: int, shape: Shape, seed: int, n_windows: int) -> int:
    """Return the alarms of a stream like its reference of `n` rows."""
    under = line.monitor()
    rows = Rows({f"f{number}": shape for number in range(10)}, seed, 500, window_ms=HOUR_MS)
    baseline = line.baseline_of(rows.take(n), under)
    return len(line.outcome(baseline, pieces(rows, n_windows * 500), under).alarms)


def _null(_rng: np.random.Generator, _rows_per_hour: float) -> Source:
    return lambda n: np.full(n, np.nan)


def q10(seed: int, n_windows: int = 168) -> Iterator[tuple[str, int]]:
    """References that say too little: yield (what, alarms in a week of windows)."""
    for n in (50, 200, 500, 1_000):
        yield f"{n} reference rows", _short(n, independent(normal), seed, n_windows)
    yield "one cycle of a daily season", _short(500 * 24, seasonal(24.0, 0.5), seed, n_windows)
    under = line.monitor()
    rows = Rows({"null": _null, "x": independent(normal)}, seed, 500, window_ms=HOUR_MS)
    made = line.outcome(line.baseline_of(rows.take(20_000), under), pieces(rows, n_windows * 500), under)
    yield "a column without values", len(made.alarms)


def q11(seed: int, n_blocks: int = 20_000) -> int:
    """ADWIN inside the product and River's own on the same block means: return how many alarms differ."""
    rng = np.random.default_rng(seed)
    means = np.repeat([0.0, 0.5, -0.5, 1.0], n_blocks // 4)
    values: Values = np.rint(np.clip(rng.standard_normal(len(means)) + means, -4, 4) * SCALE).astype(np.int16)
    baseline, _ = _single(rng.standard_normal(4_000))
    river = ADWIN(delta=DELTA, clock=CLOCK)  # type: ignore[no-untyped-call]  # River has no types here
    detector = ChangeDetector(baseline.features["x"])
    n_different = 0
    for index, value in enumerate(values.tolist()):
        river.update(value / SCALE)  # type: ignore[no-untyped-call]  # River has no types here
        detector.update(index, value)
        n_different += river.drift_detected != detector.drift_detected
    return n_different


def q12(seed: int, repeats: int = 200) -> float:
    """Return the CPU milliseconds of judging one window and feature, all scales together."""
    under = line.monitor()
    rows = Rows(mixed(INDEPENDENT), seed, 500, window_ms=HOUR_MS)
    baseline = line.baseline_of(rows.take(500 * 24 * 9), under)
    layout = Layout(baseline)
    rule = Rule(baseline, layout, under)
    counts: Mapping[int, NDArray[np.int64]] = {}
    for scale in rule.scales:
        vector = layout.zeros()
        columns, _times = columns_of(rows.take(500 * scale), line.COLUMNS)
        profile.add(layout, vector, columns, 500 * scale)
        counts = {**counts, scale: vector}
        rule.score(vector, 500 * scale, scale)
    assert len(counts) == 3, "the reference spans eight windows of every scale"
    started = time.process_time()
    for _ in range(repeats):
        for scale, vector in counts.items():
            rule.score(vector, 500 * scale, scale)
    return (time.process_time() - started) * 1000 / repeats / len(layout.features)
