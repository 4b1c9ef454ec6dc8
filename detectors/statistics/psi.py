"""The population stability index."""

from __future__ import annotations

from typing import Any

import numpy as np


def psi(reference: Any, current: Any, n_bins: Any = None) -> Any:
    """Return the population stability index ``sum (q - p) ln(q / p)`` with Jeffreys smoothing.

    Parameters
    ----------
    reference, current
        Rows per bin, shape (..., bins); bins without rows in both are padding when `n_bins` says so.
    n_bins
        Shape (...): how many leading bins are real; default all.

    Returns
    -------
    float or array of shape (...)

    Notes
    -----
    ``p = (n + 1/2) / (N + B/2)``. Under no change PSI is distributed as ``(1/N + 1/M)`` times a
    chi-square with B - 1 degrees of freedom (Yurdakul 2018).

    Examples
    --------
    >>> round(float(psi([50, 50], [50, 50])), 6), round(float(psi([50, 50], [80, 20])), 3)
    (0.0, 0.406)
    """
    n, m = np.asarray(reference, np.float64), np.asarray(current, np.float64)
    bins = np.full(n.shape[:-1], n.shape[-1]) if n_bins is None else np.asarray(n_bins)
    half = bins[..., None] / 2
    p = (n + 0.5) / (n.sum(-1, keepdims=True) + half)
    q = (m + 0.5) / (m.sum(-1, keepdims=True) + half)
    terms = (q - p) * np.log(q / p)
    real = np.arange(n.shape[-1]) < bins[..., None]
    return np.where(real, terms, 0.0).sum(-1)
