"""Results as the messages they were, from the rows they were stored as."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from schemas.results import FeatureVerdict, Result, Test, Warning

MS = "toUnixTimestamp64Milli"
WINDOW = (
    "run_id, model, version, baseline_id, slice, scale, {ms}(window_start), {ms}(window_end), revision, sealed, state, "
    "rows, late_rows, monitor_version, unknown_features, flags, late_after_final, "
    "arrayMap(d -> d.1, deployments), arrayMap(d -> {ms}(d.2), deployments), {ms}(produced_at)"
).replace("{ms}", MS)
FEATURE = (
    "model, baseline_id, slice, scale, {ms}(window_start), revision, feature, verdict, severity, reason, rows, "
    "missing, unseen, type_errors, before, after, top_bins, tests.name, tests.value, tests.noise, tests.line, "
    "tests.effect, tests.low, tests.high, tests.drifted"
).replace("{ms}", MS)
KEY = "(model, baseline_id, slice, scale, window_start)"


def assemble(
    windows: Sequence[Sequence[Any]],
    rows: Sequence[Sequence[Any]],
    counts: Sequence[Sequence[Any]],
    warned: Sequence[Sequence[Any]],
) -> list[Result]:
    """Return the results of the `windows` rows, in their order.

    Parameters
    ----------
    windows
        Rows of `WINDOW`.
    rows
        Rows of `FEATURE`, in the features' order. Those older than their window's revision have left it.
    counts
        Key of the window, feature, rows per bin.
    warned
        Key of the window, then the fields of a `Warning`.
    """
    bins = {tuple(row[:6]): list(row[6]) for row in counts}
    features: dict[tuple[Any, ...], list[tuple[int, FeatureVerdict]]] = {}
    for row in rows:
        key = tuple(row[:5])
        features.setdefault(key, []).append((row[5], _feature(row[6:], bins.get((*key, row[6]), []))))
    warnings: dict[tuple[Any, ...], list[Warning]] = {}
    for row in warned:
        warnings.setdefault(tuple(row[:5]), []).append(Warning(*row[5:]))
    results = []
    for row in windows:
        run_id, model, version, baseline_id, slice_, scale, start, end, revision, sealed, state, *rest = row
        n_rows, late_rows, monitor_version, unknown, flags, late_after_final, versions, times, produced_at = rest
        key = (model, baseline_id, slice_, scale, start)
        current = [verdict for of_revision, verdict in features.get(key, []) if of_revision >= revision]
        results.append(
            Result(
                run_id=run_id,
                model=model,
                version=version,
                slice=slice_,
                scale=scale,
                window_start=start,
                window_end=end,
                revision=revision,
                sealed=bool(sealed),
                rows=n_rows,
                late_rows=late_rows,
                baseline_id=baseline_id,
                monitor_version=monitor_version,
                state=state,
                features=current,
                warnings=warnings.get(key, []),
                flags=list(flags),
                unknown_features=unknown,
                produced_at=produced_at,
                late_after_final=late_after_final,
                deployments=list(zip(versions, times, strict=True)),
            )
        )
    return results


def _feature(row: Sequence[Any], counts: list[int]) -> FeatureVerdict:
    name, verdict, severity, reason, n_rows, missing, unseen, type_errors, before, after, top_bins, *tests = row
    return FeatureVerdict(
        feature=name,
        verdict=verdict,
        severity=severity,
        reason=reason,
        tests={test: _test(*values) for test, *values in zip(*tests, strict=True)},
        rows=n_rows,
        missing=missing,
        unseen=unseen,
        type_errors=type_errors,
        before=before,
        after=after,
        top_bins=[_bin(each) for each in top_bins],
        counts=counts,
    )


def _test(
    value: float, noise: float, line: float, effect: float, low: float | None, high: float | None, drifted: bool
) -> Test:
    return Test(value, noise, line, effect, None if low is None or high is None else (low, high), bool(drifted))


def _bin(values: Any) -> tuple[str, float, float]:
    name, reference, current = values.values() if isinstance(values, dict) else values
    return name, reference, current
