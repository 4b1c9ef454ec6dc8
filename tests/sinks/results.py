"""Results, events and feedback made for tests."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from schemas.columns import Batch, Column
from schemas.results import FeatureVerdict, Result, Test, Warning

START_MS = 1_767_268_800_000
HOUR_MS = 3_600_000
HOSTILE = (
    "a'b",
    'a"b`c',
    "a\\b\n\tc",
    "{model:String}",
    "'; DROP TABLE results; --",
    "Ünïcödé 漢字 🦊",
    " ",
    "%s %d",
    "NULL",
)


def a_feature(
    name: str = "income", *, effect: float = 0.21, drifted: bool = False, counts: Sequence[int] = (3, 0, 7)
) -> FeatureVerdict:
    """A verdict that uses every field."""
    return FeatureVerdict(
        feature=name,
        verdict="drift" if drifted else "ok",
        severity="moderate" if drifted else "",
        reason="psi" if drifted else "",
        tests={
            "psi": Test(effect + 0.01, 0.01, 0.04, effect, (effect - 0.02, effect + 0.02), drifted),
            "ks": Test(0.12, 0.02, 0.05, 0.1),
        },
        rows=10,
        missing=1,
        unseen=2,
        type_errors=3,
        before="mean 32,000, 10-90 % 14,000-61,000",
        after="mean 41,500",
        top_bins=[("48k-61k", 0.1, 0.21), ("o'ther", 0.0, 0.02)],
        counts=list(counts),
    )


def a_result(
    model: str = "credit-risk",
    hour: int = 0,
    *,
    revision: int = 0,
    features: Sequence[FeatureVerdict] | None = None,
    warnings: Sequence[Warning] = (),
    run_id: str = "live",
    slice: str = "",
    scale: int = 1,
) -> Result:
    """A result of the given hour."""
    start = START_MS + hour * HOUR_MS
    chosen = [a_feature()] if features is None else list(features)
    return Result(
        run_id=run_id,
        model=model,
        version="7",
        slice=slice,
        scale=scale,
        window_start=start,
        window_end=start + HOUR_MS * scale,
        revision=revision,
        sealed=bool(revision % 2),
        rows=4120,
        late_rows=5,
        baseline_id=f"{model}@3",
        monitor_version=12,
        state="drift" if any(each.verdict == "drift" for each in chosen) else "ok",
        features=chosen,
        warnings=list(warnings),
        flags=["state_lost"],
        unknown_features=4,
        produced_at=start + 812,
        late_after_final=3,
        deployments=[("8'; --", start + 61_000)],
    )


def a_batch(
    predictions: Column,
    *,
    model: str = "credit-risk",
    ids: list[str | None] | None = None,
    first_offset: int = 0,
    rows_per_record: int = 1,
    step_ms: int = 1,
) -> Batch:
    """Events with these predictions; the features are of no interest to the store."""
    values = predictions.codes if predictions.numbers is None else predictions.numbers
    n_rows = 0 if values is None else len(values)
    place = np.arange(n_rows, dtype=np.int64)
    times = START_MS + place * step_ms
    return Batch(model, "7", times, {"prediction": predictions}, ids, first_offset + place // rows_per_record, times)
