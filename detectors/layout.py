"""Where each count of a window stands in its vector of integers."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors.grid import Grid, grid_of
from schemas.baselines import Baseline, FeatureBaseline

Counts = NDArray[np.int64]
Floats = NDArray[np.float64]

STEP = 1024
"""Standardised values are kept as multiples of 1/1024 ..."""
CLIP = 128
"""... between -128 and 128."""
TINY_SD = 1e-290


def hash_level(level: str) -> str:
    """Return what stands for a level of a sensitive feature.

    >>> len(hash_level("Lyon"))
    16
    """
    return blake2b(level.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def number_label(value: float) -> str:
    """Return the label of a coded number, equal for float32 and float64.

    >>> number_label(3.0), number_label(0.1), number_label(-0.0)
    ('3', '0.1', '0')
    """
    return str(int(value)) if value.is_integer() else f"{value:.6g}"


class NumericLayout:
    """One numeric feature: cells ``gap 0, knot 0, gap 1, ..., above``, then the counters below.

    Attributes
    ----------
    start, stop
        The feature's range in the vector; `cells` is the part that holds the cells.
    bin_ends
        Last cell of every bin of PSI.
    missing, type_errors, pos_inf, neg_inf, n_finite, sum1, sum2
        Positions of single counters. `sum1` and `sum2` are the sum and the sum of squares of the
        standardised finite values in steps of 1/1024.
    """

    kind = "numeric"

    def __init__(self, name: str, feature: FeatureBaseline, start: int) -> None:
        self.name = name
        self.feature = feature
        self.start = start
        self.knots: Floats = feature.knots.numpy()
        self.n_cells = 2 * self.knots.size + 1
        self.cells = slice(start, start + self.n_cells)
        tail = start + self.n_cells
        self.missing, self.type_errors, self.pos_inf, self.neg_inf = range(tail, tail + 4)
        self.n_finite, self.sum1, self.sum2 = range(tail + 4, tail + 7)
        self.stop = tail + 7
        self.bin_ends = np.append(2 * feature.edges.numpy() + 1, self.n_cells - 1)
        self.mean = feature.mean
        self.factor = STEP / (feature.sd if feature.sd > TINY_SD else 1.0)
        self._grids: dict[bool, Grid | None] = {}

    def grid(self, narrow: bool) -> Grid | None:
        """Return the grid of the thresholds for float32 (`narrow`) or float64 values, made when it is first needed."""
        if narrow not in self._grids:
            self._grids[narrow] = grid_of(self.thresholds32 if narrow else self.thresholds64)
        return self._grids[narrow]

    @cached_property
    def thresholds64(self) -> Floats:
        """What float64 values are counted with; made when the first come, as most features see one type only."""
        return thresholds(self.knots)[0]

    @cached_property
    def thresholds32(self) -> NDArray[np.float32]:
        """What float32 values are counted with."""
        return thresholds(self.knots)[1]

    def standardise(self, finite: NDArray[Any]) -> Floats:
        """Return finite values as whole multiples of 1/1024 sd, clipped to 128 sd."""
        return standardise(finite.astype(np.float64), self.mean, self.factor)


def standardise(finite: Floats, mean: Any, factor: Any) -> Floats:
    """Turn finite values, in place, into whole multiples of 1/1024 sd, clipped to 128 sd."""
    finite -= mean
    finite *= factor
    np.maximum(finite, -CLIP * STEP, out=finite)
    np.minimum(finite, CLIP * STEP, out=finite)
    return np.rint(finite, out=finite)


class CategoricalLayout:
    """One categorical feature: a count per known level, then the counters below.

    A level that is not known counts as `unseen`, or as `other` where the reference itself had
    levels beyond those it keeps; `novel` is the one of the two in use.
    """

    kind = "categorical"

    def __init__(self, name: str, feature: FeatureBaseline, start: int) -> None:
        self.name = name
        self.feature = feature
        self.start = start
        n_levels = len(feature.levels)
        self.cells = slice(start, start + n_levels)
        self.other, self.unseen, self.missing, self.type_errors = range(start + n_levels, start + n_levels + 4)
        self.stop = start + n_levels + 4
        self.novel = self.other if feature.n_other else self.unseen
        self.lookup = {level: start + i for i, level in enumerate(feature.levels)}

    def names(self, levels: Iterable[str]) -> list[str]:
        """Return the levels as the baseline spells them: hashed when the feature is sensitive."""
        return [hash_level(level) for level in levels] if self.feature.sensitive else list(levels)


FeatureLayout = NumericLayout | CategoricalLayout


def thresholds(knots: Floats) -> tuple[Floats, NDArray[np.float32]]:
    """Return, for float64 and float32 values, the numbers `t` with cells = differences of ``#(v < t)``.

    They alternate ``v < knot`` and ``v <= knot`` and end with NaN, before which all values sort.
    float32 values are compared with the float32 neighbours of each knot, so that counting them
    without a conversion gives the same counts.
    """
    wide, narrow = np.full(2 * knots.size + 1, np.nan), np.full(2 * knots.size + 1, np.nan, np.float32)
    up, down = np.float32(np.inf), np.float32(-np.inf)
    with np.errstate(over="ignore", under="ignore"):
        near = knots.astype(np.float32)
        ceiling = np.where(near.astype(np.float64) < knots, np.nextafter(near, up), near)
        floor = np.where(near.astype(np.float64) > knots, np.nextafter(near, down), near)
        wide[0:-1:2], wide[1::2] = knots, np.where(knots == np.inf, np.nan, np.nextafter(knots, np.inf))
        narrow[0:-1:2], narrow[1::2] = ceiling, np.where(floor == up, np.float32(np.nan), np.nextafter(floor, up))
    return wide, narrow


class Layout:
    """The vector of one baseline.

    Attributes
    ----------
    size
        Length of the vector.
    features
        Layout of each feature, in the baseline's order.
    slices
        Range of each feature in the vector.
    """

    def __init__(self, baseline: Baseline) -> None:
        self.baseline_id = baseline.baseline_id
        self.skipped = frozenset(baseline.skipped)
        self.features: dict[str, FeatureLayout] = {}
        position = 0
        for name, feature in baseline.features.items():
            part = (NumericLayout if feature.kind == "numeric" else CategoricalLayout)(name, feature, position)
            self.features[name] = part
            position = part.stop
        self.size = position
        self.names = tuple(self.features)
        self.slices = {name: slice(part.start, part.stop) for name, part in self.features.items()}

    def zeros(self) -> Counts:
        """Return the vector of a window without rows."""
        return np.zeros(self.size, np.int64)
