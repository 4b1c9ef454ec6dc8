"""Reference and current rows of a feature, bin by bin, as shares with labels."""

from __future__ import annotations

from typing import Literal

import msgspec

from schemas.baselines import Baseline, Kind
from schemas.results import FeatureVerdict, Result


class Bins(msgspec.Struct, frozen=True):
    """The bins of one feature of a baseline and the reference rows in each."""

    kind: Kind
    labels: list[str]
    counts: list[int]


class Distribution(msgspec.Struct, frozen=True):
    """Shares of the reference and of one window over the same bins; `partial` if only the most changed are known."""

    kind: Kind | Literal["unknown"]
    labels: list[str]
    reference: list[float]
    current: list[float]
    n_reference: int | None
    n_current: int
    window_start: int
    window_end: int
    scale: int
    partial: bool


def bins_of(baseline: Baseline | None, baseline_id: str, feature: str) -> Bins | None:
    """Return the bins of a feature, or None if `baseline` is another than `baseline_id` or has none for it."""
    known = baseline.features.get(feature) if baseline and baseline.baseline_id == baseline_id else None
    if known is None or not known.bins:
        return None
    return Bins(known.kind, known.bins, known.bin_counts)


def distribution(result: Result, verdict: FeatureVerdict, bins: Bins | None) -> Distribution | None:
    """Return the two distributions of a feature in one window, or None when nothing is known of them."""
    if bins is not None and len(bins.counts) == len(verdict.counts) and any(verdict.counts):
        n_reference = sum(bins.counts)
        n_current = sum(verdict.counts)
        return Distribution(
            kind=bins.kind,
            labels=bins.labels,
            reference=[count / n_reference if n_reference else 0.0 for count in bins.counts],
            current=[count / n_current for count in verdict.counts],
            n_reference=n_reference,
            n_current=n_current,
            window_start=result.window_start,
            window_end=result.window_end,
            scale=result.scale,
            partial=False,
        )
    if not verdict.top_bins:
        return None
    return Distribution(
        kind="unknown",
        labels=[label for label, _, _ in verdict.top_bins],
        reference=[share for _, share, _ in verdict.top_bins],
        current=[share for _, _, share in verdict.top_bins],
        n_reference=None,
        n_current=verdict.rows,
        window_start=result.window_start,
        window_end=result.window_end,
        scale=result.scale,
        partial=True,
    )
