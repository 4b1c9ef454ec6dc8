"""Features without drift: independent, dependent and seasonal, made in pieces of any size.

A `Shape` starts a `Source` with a generator of its own; the source returns the next rows each time it is asked, so
that a stream of millions of rows never stands in memory and goes on where the reference ended.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.signal import lfilter

Values = NDArray[Any]
Source = Callable[[int], Values]
Shape = Callable[[np.random.Generator, float], Source]
"""Called with a generator and the rows an hour."""

HOURS_A_DAY, HOURS_A_WEEK = 24.0, 168.0
START_MS = 1_772_409_600_000  # Monday 2026-03-02 00:00 UTC


def independent(draw: Callable[[np.random.Generator, int], Values]) -> Shape:
    """Return a shape whose rows do not depend on one another."""
    return lambda rng, _rows_per_hour: lambda n: draw(rng, n)


def normal(rng: np.random.Generator, n: int) -> Values:
    """Return standard normal rows."""
    return rng.standard_normal(n)


def zero_inflated(rng: np.random.Generator, n: int) -> Values:
    """Return rows of which nine in ten are 0 and the others lognormal."""
    return np.where(rng.random(n) < 0.9, 0.0, rng.lognormal(0.0, 1.0, n))


def categories(shares: Values) -> Callable[[np.random.Generator, int], Values]:
    """Return a draw of labels with these shares."""
    levels = np.array([f"c{number}" for number in range(len(shares))])
    bounds = np.cumsum(shares)[:-1] / np.sum(shares)
    return lambda rng, n: levels[np.searchsorted(bounds, rng.random(n), "right")]


def zipf(n_levels: int) -> Values:
    """Return shares that fall with the rank."""
    return 1.0 / np.arange(1, n_levels + 1)


def autoregressive(phi: float) -> Shape:
    """Return an AR(1) of unit variance: each row carries `phi` of the one before."""

    def start(rng: np.random.Generator, _rows_per_hour: float) -> Source:
        state = np.array([phi * rng.standard_normal()])

        def take(n: int) -> Values:
            nonlocal state
            made, state = lfilter([np.sqrt(1 - phi**2)], [1.0, -phi], rng.standard_normal(n), zi=state)
            return np.asarray(made)

        return take

    return start


def moving_average(n_terms: int) -> Shape:
    """Return a moving average of unit variance over `n_terms` normal rows."""

    def start(rng: np.random.Generator, _rows_per_hour: float) -> Source:
        weights = np.full(n_terms, 1 / np.sqrt(n_terms))
        state = lfilter(weights, [1.0], rng.standard_normal(n_terms), zi=np.zeros(n_terms - 1))[1]

        def take(n: int) -> Values:
            nonlocal state
            made, state = lfilter(weights, [1.0], rng.standard_normal(n), zi=state)
            return np.asarray(made)

        return take

    return start


def seasonal(period_hours: float, height_sd: float) -> Shape:
    """Return normal rows whose mean follows a sine of `height_sd` with a random phase."""

    def start(rng: np.random.Generator, rows_per_hour: float) -> Source:
        position, phase = 0, rng.random()

        def take(n: int) -> Values:
            nonlocal position
            hours = (position + np.arange(n)) / rows_per_hour
            position += n
            return rng.standard_normal(n) + height_sd * np.sin(2 * np.pi * (hours / period_hours + phase))

        return take

    return start


def missing_in_bursts(share: float, mean_rows: float) -> Shape:
    """Return normal rows of which `share` are missing, in bursts of geometric length."""

    def start(rng: np.random.Generator, _rows_per_hour: float) -> Source:
        left_missing, left_there = 0, 0

        def take(n: int) -> Values:
            nonlocal left_missing, left_there
            made = rng.standard_normal(n)
            at = 0
            while at < n:
                if left_there == left_missing == 0:
                    left_there = int(rng.geometric(share / (1 - share) / mean_rows))
                    left_missing = int(rng.geometric(1 / mean_rows))
                step = min(left_there or left_missing, n - at)
                if left_there:
                    left_there -= step
                else:
                    made[at : at + step] = np.nan
                    left_missing -= step
                at += step
            return made

        return take

    return start


INDEPENDENT: Mapping[str, Shape] = {
    "normal": independent(normal),
    "lognormal": independent(lambda rng, n: rng.lognormal(0.0, 1.0, n)),
    "poisson": independent(lambda rng, n: rng.poisson(3.0, n).astype(np.float64)),
    "zipf categories": independent(categories(zipf(40))),
    "zero-inflated": independent(zero_inflated),
    "rounded": independent(lambda rng, n: rng.standard_normal(n).round(1)),
}

DEPENDENT: Mapping[str, Shape] = {
    "AR 0.6": autoregressive(0.6),
    "AR 0.9": autoregressive(0.9),
    "moving average": moving_average(8),
    "daily season": seasonal(HOURS_A_DAY, 0.5),
    "weekly season": seasonal(HOURS_A_WEEK, 0.5),
    "missing in bursts": missing_in_bursts(0.02, 10.0),
}


class Rows:
    """A table's worth of sources: the next rows of every feature, with event times at a steady pace.

    Parameters
    ----------
    shapes
        Feature name → shape.
    rows_per_window, window_ms
        The pace: so many rows a window, evenly.
    """

    def __init__(
        self, shapes: Mapping[str, Shape], seed: int, rows_per_window: int, *, window_ms: int, start_ms: int = START_MS
    ) -> None:
        rngs = np.random.default_rng(seed).spawn(len(shapes))
        per_hour = rows_per_window * 3_600_000 / window_ms
        self._sources = {name: shape(rng, per_hour) for (name, shape), rng in zip(shapes.items(), rngs, strict=True)}
        self._gap_ms, self._start_ms, self.position = window_ms / rows_per_window, start_ms, 0

    def take(self, n: int) -> pa.Table:
        """Return the next `n` rows, column ``time`` first."""
        times = self._start_ms + ((self.position + np.arange(n)) * self._gap_ms).astype(np.int64)
        self.position += n
        columns = {name: pa.array(source(n), from_pandas=True) for name, source in self._sources.items()}
        return pa.table({"time": pa.array(times), **columns})
