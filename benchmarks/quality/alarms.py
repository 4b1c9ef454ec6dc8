"""Q1, Q2, Q7: false alarms where nothing changes, and a change too small to matter."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import pyarrow as pa
from scipy.stats import chi2

from benchmarks.quality import line
from benchmarks.quality.changes import changing, shifted
from benchmarks.quality.shapes import DEPENDENT, INDEPENDENT, Rows, Shape
from detectors.windows import SIZES_MS
from schemas.monitors import Window
from schemas.results import Result

N_FEATURES = 50
REFERENCE_ROWS = 20_000
MIN_WINDOWS = 10
CHUNK_ROWS = 100_000


def pieces(rows: Rows, n: int, at_once: int = CHUNK_ROWS) -> Iterator[pa.Table]:
    """Yield the next `n` rows in tables of bounded size."""
    for start in range(0, n, at_once):
        yield rows.take(min(at_once, n - start))


def upper_bound(n_alarms: int, weeks: float) -> float:
    """Return the upper 95 % bound of a Poisson rate, alarms a week."""
    return float(chi2.ppf(0.95, 2 * (n_alarms + 1)) / 2 / weeks)


def false_alarms(
    shapes: Mapping[str, Shape], rows_per_window: int, n_windows: int, seed: int, *, window: Window = "1h",
    reference_rows: int = REFERENCE_ROWS,
) -> tuple[int, float]:  # fmt: skip
    """Return the feature alarms of a stream without change, and how many weeks it lasted."""
    under = line.monitor(window)
    rows = Rows(shapes, seed, rows_per_window, window_ms=SIZES_MS[window])
    n_reference = max(reference_rows, MIN_WINDOWS * rows_per_window)
    n_reference -= n_reference % rows_per_window  # windows are whole
    found = line.outcome(
        line.baseline_of(rows.take(n_reference), under), pieces(rows, n_windows * rows_per_window), under
    )
    return len(found.alarms), line.weeks(found.n_windows, under)


def of_one_kind(shape: Shape) -> dict[str, Shape]:
    """Return fifty features of one shape."""
    return {f"f{number:02d}": shape for number in range(N_FEATURES)}


def mixed(shapes: Mapping[str, Shape]) -> dict[str, Shape]:
    """Return fifty features of all the shapes in turn."""
    several = list(shapes.values())
    return {f"f{number:02d}": several[number % len(several)] for number in range(N_FEATURES)}


def q1(long: bool, seed: int) -> Iterator[tuple[str, float, float]]:
    """Independent rows: yield (what, alarms a week, upper bound)."""
    cases: list[tuple[str, Mapping[str, Shape], int, int, Window]] = []
    if long:
        for name, shape in INDEPENDENT.items():
            for rows, n_windows in ((100, 1848), (500, 1848), (2_000, 1848), (20_000, 336)):
                cases.append((f"{name}, {rows} rows", of_one_kind(shape), rows, n_windows, "1h"))
        cases += [
            ("mixed, 200 rows a minute", mixed(INDEPENDENT), 200, 20_160, "1m"),
            ("mixed, 200 rows in 5 minutes", mixed(INDEPENDENT), 200, 6_048, "5m"),
        ]
    else:
        cases = [("mixed, 500 rows", mixed(INDEPENDENT), 500, 840, "1h")]
    for number, (name, shapes, rows, n_windows, window) in enumerate(cases):
        n_alarms, weeks = false_alarms(shapes, rows, n_windows, seed + number, window=window)
        yield name, n_alarms / weeks, upper_bound(n_alarms, weeks)


def q2(long: bool, seed: int) -> Iterator[tuple[str, float, float]]:
    """Dependent rows: yield (what, alarms a week, upper bound)."""
    for number, (name, shape) in enumerate(DEPENDENT.items()):
        n_windows, reference = (1848, REFERENCE_ROWS) if long else (168, REFERENCE_ROWS)
        if "daily" in name:
            reference = 500 * 24 * 7
        elif "weekly" in name:
            reference = 500 * 168 * 4
        n_alarms, weeks = false_alarms(of_one_kind(shape), 500, n_windows, seed + number, reference_rows=reference)
        yield f"{name}, 500 rows", n_alarms / weeks, upper_bound(n_alarms, weeks)


def q7(seed: int, rows_per_window: int = 1_000_000, n_windows: int = 3) -> tuple[int, list[tuple[float, float]]]:
    """Windows of a million rows with a shift of 0.02 sd: return the alarms, and the intervals shown for it."""
    under = line.monitor()
    n_reference = MIN_WINDOWS * rows_per_window
    shapes = {"f00": changing(shifted(0.02), n_reference)}
    rows = Rows(shapes, seed, rows_per_window, window_ms=SIZES_MS["1h"])
    baseline = line.baseline_of(rows.take(n_reference), under)
    n_alarms, intervals = 0, []
    for item in line.judged(baseline, pieces(rows, n_windows * rows_per_window), under):
        if isinstance(item, Result):
            for verdict in item.features:
                n_alarms += verdict.verdict == "drift"
                interval = verdict.tests["location"].interval if "location" in verdict.tests else None
                if interval is not None:
                    intervals.append((float(interval[0]), float(interval[1])))
    return n_alarms, intervals


def worst(found: list[tuple[str, float, float]]) -> tuple[float, float, float]:
    """Return the largest rate, the mean rate and the largest upper bound."""
    rates = np.array([rate for _, rate, _ in found])
    return float(rates.max()), float(rates.mean()), float(max(bound for *_, bound in found))
