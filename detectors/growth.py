"""Shares of single cells, levels and two-level series: has one grown more than chance allows?"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from detectors.betabinomial import upper_tails
from detectors.lines import MIN_RISE

SCREEN_Z = 3.0

Floats = NDArray[np.float64]


class Growth(NamedTuple):
    """The most suspicious cell of each feature: position (-1: the novel one), shares, line, decision."""

    cell: NDArray[np.int64]
    reference: Floats
    current: Floats
    line: Floats
    grown: NDArray[np.bool_]


class Cells(NamedTuple):
    """Reference side of the growth test: counts and design effects, shape (features, cells); rows, shape (features,).

    `novel_count` is how many rows the reference gives reason to expect outside its levels (Good and
    Turing: those in levels seen once or not kept); None for a numeric feature's support.
    """

    counts: Any
    effects: Any
    rows: Any
    novel_count: Any
    n_tests: Any


def grown(
    a: float, cells: Cells, current: Any, novel: Any, m: Floats, coarse: Floats, novel_effect: Floats, off: Any
) -> Growth:
    """Test every cell with reference rows, and the novel one, of every feature.

    Parameters
    ----------
    current, novel
        Window rows per cell, shape (features, cells), and outside all of them, shape (features,).
    m
        Window rows.
    coarse, novel_effect
        Inflation for windows of this size; design effect of the novel cell.
    off
        Shape (features,): where only the novel cell is tested.
    """
    n = cells.rows
    p, q = cells.counts / n[:, None], current / m[:, None]
    effects = np.maximum(cells.effects * coarse[:, None], 1.0)
    smooth = (cells.counts + 1) / (n + 2)[:, None]
    se = np.sqrt(smooth * (1 - smooth) * effects * (1 / n + 1 / m)[:, None])
    z = np.where((cells.counts > 0) & ~off[:, None], (q - p) / se, -np.inf)
    n_features = m.size
    best = z.argmax(1) if z.shape[1] else np.zeros(n_features, np.int64)
    p_best = np.ones(n_features)
    rows, columns = np.nonzero((z > SCREEN_Z) & (q - p >= MIN_RISE))
    if rows.size:
        d = effects[rows, columns]
        counts = cells.counts[rows, columns]
        tails = upper_tails(
            np.floor(current[rows, columns] / d), np.floor(m[rows] / d), counts / d + 1, (n[rows] - counts) / d
        )
        for row, column, tail in zip(rows.tolist(), columns.tolist(), tails.tolist(), strict=True):
            if tail < p_best[row]:
                p_best[row], best[row] = tail, column
    d = np.maximum(novel_effect * coarse, 1.0)
    if cells.novel_count is None:
        alpha, beta, expected = np.full(m.size, 2.0), np.maximum(n / d - 1, 1.0), np.zeros(m.size)
    else:
        alpha = np.maximum((cells.novel_count + 1) / d, 1.0)
        beta, expected = np.maximum(n / d - alpha, 1.0), cells.novel_count / n
    candidates = np.nonzero((novel / m - expected >= MIN_RISE) & (novel >= d))[0]
    every = np.arange(n_features)
    if z.shape[1]:
        reference, share = p[every, best], q[every, best]
        line = reference + np.maximum(MIN_RISE, -ndtri(a / cells.n_tests) * se[every, best])
    else:
        reference, share, line = np.zeros(n_features), np.zeros(n_features), np.full(n_features, MIN_RISE)
    cell = best.astype(np.int64)
    if candidates.size:
        some = candidates
        tails = upper_tails(np.floor(novel[some] / d[some]), np.floor(m[some] / d[some]), alpha[some], beta[some])
        for row, tail in zip(some.tolist(), tails.tolist(), strict=True):
            if tail < p_best[row]:
                p_best[row], cell[row] = tail, -1
                reference[row], share[row] = expected[row], novel[row] / m[row]
                line[row] = expected[row] + MIN_RISE
    decided = p_best * cells.n_tests <= a
    line = np.where(decided, np.minimum(line, share), np.maximum(line, share))
    return Growth(cell, reference, share, line, decided)


def share_changed(a: float, reference: int, n: int, current: int, m: int, effect: float) -> bool:
    """Return whether the share of a two-level series changed, in either direction, by a point or more."""
    if abs(current / m - reference / n) < MIN_RISE:
        return False
    d = max(effect, 1.0)
    if current / m < reference / n:
        reference, current = n - reference, m - current
    tail = upper_tails(np.floor(current / d), np.floor(m / d), reference / d + 1, max((n - reference) / d, 1e-9))
    return bool(tail[0] <= a / 2)
