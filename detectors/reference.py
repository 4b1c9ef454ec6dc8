"""Reference rows become a baseline: window, scales, and one summary a feature."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from detectors import calibration
from detectors.errors import UnusableReference
from detectors.features import Rows, summarise
from detectors.windows import DAY_MS, SIZES_MS, choose_window, size_name, spanned_ms, window_starts
from schemas.baselines import Baseline, FeatureBaseline
from schemas.columns import Column
from schemas.monitors import FeatureMonitor, Monitor

MIN_REFERENCE_WINDOWS = 8
TESTS_PER_SERIES = 5

Ints = NDArray[np.int64]


def build_baseline(
    columns: Mapping[str, Column],
    times: Ints,
    *,
    baseline_id: str,
    model: str,
    monitor: Monitor,
    source: str,
    created_ms: int,
    effective_from: int = 0,
    provisional: bool = False,
    n_knots: int = 200,
) -> Baseline:
    """Build the baseline of a model from its reference rows.

    Parameters
    ----------
    columns
        One column a feature, all of as many rows as `times`.
    times
        Event times in epoch ms, shape (rows,). Rows are first put in their order (stable), because
        the calibration needs to see the reference as it happened.
    baseline_id
        ``model@number``.
    n_knots
        Quantiles kept of a numeric feature; 0 keeps every distinct value (exact mode).

    Raises
    ------
    UnusableReference
        When there are no rows, columns differ in length, or no column can be judged.
    """
    times = np.asarray(times, np.int64)
    if times.size == 0:
        raise UnusableReference(f"the reference of {model!r} has no rows; give a file or range with at least 500 rows")
    order = np.argsort(times, kind="stable")
    times = times[order]
    window_ms, reason = _window(times, monitor)
    rows = Rows(times.size, _days(times, monitor.timezone), n_knots)
    features: dict[str, FeatureBaseline] = {}
    skipped: dict[str, str] = {}
    for name in sorted(columns):
        wanted = monitor.features.get(name, FeatureMonitor())
        if wanted.ignore:
            skipped[name] = "ignored by the monitor"
        elif wanted.type in ("text", "embedding"):
            skipped[name] = f"type {wanted.type} is not judged yet"
        else:
            _check_length(name, columns[name], times.size)
            feature = summarise(columns[name].take(order), wanted, rows)
            if feature is None:
                skipped[name] = "every reference row is missing or of an unusable type"
            else:
                features[name] = feature
    if not features:
        why = "; ".join(f"{name}: {note}" for name, note in skipped.items()) or "it has no columns"
        raise UnusableReference(f"no column of the reference of {model!r} can be judged ({why})")
    span_ms = spanned_ms(int(times[0]), int(times[-1]), times.size)
    return Baseline(
        baseline_id=baseline_id,
        model=model,
        number=_number(baseline_id),
        created_ms=created_ms,
        source=source,
        rows=times.size,
        first_ms=int(times[0]),
        last_ms=int(times[-1]),
        window_ms=window_ms,
        window_reason=reason,
        scales=[k for k in sorted(set(monitor.scales)) if span_ms >= MIN_REFERENCE_WINDOWS * k * window_ms],
        n_series=-(-len(features) * (TESTS_PER_SERIES + 1) // TESTS_PER_SERIES),
        features=features,
        skipped=skipped,
        effective_from=effective_from,
        provisional=provisional,
        timezone=monitor.timezone,
    )


def _number(baseline_id: str) -> int:
    tail = baseline_id.rpartition("@")[2]
    if not tail.isdigit():
        raise UnusableReference(f"baseline_id {baseline_id!r} does not end in @number, such as credit-risk@3")
    return int(tail)


def _check_length(name: str, column: Column, n: int) -> None:
    for part in (column.numbers, column.codes):
        if part is not None and part.size != n:
            raise UnusableReference(f"column {name!r} has {part.size} rows, the event times {n}; give equal lengths")


def _window(times: Ints, monitor: Monitor) -> tuple[int, str]:
    if monitor.window == "auto":
        return choose_window(times, monitor.timezone)
    size_ms = SIZES_MS[monitor.window]
    return size_ms, f"{size_name(size_ms)}: set in the monitor"


def _days(times: Ints, timezone: str) -> Ints | None:
    if times[-1] - times[0] < (calibration.MIN_DAYS - 1) * DAY_MS:
        return None
    starts = window_starts(times, DAY_MS, timezone)
    days: Ints = np.rint((starts - starts[0]) / DAY_MS).astype(np.int64)
    return days
