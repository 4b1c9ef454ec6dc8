"""Means of blocks of consecutive values: what the sequential detectors read instead of rows.

A block is a function of one partition's rows in offset order; the unfinished block is in the
state, so results do not depend on how rows are cut into batches.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite, sqrt
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.errors import IncompatibleState
from detectors.layout import STEP, Layout, NumericLayout, standardise
from schemas.columns import Column

FIRST_BLOCK_ROWS = 16
MIN_BLOCKS = 40
MAX_LAG1 = 0.2
CLIP = 4.0
SCALE = 64

Times = NDArray[np.int64]
Means = NDArray[np.int16]
State = dict[str, tuple[int, int, int]]


class Blocks(NamedTuple):
    """Rows per block, mean and sd of the reference's block means (in row sd); `off` says why there is none."""

    rows: int
    mean: float
    sd: float
    off: str


def choose_blocks(steps: NDArray[np.float64]) -> Blocks:
    """Choose the block length from the standardised reference, shape (rows,), in steps of 1/1024.

    Blocks start at 16 rows and double while neighbouring block means are correlated.
    """
    rows = FIRST_BLOCK_ROWS
    if steps.size < MIN_BLOCKS * rows:
        return Blocks(rows, 0.0, 0.0, f"the reference has fewer than {MIN_BLOCKS * rows} values")
    while True:
        n_blocks = steps.size // rows
        means = steps[: n_blocks * rows].reshape(n_blocks, rows).mean(1) / STEP
        mean, sd = float(means.mean()), float(means.std(ddof=1))
        if sd < 1e-12:
            return Blocks(rows, mean, 0.0, "the reference is constant")
        centred = means - mean
        lag1 = float(centred[1:] @ centred[:-1] / (centred @ centred))
        if lag1 <= max(0.1, 1.645 / sqrt(n_blocks)) or steps.size // (2 * rows) < MIN_BLOCKS:
            break
        rows *= 2
    off = "" if lag1 <= MAX_LAG1 else f"blocks of {rows} rows stay correlated ({lag1:.2f}): season or day effects"
    return Blocks(rows, mean, sd, off)


class BlockMeans:
    """The unfinished block of every numeric feature with a sequential detector."""

    def __init__(self, layout: Layout) -> None:
        self._parts = {
            name: part
            for name, part in layout.features.items()
            if isinstance(part, NumericLayout) and not part.feature.block_off
        }
        self._state: State = dict.fromkeys(self._parts, (0, 0, 0))

    def add(self, columns: Mapping[str, Column], times: Times) -> dict[str, tuple[Times, Means]]:
        """Add rows in offset order; return the blocks they complete.

        Missing and infinite values are passed over. Returned are, per feature, the newest event
        time in each block and its mean, standardised by the reference's block means, clipped to
        4 and scaled by 64: a hundredth of what a block varies by.
        """
        done: dict[str, tuple[Times, Means]] = {}
        alike: dict[tuple[int, int], list[tuple[str, NDArray[Any]]]] = {}
        with np.errstate(over="ignore", invalid="ignore"):
            for name, part in self._parts.items():
                column = columns.get(name)
                if column is None or column.numbers is None or not column.numbers.size:
                    continue
                numbers = column.numbers
                if isfinite(numbers.sum()):
                    alike.setdefault((part.feature.block_rows, self._state[name][1]), []).append((name, numbers))
                    continue
                finite = np.isfinite(numbers)
                if finite.any():
                    self._add([(name, numbers[finite])], times[finite], done)
            for group in alike.values():
                self._add(group, times, done)
        return done

    def _add(self, group: list[tuple[str, NDArray[Any]]], times: Times, done: dict[str, tuple[Times, Means]]) -> None:
        """Add finite values of features whose blocks and unfinished blocks are equally long."""
        parts = [self._parts[name] for name, _ in group]
        steps = standardise(
            np.array([numbers for _, numbers in group], np.float64),
            np.array([[part.mean] for part in parts]),
            np.array([[part.factor] for part in parts]),
        )
        states = [self._state[name] for name, _ in group]
        rows, count, n = parts[0].feature.block_rows, states[0][1], times.size
        firsts = np.concatenate(([0], np.arange(rows - count, n, rows)))
        sums = np.add.reduceat(steps, firsts, axis=1)
        sums[:, 0] += [total for total, _, _ in states]
        newest = np.maximum.reduceat(times, firsts)
        n_done = (count + n) // rows
        rest = count + n - n_done * rows
        means = np.array([[part.feature.block_mean] for part in parts])
        sds = np.array([[part.feature.block_sd] for part in parts])
        scaled = (sums[:, :n_done] / (rows * STEP) - means) / sds
        blocks = np.rint(np.clip(scaled, -CLIP, CLIP) * SCALE).astype(np.int16)
        for i, (name, _) in enumerate(group):
            mine = newest
            if count and states[i][2] > newest[0]:
                mine = newest.copy()
                mine[0] = states[i][2]
            if n_done:
                done[name] = (mine[:n_done], blocks[i])
            self._state[name] = (int(sums[i, n_done]), rest, int(mine[n_done])) if rest else (0, 0, 0)

    def snapshot(self) -> State:
        """Return the unfinished blocks: sum in steps of 1/1024 sd, rows, newest event time in ms."""
        return {name: state for name, state in self._state.items() if state[1]}

    def restore(self, state: Mapping[str, tuple[int, int, int]]) -> None:
        """Go on from a `snapshot`.

        Raises
        ------
        IncompatibleState
            When the snapshot names a feature that has no blocks here: it belongs to another baseline.
        """
        unknown = state.keys() - self._parts.keys()
        if unknown:
            raise IncompatibleState(f"blocks of {sorted(unknown)} belong to another baseline")
        self._state = dict.fromkeys(self._parts, (0, 0, 0))
        for name, (total, count, last) in state.items():
            if not 0 < count < self._parts[name].feature.block_rows:
                raise IncompatibleState(f"the unfinished block of {name!r} has {count} rows; the snapshot is damaged")
            self._state[name] = (int(total), int(count), int(last))
