"""How much each statistic varies in windows without drift, measured on the reference itself.

The reference is cut, in time order, into 100 consecutive batches. What batches vary beyond
independent rows is dependence; chunks of several batches and whole days show how it grows.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import fdtri, ndtri

from schemas.baselines import Array, Calibration, Moments, Pool, ShareBaseline, Spread

N_BATCHES = 100
N_CHUNKS = 8
MIN_ROWS = 2 * N_BATCHES
MIN_DAYS = 7
KS_FLOOR = 0.0736
"""``F (1 - F)`` at F = .08: design effects nearer the tails are measured as if they were there."""
POOL_ROWS = 5

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


class Groups(NamedTuple):
    """Counts of consecutive groups of rows: `counts` (groups, cells), `rows` (groups,)."""

    counts: Ints
    rows: Floats

    def of(self, weights: Floats) -> Floats:
        """Return each group's mean of a weight per cell, shape (groups,)."""
        means: Floats = self.counts @ weights / self.rows
        return means

    def variance(self, weights: Floats) -> float:
        """Return the variance per row of the groups' means."""
        means = self.of(weights)
        centre = float(np.average(means, weights=self.rows))
        return float((self.rows * (means - centre) ** 2).sum() / (len(means) - 1))


class Cuts(NamedTuple):
    """The reference cut in batches, in chunks of 1, 2, 4, 8 batches, and in days (or None)."""

    chunks: list[Groups]
    days: Groups | None
    batch_rows: int
    total: Ints

    @property
    def batches(self) -> Groups:
        """The 100 batches."""
        return self.chunks[0]


def cut(cells: Ints, n_cells: int, days: Ints | None) -> Cuts:
    """Cut the cell numbers of the rows, shape (rows,), in time order.

    `days` numbers the day of each row; it is used where at least seven whole days have more rows
    than a batch.
    """
    batch_rows = cells.size // N_BATCHES
    kept = cells[: batch_rows * N_BATCHES]
    batch = np.repeat(np.arange(N_BATCHES), batch_rows)
    counts = np.bincount(batch * n_cells + kept, minlength=N_BATCHES * n_cells).reshape(N_BATCHES, n_cells)
    chunks = []
    size = 1
    while N_BATCHES // size >= N_CHUNKS:
        n_chunks = N_BATCHES // size
        sums = counts[: n_chunks * size].reshape(n_chunks, size, n_cells).sum(1)
        chunks.append(Groups(sums, np.full(n_chunks, float(batch_rows * size))))
        size *= 2
    return Cuts(chunks, _by_day(cells, n_cells, days, batch_rows), batch_rows, np.bincount(cells, minlength=n_cells))


def _by_day(cells: Ints, n_cells: int, days: Ints | None, batch_rows: int) -> Groups | None:
    if days is None or days[-1] - days[0] < MIN_DAYS - 1:
        return None
    numbers, day, rows = np.unique(days, return_inverse=True, return_counts=True)
    if numbers.size < MIN_DAYS:
        return None
    counts = np.bincount(day * n_cells + cells, minlength=numbers.size * n_cells).reshape(numbers.size, n_cells)
    whole = rows >= np.median(rows) / 2
    if np.count_nonzero(whole) < MIN_DAYS or np.median(rows[whole]) <= batch_rows:
        return None
    return Groups(counts[whole], rows[whole].astype(np.float64))


def _excess(of_days: float, of_batches: float, n_days: int) -> float:
    """Return what days add to a variance, 0 unless an F test at 5 % finds it."""
    if of_batches <= 0:
        return 0.0
    return of_days - of_batches if of_days / of_batches > fdtri(n_days - 1, N_BATCHES - 1, 0.95) else 0.0


def spread(cuts: Cuts, weights: Floats, floor: float) -> Spread:
    """Return the variance of the mean of a weight per cell, at least `floor`, and how it grows."""
    variance = max(cuts.batches.variance(weights), floor)
    if variance <= 0:
        return Spread(0.0)
    coarse = [max(chunk.variance(weights) / variance, 0.0) for chunk in cuts.chunks]
    days = cuts.days
    excess = 0.0 if days is None else _excess(days.variance(weights), variance, len(days.rows))
    return Spread(variance, coarse, excess)


def share(flags: NDArray[np.bool_]) -> ShareBaseline:
    """Return the baseline of a two-level series from one flag per row, in time order."""
    n = int(np.count_nonzero(flags))
    if flags.size < MIN_ROWS or n in (0, flags.size):
        return ShareBaseline(n)
    cuts = cut(flags.astype(np.int64), 2, None)
    p = n / flags.size
    found = spread(cuts, np.array([0.0, 1.0]), p * (1 - p))
    return ShareBaseline(n, found.variance / (p * (1 - p)), found.coarse, cuts.batch_rows)


def moments(cuts: Cuts, bin_of_cell: Ints, n_bins: int) -> Moments:
    """Return the first three moments of the null distribution of PSI over the bins, and their growth.

    `bin_of_cell`, shape (cells,), does not decrease and leaves out no bin.

    Notes
    -----
    Sample moments of a covariance with k = 99 degrees of freedom, debiased; independence is the
    floor. The tail follows Hall, Buckley and Eagleson's three-moment approximation; the inflation
    is a second-order correction in the manner of Rao and Scott.
    """
    if n_bins < 2:
        return Moments(n_bins, 0.0, 0.0, 0.0)
    firsts = bin_of_cell.searchsorted(np.arange(n_bins))
    p = np.add.reduceat(cuts.total, firsts) / cuts.total.sum()
    k = float(N_BATCHES - 1)

    def distance(groups: Groups) -> float:
        expected = groups.rows[:, None] * p
        chi_square = ((np.add.reduceat(groups.counts, firsts, axis=1) - expected) ** 2 / expected).sum(1)
        return float(chi_square.mean() / (1 - 1 / len(groups.rows)))

    b = float(cuts.batch_rows)
    r = (np.add.reduceat(cuts.batches.counts, firsts, axis=1) - b * p) / np.sqrt(b * p)
    r -= r.mean(0)
    covariance = (r.T @ r if n_bins <= N_BATCHES else r @ r.T) / k
    square = covariance @ covariance
    t1, t2, t3 = (float(np.trace(x)) for x in (covariance, square, square @ covariance))
    independent = n_bins - 1.0
    if t1 < 1e-9 * independent:  # every batch is the same, as in a whole number of cycles
        t1 = t2 = t3 = independent
    l1 = t1
    l2 = max(k**2 / ((k - 1) * (k + 2)) * (t2 - t1**2 / k), t1**2 / independent)
    l3 = k**4 / ((k - 1) * (k - 2) * (k + 2) * (k + 4)) * (t3 - 3 * t1 * t2 / k + 2 * t1**3 / k**2)
    l3 = min(max(l3, l2**2 / l1), l2**1.5)
    f = max(1.0, independent / t1)
    l1, l2, l3 = l1 * f, l2 * f**2, l3 * f**3
    coarse = [distance(chunk) / l1 for chunk in cuts.chunks]
    days = cuts.days
    excess = 0.0 if days is None else _excess(distance(days), l1, len(days.rows))
    return Moments(n_bins, l1, l2, l3, coarse, excess)


def largest_ks_effect(cuts: Cuts, n_knots: int) -> Spread:
    """Return the design effect `d_max` of the empirical distribution: the largest of 16 groups of knots."""
    total = cuts.total.cumsum()[1 : 2 * n_knots : 2] / cuts.total.sum()
    floor = np.maximum(total * (1 - total), KS_FLOOR)

    def grouped(groups: Groups) -> Floats:
        shares = groups.counts.cumsum(1)[:, 1 : 2 * n_knots : 2] / groups.rows[:, None]
        centre = np.average(shares, axis=0, weights=groups.rows)
        variance = (groups.rows[:, None] * (shares - centre) ** 2).sum(0) / (len(groups.rows) - 1)
        parts = np.array_split(variance / floor, min(16, n_knots))
        means: Floats = np.array([part.mean() for part in parts])
        return means

    of_batches = grouped(cuts.batches)
    d_max = max(float(of_batches.max()), 1.0)
    excess = 0.0
    if cuts.days is not None:
        excess = _excess(float(grouped(cuts.days).max()), d_max, len(cuts.days.rows))
    return Spread(d_max, day_excess=excess)


def cell_effects(cuts: Cuts) -> Floats:
    """Return the design effect of every cell's share, at least 1, shape (cells,)."""
    p = cuts.total / cuts.total.sum()
    batches = cuts.batches
    variance = batches.rows[0] * np.var(batches.counts / batches.rows[:, None], axis=0, ddof=1)
    independent = p * (1 - p)
    effects: Floats = np.divide(variance, independent, out=np.ones_like(p), where=independent > 0)
    return np.maximum(effects, 1.0)


def score_weights(counts: Any) -> tuple[Floats, Floats]:
    """Return the weights ``g1 = E[z]`` and ``g2 = E[z**2]`` of every cell, centred on the reference.

    `z` is the normal quantile of a row's rank in the reference. Cells without reference rows take
    the quantile at their place, at most half a row from either end.
    """
    n = np.asarray(counts, np.float64)
    total = float(n.sum())
    upper = n.cumsum() / total
    lower = np.concatenate(([0.0], upper[:-1]))
    z_upper, z_lower = ndtri(upper), ndtri(lower)
    width = np.where(n > 0, upper - lower, 1.0)

    def density(z: Floats) -> Floats:
        return np.asarray(np.exp(-z * z / 2) / np.sqrt(2 * np.pi))

    def times_density(z: Floats) -> Floats:
        finite = np.where(np.isfinite(z), z, 0.0)
        return np.asarray(finite * density(finite))

    at = ndtri(np.clip(upper, 0.5 / total, 1 - 0.5 / total))
    g1 = np.where(n > 0, (density(z_lower) - density(z_upper)) / width, at)
    g2 = np.where(n > 0, 1 + (times_density(z_lower) - times_density(z_upper)) / width, at**2)
    p = n / total
    return g1 - p @ g1, g2 - p @ g2


def _days_of(cuts: Cuts) -> tuple[int, float]:
    return (0, 0.0) if cuts.days is None else (len(cuts.days.rows), float(np.median(cuts.days.rows)))


def calibrate_numbers(cells: Ints, n_knots: int, edges: Ints, days: Ints | None) -> Calibration:
    """Calibrate a numeric feature from the cell number of each row, in time order."""
    n_cells = 2 * n_knots + 1
    cuts = cut(cells, n_cells, days)
    bin_of_cell = np.searchsorted(2 * edges + 1, np.arange(n_cells), "left")
    g1, g2 = score_weights(cuts.total)
    p = cuts.total / cuts.total.sum()
    n_days, day_rows = _days_of(cuts)
    return Calibration(
        cuts.batch_rows,
        [Pool(0, 0, moments(cuts, bin_of_cell, edges.size + 1))],
        largest_ks_effect(cuts, n_knots),
        Array.of(cell_effects(cuts), "<f4"),
        spread(cuts, g1, float(p @ g1**2)),
        spread(cuts, g2, float(p @ g2**2)),
        n_days,
        day_rows,
    )


def calibrate_labels(levels: Ints, n_levels: int, pool_novel: bool, days: Ints | None) -> Calibration:
    """Calibrate a categorical feature from each row's level number, `n_levels` where it is not kept.

    Levels are numbered by falling frequency, so that those expected less than five times in a
    window are the last ones. They share one bin, with what is not kept when `pool_novel`.
    """
    cuts = cut(levels, n_levels + 1, days)
    counts = cuts.total[:n_levels]
    pools: list[Pool] = []
    for log2_rows in range(5, 40):
        n_frequent = int(np.count_nonzero(counts * 2.0**log2_rows >= POOL_ROWS * levels.size))
        if not pools or pools[-1].n_levels != n_frequent:
            pools.append(_pool(cuts, n_levels, log2_rows, n_frequent, pool_novel))
        if n_frequent == n_levels:
            break
    n_days, day_rows = _days_of(cuts)
    widest = max((pool.moments for pool in pools), key=lambda m: m.l1 / max(m.bins - 1, 1))
    effect = max(widest.l1 / max(widest.bins - 1, 1), 1.0)
    effects = cell_effects(cuts)[:n_levels]
    return Calibration(cuts.batch_rows, pools, Spread(effect), Array.of(effects, "<f4"), None, None, n_days, day_rows)


def _pool(cuts: Cuts, n_levels: int, log2_rows: int, n_frequent: int, pool_novel: bool) -> Pool:
    cells = np.minimum(np.arange(n_levels + 1), n_frequent)
    pooled = int(cuts.total[n_frequent:n_levels].sum()) + (int(cuts.total[n_levels]) if pool_novel else 0)
    if pooled:
        return Pool(log2_rows, n_frequent, moments(cuts, cells, n_frequent + 1))
    return Pool(log2_rows, n_frequent, moments(cuts, np.minimum(cells, max(n_frequent - 1, 0)), n_frequent))
