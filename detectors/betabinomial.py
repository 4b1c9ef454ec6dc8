"""Tails of the beta-binomial distribution: a count in a window, given a count in the reference."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaln

N_SD = 40
MAX_TERMS = 4_000_000

Floats = NDArray[np.float64]


def upper_tails(k: Any, n: Any, alpha: Any, beta: Any) -> Floats:
    """Return ``P(X >= k)`` for X beta-binomial with `n` trials, shape (tests,).

    The sum stops 40 standard deviations above `k` and the mean, where nothing is left.

    Examples
    --------
    >>> upper_tails([1], [1], [1.0], [3.0]).round(6).tolist()
    [0.25]
    """
    k, n, alpha, beta = np.broadcast_arrays(*(np.atleast_1d(np.asarray(x, np.float64)) for x in (k, n, alpha, beta)))
    total = alpha + beta
    sd = np.sqrt(n * alpha * beta * (total + n) / (total**2 * (total + 1)))
    reach = np.maximum(n * alpha / total - k, 0) + N_SD * sd + 50
    n_terms = np.minimum(np.maximum(n - k, 0), np.ceil(reach)).astype(np.int64) + 1
    order = np.argsort(n_terms, kind="stable")
    tails = np.empty(k.size)
    begin = 0
    while begin < order.size:
        end = begin + 1
        while end < order.size and (end - begin + 1) * int(n_terms[order[end]]) <= MAX_TERMS:
            end += 1
        some = order[begin:end]
        tails[some] = _sum(k[some], n[some], alpha[some], beta[some], int(n_terms[some[-1]]))
        begin = end
    return np.where(k <= 0, 1.0, np.where(k > n, 0.0, np.minimum(tails, 1.0)))


def _sum(k: Floats, n: Floats, alpha: Floats, beta: Floats, n_terms: int) -> Floats:
    x = k[:, None] + np.arange(n_terms)
    inside = (x <= n[:, None]) & (x >= 0)
    x = np.where(inside, x, 0.0)
    n, alpha, beta = n[:, None], alpha[:, None], beta[:, None]
    log = betaln(x + alpha, n - x + beta) - betaln(alpha, beta) - np.log1p(n) - betaln(n - x + 1, x + 1)
    terms: Floats = np.where(inside, np.exp(log), 0.0).sum(1)
    return terms
