"""Q3 to Q6, Q8, Q13: what changes is found soon, opens and closes once, and is named rightly."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from benchmarks.quality import line
from benchmarks.quality.alarms import N_FEATURES, REFERENCE_ROWS, pieces
from benchmarks.quality.changes import COMPOSITE, SMALL, TAILS, Change, changing, recurring, shifted
from benchmarks.quality.shapes import START_MS, Rows, Shape, independent, normal
from detectors.windows import HOUR_MS
from schemas.monitors import Sensitivity

QUIET_ROWS = 4_000
CHANGED_ROWS = 20_000
RECURRING_ROWS = 4_000
N_PHASES = 6


class Found(NamedTuple):
    """How one kind of change was found: `delays` in rows after the onset, infinite where it was not."""

    delays: list[float]
    n_early: int

    @property
    def share(self) -> float:
        """Share of the streams in which it was found."""
        return float(np.isfinite(self.delays).mean())

    @property
    def median(self) -> float:
        """Median delay in rows."""
        return float(np.median(self.delays))

    @property
    def score(self) -> float:
        """Mean of found times (1 - delay / 20,000 rows)."""
        delays = np.array(self.delays)
        return float(np.where(np.isfinite(delays), 1 - np.minimum(delays, CHANGED_ROWS) / CHANGED_ROWS, 0.0).mean())


def found(
    changes: Mapping[str, Change], rows_per_window: int, n_streams: int, seed: int, sensitivity: Sensitivity = "default"
) -> dict[str, Found]:
    """Return how each kind was found, in fifty features of which each changes in one of the kinds.

    Every feature is judged for itself under the shared budget, so fifty changes in one model are fifty streams.
    """
    under = line.monitor(sensitivity=sensitivity)
    kinds = list(changes)
    per_kind = N_FEATURES // len(kinds)
    delays: dict[str, list[float]] = {kind: [] for kind in kinds}
    n_early = dict.fromkeys(kinds, 0)
    n_reference = REFERENCE_ROWS - REFERENCE_ROWS % rows_per_window
    onset = n_reference + -(-QUIET_ROWS // rows_per_window) * rows_per_window
    onset_ms = START_MS + onset * HOUR_MS // rows_per_window
    run = 0
    while min(map(len, delays.values())) < n_streams:
        kind_of = {f"f{number:02d}": kinds[number // per_kind] for number in range(per_kind * len(kinds))}
        quiet = {f"f{number:02d}": independent(normal) for number in range(per_kind * len(kinds), N_FEATURES)}
        shapes: dict[str, Shape] = {name: changing(changes[kind], onset) for name, kind in kind_of.items()} | quiet
        rows = Rows(shapes, seed + run, rows_per_window, window_ms=HOUR_MS)
        baseline = line.baseline_of(rows.take(n_reference), under)
        made = line.outcome(baseline, pieces(rows, onset - n_reference + CHANGED_ROWS), under)
        for name, kind in kind_of.items():
            n_early[kind] += any(a.feature == name and a.window_end <= onset_ms for a in made.alarms)
            end = made.first(name, onset_ms)
            delays[kind].append(np.inf if end is None else (end - onset_ms) * rows_per_window / HOUR_MS)
        run += 1
    return {kind: Found(delays[kind], n_early[kind]) for kind in kinds}


def q13(rows_per_window: int, n_streams: int, seed: int, sensitivity: Sensitivity = "default") -> dict[str, Found]:
    """Return the kinds of the composite; the smallest shift is looked for at high sensitivity."""
    small = found(SMALL, rows_per_window, n_streams, seed + 1_000, "high")
    return found(COMPOSITE, rows_per_window, n_streams, seed, sensitivity) | small


def composite(kinds: Mapping[str, Found]) -> float:
    """Return the mean score over the kinds."""
    return float(np.mean([kind.score for kind in kinds.values()]))


def q5(rows_per_window: int, n_streams: int, seed: int) -> dict[str, float]:
    """Return how phases that come and go are found, and whether each opens and closes one episode."""
    under = line.monitor()
    n_reference = REFERENCE_ROWS - REFERENCE_ROWS % rows_per_window
    n_found = n_opens = n_closes = n_exact = 0
    lags: list[float] = []
    for run in range(n_streams):
        shapes = {f"f{number:02d}": independent(normal) for number in range(N_FEATURES - 1)}
        shapes["recurring"] = changing(recurring(0.5, RECURRING_ROWS), n_reference)
        rows = Rows(shapes, seed + run, rows_per_window, window_ms=HOUR_MS)
        baseline = line.baseline_of(rows.take(n_reference), under)
        made = line.outcome(baseline, pieces(rows, 2 * N_PHASES * RECURRING_ROWS), under)
        row_ms = HOUR_MS / rows_per_window
        opens = [a.time for a in made.alerts if a.state == "open" and a.previous is None]
        closes = [a.time for a in made.alerts if a.state == "resolved"]
        n_opens += len(opens)
        n_closes += len(closes)
        n_exact += len(opens) == len(closes) == N_PHASES
        for phase in range(N_PHASES):
            on = START_MS + (n_reference + 2 * phase * RECURRING_ROWS) * row_ms
            off, end = on + RECURRING_ROWS * row_ms, on + 2 * RECURRING_ROWS * row_ms
            n_found += any(on < a.window_end <= off for a in made.alarms if a.feature == "recurring")
            lags += [(close - off) / HOUR_MS for close in closes if off < close <= end]
    return {
        "found": n_found / (n_streams * N_PHASES), "opens_per_phase": n_opens / (n_streams * N_PHASES),
        "closes_per_phase": n_closes / (n_streams * N_PHASES), "exactly_once": n_exact / n_streams,
        "close_windows_median": float(np.median(lags)) if lags else float("inf"),
        "close_windows_max": max(lags, default=float("inf")),
    }  # fmt: skip


def q6(rows_per_window: int, n_streams: int, seed: int) -> dict[str, float]:
    """Return the share of changes of tails, atoms and support found within 4,000 rows, by kind."""
    return {
        kind: float(np.mean(np.array(one.delays) <= 4_000))
        for kind, one in found(TAILS, rows_per_window, n_streams, seed).items()
    }


def q8(rows_per_window: int, n_streams: int, seed: int) -> tuple[float, float]:
    """Five of fifty features shift by half a standard deviation: return precision and recall by name."""
    under = line.monitor()
    n_reference = REFERENCE_ROWS - REFERENCE_ROWS % rows_per_window
    n_right = n_named = 0
    for run in range(n_streams):
        moved = {f"f{number:02d}" for number in range(0, N_FEATURES, N_FEATURES // 5)}
        shapes = {
            name: changing(shifted(0.5), n_reference) if name in moved else independent(normal)
            for name in (f"f{number:02d}" for number in range(N_FEATURES))
        }
        rows = Rows(shapes, seed + run, rows_per_window, window_ms=HOUR_MS)
        baseline = line.baseline_of(rows.take(n_reference), under)
        named = {a.feature for a in line.outcome(baseline, pieces(rows, CHANGED_ROWS), under).alarms}
        n_named += len(named)
        n_right += len(named & moved)
    return n_right / max(n_named, 1), n_right / (5 * n_streams)
