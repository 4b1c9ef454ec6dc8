"""One reference column becomes the baseline of its feature."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from detectors import calibration
from detectors.blocks import choose_blocks
from detectors.layout import NumericLayout, hash_level, number_label
from detectors.views import bin_counts, in_words
from detectors.words import N_SHOWN_LEVELS, bin_labels, rank_labels, shares_in_words
from schemas.baselines import Array, FeatureBaseline, ShareBaseline
from schemas.columns import Column
from schemas.monitors import FeatureMonitor

MAX_LEVELS = 1000
EDGE_LEVELS = (0.01, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.99)

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Rows(NamedTuple):
    """What every feature shares: the day of each row (None: days are not usable) and how many rows."""

    n: int
    days: Ints | None
    n_knots: int


def summarise(column: Column, wanted: FeatureMonitor, rows: Rows) -> FeatureBaseline | None:
    """Return the baseline of one column, its rows in time order; None when nothing in it is usable."""
    n_numbers = 0 if column.numbers is None else int(np.count_nonzero(~np.isnan(column.numbers)))
    n_labels = 0 if column.codes is None else int(np.count_nonzero(column.codes >= 0))
    as_numbers = wanted.type == "numeric" or (wanted.type == "auto" and n_numbers > 0 and n_numbers >= n_labels)
    if as_numbers:
        return _numeric(column, wanted, rows, n_labels) if n_numbers else None
    if wanted.type == "categorical" and n_numbers:
        return _categorical(_as_labels(column, rows.n), wanted, rows, 0, from_numbers=True)
    return _categorical(column, wanted, rows, n_numbers) if n_labels else None


def _as_labels(column: Column, n: int) -> Column:
    """Return the column with its numbers turned into labels."""
    names: dict[str, int] = {}
    codes = np.full(n, -1, np.int32)
    if column.codes is not None:
        codes[:] = column.codes
        names.update({level: i for i, level in enumerate(column.levels)})
    if column.numbers is not None:
        present = ~np.isnan(column.numbers)
        values, inverse = np.unique(column.numbers[present], return_inverse=True)
        targets = [names.setdefault(number_label(value), len(names)) for value in values.tolist()]
        codes[present] = np.array(targets, np.int32)[inverse]
    return Column(None, codes, tuple(names), column.n_invalid, column.invalid)


def _errors(column: Column, present: NDArray[np.bool_], wrong: NDArray[np.bool_]) -> tuple[Any, Any]:
    """Return the share baselines of missing values and type errors."""
    if column.invalid is not None:
        wrong = wrong | (column.invalid & ~present)
    missing = calibration.share(~present & ~wrong)
    errors = calibration.share(wrong)
    n_invalid = min(column.n_invalid, missing.n) if column.invalid is None else 0
    if n_invalid:
        errors = ShareBaseline(errors.n + n_invalid, errors.effect, errors.coarse, errors.batch_rows)
        missing = ShareBaseline(missing.n - n_invalid, missing.effect, missing.coarse, missing.batch_rows)
    return missing, errors


def choose_knots(ordered: Floats, n_knots: int) -> tuple[Floats, Ints]:
    """Return the knots and the positions of the bins' edges in them.

    Parameters
    ----------
    ordered
        Reference values in increasing order, shape (rows,).
    n_knots
        How many quantiles to keep besides the edges, the minimum and the maximum; 0 keeps all values.

    Notes
    -----
    Between two neighbouring knots lies less than ``1 / (n_knots + 1)`` of the reference.
    """
    n = ordered.size
    edges = np.unique(ordered[[max(-(-round(level * 100) * n // 100), 1) - 1 for level in EDGE_LEVELS]])
    distinct = np.unique(ordered)
    if n_knots == 0 or distinct.size <= n_knots:
        knots = distinct
    else:
        ranks = -(-np.arange(1, n_knots + 1) * n // (n_knots + 1)) - 1
        knots = np.unique(np.concatenate((ordered[np.maximum(ranks, 0)], edges, ordered[[0, -1]])))
    knots = knots + 0.0
    edges = edges[edges < ordered[-1]]
    return knots, np.searchsorted(knots, edges)


def _numeric(column: Column, wanted: FeatureMonitor, rows: Rows, n_labels: int) -> FeatureBaseline:
    assert column.numbers is not None
    wide = column.numbers.astype(np.float64)
    present = ~np.isnan(wide)
    labels = np.zeros(rows.n, np.bool_) if column.codes is None or not n_labels else column.codes >= 0
    missing, errors = _errors(column, present, labels & ~present)
    values = wide[present]
    knots, edges = choose_knots(np.sort(values), rows.n_knots)
    left, right = knots.searchsorted(values, "left"), knots.searchsorted(values, "right")
    cells = left + right
    finite = values[np.isfinite(values)]
    mean, sd = _mean_sd(finite)
    counts = np.bincount(cells, minlength=2 * knots.size + 1)
    days = None if rows.days is None else rows.days[present]
    plain = FeatureBaseline(
        "numeric",
        values.size,
        Array.of(counts, "<i8"),
        missing,
        errors,
        knots=Array.of(knots, "<f8"),
        edges=Array.of(edges, "<i4"),
        sensitive=wanted.sensitive,
        mean=mean,
        sd=sd,
        calibration=None
        if values.size < calibration.MIN_ROWS
        else calibration.calibrate_numbers(cells, knots.size, edges, days),
    )
    part = NumericLayout("", plain, 0)
    steps = part.standardise(finite)
    vector = np.zeros(part.stop, np.int64)
    vector[part.cells] = counts
    vector[part.n_finite], vector[part.sum1] = finite.size, int(steps.sum())
    blocks = choose_blocks(steps)
    shown = bin_counts(part, vector)
    return msgspec.structs.replace(
        plain,
        block_rows=blocks.rows,
        block_mean=blocks.mean,
        block_sd=blocks.sd,
        block_off=blocks.off,
        lag1=_lag1(steps),
        before=in_words(part, vector),
        bins=rank_labels(shown) if wanted.sensitive else bin_labels(knots[edges].tolist()),
        bin_counts=shown,
    )


def _mean_sd(finite: Floats) -> tuple[float, float]:
    if not finite.size or finite.min() == finite.max():
        return (float(finite[0]) if finite.size else 0.0), 0.0
    scale = float(np.abs(finite).max())
    unit = finite / scale
    return float(unit.mean()) * scale, float(unit.std()) * scale


def _lag1(steps: Floats) -> float:
    if steps.size < 3 or steps.min() == steps.max():
        return 0.0
    centred = steps - steps.mean()
    return float(centred[1:] @ centred[:-1] / (centred @ centred))


def _categorical(
    column: Column, wanted: FeatureMonitor, rows: Rows, n_numbers: int, *, from_numbers: bool = False
) -> FeatureBaseline:
    assert column.codes is not None
    present = column.codes >= 0
    numbers = np.zeros(rows.n, np.bool_)
    if n_numbers and column.numbers is not None:
        numbers = ~np.isnan(column.numbers)
    missing, errors = _errors(column, present, numbers & ~present)
    codes = column.codes[present]
    n_each = np.bincount(codes, minlength=len(column.levels))
    names = [hash_level(level) for level in column.levels] if wanted.sensitive else list(column.levels)
    ranked = sorted((i for i in range(len(names)) if n_each[i]), key=lambda i: (-int(n_each[i]), names[i]))
    n_singletons = int(np.count_nonzero(n_each == 1))
    note = ""
    kept = ranked[:MAX_LEVELS]
    if n_singletons > codes.size / 2:
        kept, note = [], "nearly every value occurs once (an identifier or free text): only missing values are judged"
    levels = [names[i] for i in kept]
    number_of = np.full(len(names), len(kept))
    number_of[kept] = np.arange(len(kept))
    counts = n_each[kept]
    n_other = int(codes.size - counts.sum())
    enough = codes.size >= calibration.MIN_ROWS and levels
    days = None if rows.days is None else rows.days[present]
    shown = [*counts[:N_SHOWN_LEVELS].tolist(), int(counts[N_SHOWN_LEVELS:].sum()), n_other]
    return FeatureBaseline(
        "categorical",
        codes.size,
        Array.of(counts, "<i8"),
        missing,
        errors,
        levels=levels,
        sensitive=wanted.sensitive,
        from_numbers=from_numbers,
        n_other=n_other,
        n_singletons=n_singletons,
        calibration=calibration.calibrate_labels(number_of[codes], len(kept), bool(n_other or n_singletons), days)
        if enough
        else None,
        block_off="labels have no mean",
        before=shares_in_words(levels, counts.tolist(), codes.size) if levels else f"{len(ranked):,} different values",
        note=note,
        bins=[*levels[:N_SHOWN_LEVELS], "other known levels", "not in the baseline"],
        bin_counts=shown,
    )
