"""Kinds of change a feature can undergo: what they are, and when they count as found."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from benchmarks.quality.shapes import Shape, Source, Values, categories, independent, normal

FIVE = np.array([0.5, 0.3, 0.15, 0.04, 0.01])


class Change(NamedTuple):
    """A feature before the change, and what its rows become.

    `changed` takes a generator, the undrifted next rows and the number of the first of them since the onset.
    """

    before: Shape
    changed: Callable[[np.random.Generator, Values, int], Values]


def changing(change: Change, onset: int) -> Shape:
    """Return the shape that changes at row `onset`."""

    def start(rng: np.random.Generator, rows_per_hour: float) -> Source:
        source, own, position = change.before(rng, rows_per_hour), rng.spawn(1)[0], 0

        def take(n: int) -> Values:
            nonlocal position
            made, first = source(n), position - onset
            position += n
            if first + n <= 0:
                return made
            cut = max(0, -first)
            return np.concatenate([made[:cut], change.changed(own, made[cut:], first + cut)])

        return take

    return start


def shifted(by_sd: float) -> Change:
    """Return a shift of the mean of a normal feature."""
    return Change(independent(normal), lambda _rng, values, _first: values + by_sd)


def spread(factor: float) -> Change:
    """Return a change of the standard deviation."""
    return Change(independent(normal), lambda _rng, values, _first: values * factor)


def gradual(to_sd: float, over_rows: int) -> Change:
    """Return a mean that moves slowly and then stays."""

    def changed(_rng: np.random.Generator, values: Values, first: int) -> Values:
        return np.asarray(values + to_sd * np.clip((first + np.arange(len(values))) / over_rows, 0, 1))

    return Change(independent(normal), changed)


def recurring(by_sd: float, every: int) -> Change:
    """Return a shift that is on for `every` rows and off for as many."""

    def changed(_rng: np.random.Generator, values: Values, first: int) -> Values:
        on = (first + np.arange(len(values))) // every % 2 == 0
        return np.asarray(values + by_sd * on)

    return Change(independent(normal), changed)


def replaced(share: float, draw: Callable[[np.random.Generator, int], Values], before: Shape) -> Change:
    """Return rows of which a share is replaced by other values."""

    def changed(rng: np.random.Generator, values: Values, _first: int) -> Values:
        return np.where(rng.random(len(values)) < share, draw(rng, len(values)), values)

    return Change(before, changed)


def _constant(rng: np.random.Generator, n: int) -> Values:
    del rng
    return np.full(n, 7.0)


def _missing(share: float) -> Shape:
    return independent(lambda rng, n: np.where(rng.random(n) < share, np.nan, rng.standard_normal(n)))


COMPOSITE: Mapping[str, Change] = {
    "mean +0.25 sd": shifted(0.25),
    "mean +0.5 sd": shifted(0.5),
    "spread x1.25": spread(1.25),
    "gradual to 0.5 sd": gradual(0.5, 10_000),
    "category 1 to 3 %": Change(
        independent(categories(FIVE)),
        lambda rng, values, _first: categories(np.array([0.48, 0.3, 0.15, 0.04, 0.03]))(rng, len(values)),
    ),
    "recurring 0.5 sd": recurring(0.5, 4_000),
}
SMALL: Mapping[str, Change] = {"mean +0.1 sd": shifted(0.1)}
TAILS: Mapping[str, Change] = {
    "2 % outliers": replaced(0.02, lambda rng, n: 10 * rng.standard_normal(n), independent(normal)),
    "3 % at one value": replaced(0.03, lambda _rng, n: np.full(n, 0.5), independent(normal)),
    "constant wakes": replaced(0.01, lambda rng, n: 7.0 + rng.standard_normal(n), independent(_constant)),
    "unseen category 1 %": replaced(0.01, lambda _rng, n: np.full(n, "new"), independent(categories(FIVE))),
    "missing 1 to 3 %": Change(
        _missing(0.01), lambda rng, values, _first: np.where(rng.random(len(values)) < 0.0202, np.nan, values)
    ),
    "unit x1000": Change(
        independent(lambda rng, n: rng.lognormal(0.0, 0.5, n)), lambda _rng, values, _first: values * 1000
    ),
}
