"""The product's public path as `driftgauge replay` of a file takes it: rows in, verdicts and alerts out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import pyarrow as pa

from detectors.reference import build_baseline
from detectors.windows import SIZES_MS
from schemas.alerts import Alert
from schemas.baselines import Baseline
from schemas.control import Effective
from schemas.monitors import Monitor, Sensitivity, Window
from schemas.results import Result
from streams.catalogue import Catalogue
from streams.replay.files import Roles, columns_of, events_of
from streams.replay.run import Replay

MODEL = "quality"
COLUMNS = Roles(time="time")
CHUNK_ROWS = 50_000


def monitor(window: Window = "1h", sensitivity: Sensitivity = "default", budget: float = 1.0) -> Monitor:
    """Return the monitor of a line: defaults, but for what the line is about."""
    return Monitor(MODEL, monitor_version=1, window=window, sensitivity=sensitivity, budget=budget)


def baseline_of(reference: pa.Table, under: Monitor, roles: Roles = COLUMNS) -> Baseline:
    """Return the baseline of a reference."""
    columns, times = columns_of(reference, roles)
    return build_baseline(
        columns, times, baseline_id=f"{MODEL}@1", model=MODEL, monitor=under, source="quality", created_ms=0
    )  # fmt: skip


def judged(
    baseline: Baseline, tables: Iterable[pa.Table], under: Monitor, roles: Roles = COLUMNS
) -> Iterator[Result | Alert]:
    """Replay the rows of some tables, in the order given; yield what the judge says, first judgements only."""
    catalogue = Catalogue()
    catalogue.add_baseline(baseline)
    catalogue.add_effective(Effective(MODEL, baseline.baseline_id, 0))
    catalogue.add_monitor(under)
    run = Replay(catalogue, "quality")
    seen: set[tuple[int, int]] = set()
    offset = 0

    def first(made: Iterable[Result | Alert]) -> Iterator[Result | Alert]:
        for item in made:
            if isinstance(item, Result):
                if (item.scale, item.window_start) in seen:
                    continue
                seen.add((item.scale, item.window_start))
            yield item

    for table in tables:
        for record in events_of(table, roles, MODEL):
            yield from first(run.add([record._replace(offset=offset)]))
            offset += 1
        yield from first(run.judge())
    yield from first(run.finish())


class Alarm(NamedTuple):
    """One feature found drifting in one window of one scale."""

    feature: str
    scale: int
    window_end: int


class Outcome(NamedTuple):
    """What came of a stream: `n_windows` base windows, feature alarms and states of alerts in order."""

    n_windows: int
    alarms: list[Alarm]
    alerts: list[Alert]

    def first(self, feature: str, after_ms: int) -> int | None:
        """Return the end of the first window that ended after a time and in which the feature drifted."""
        return min(
            (a.window_end for a in self.alarms if a.feature == feature and a.window_end > after_ms), default=None
        )


def outcome(baseline: Baseline, tables: Iterable[pa.Table], under: Monitor, roles: Roles = COLUMNS) -> Outcome:
    """Replay tables and gather the alarms."""
    n_windows, alarms, alerts = 0, [], []
    for item in judged(baseline, tables, under, roles):
        if isinstance(item, Alert):
            alerts.append(item)
            continue
        n_windows += item.scale == 1
        alarms += [Alarm(v.feature, item.scale, item.window_end) for v in item.features if v.verdict == "drift"]
    return Outcome(n_windows, alarms, alerts)


def weeks(n_windows: int, under: Monitor) -> float:
    """Return how many weeks so many base windows are."""
    return n_windows * SIZES_MS[under.window] / SIZES_MS["7d"]
