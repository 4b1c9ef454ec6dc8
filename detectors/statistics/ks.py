"""The two-sample Kolmogorov-Smirnov statistic."""

from __future__ import annotations

from typing import Any

import numpy as np


def ks(reference: Any, current: Any) -> Any:
    """Return the largest difference of the two distribution functions.

    Parameters
    ----------
    reference, current
        Rows per cell in increasing order, shape (..., cells), where the cells are open gaps and
        single knots in turn, so that every right and left limit at a knot is a cumulative sum.

    Returns
    -------
    float or array of shape (...); NaN when either sample is empty.

    Examples
    --------
    >>> float(ks([0, 2, 0, 2, 0], [0, 1, 0, 3, 0]))
    0.25
    """
    n, m = np.asarray(reference).cumsum(-1), np.asarray(current).cumsum(-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.abs(n / n[..., -1:] - m / m[..., -1:]).max(-1)
