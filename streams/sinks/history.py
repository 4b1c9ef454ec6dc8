"""What the store knows of the past: for the panel, the command line and a broker that forgot.

Everything is read with FINAL, bound parameters and a limit. Results and alerts come back as the messages they were.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from schemas import alerts as alert_messages
from schemas.alerts import Alert
from schemas.results import FeatureVerdict, Result, Severity, Test, Verdict, Warning
from streams.sinks.clickhouse import ClickHouse

LIVE = "live"
_FOREVER_MS = 4_000_000_000_000
_MS = "toUnixTimestamp64Milli"
_WINDOW = (
    "run_id, model, version, baseline_id, slice, scale, {ms}(window_start), {ms}(window_end), revision, sealed, state, "
    "rows, late_rows, monitor_version, unknown_features, flags, {ms}(produced_at)"
).replace("{ms}", _MS)
_FEATURE = (
    "model, baseline_id, slice, scale, {ms}(window_start), revision, feature, verdict, severity, reason, rows, missing, "
    "unseen, type_errors, before, after, top_bins, tests.name, tests.value, tests.noise, tests.line, tests.effect, "
    "tests.low, tests.high, tests.drifted"
).replace("{ms}", _MS)
_KEY = "(model, baseline_id, slice, scale, window_start)"


class ModelState(NamedTuple):
    """A model as its newest window of the smallest scale left it. Times in epoch milliseconds."""

    model: str
    version: str
    state: Verdict
    rows: int
    window_start: int
    window_end: int
    n_features: int
    n_drifted: int
    severity: Severity


class FeatureState(NamedTuple):
    """The newest verdict about one feature."""

    feature: str
    slice: str
    scale: int
    window_start: int
    window_end: int
    verdict: Verdict
    severity: Severity
    reason: str
    rows: int
    missing: int
    effect: float
    line: float
    before: str
    after: str


class Point(NamedTuple):
    """One window in a feature's series of one test: the value, what noise alone shows, the alarm line."""

    window_start: int
    window_end: int
    verdict: Verdict
    test: str
    value: float
    noise: float
    line: float
    effect: float
    rows: int


class Distribution(NamedTuple):
    """The rows per bin of one window; `baseline_id` names whose bins."""

    window_start: int
    window_end: int
    baseline_id: str
    counts: list[int]


class StoredWarning(NamedTuple):
    """A change point as stored."""

    model: str
    slice: str
    feature: str
    detector: str
    time: int
    before: float
    after: float


class Prediction(NamedTuple):
    """A stored prediction: a number or a label."""

    id: str
    version: str
    time: int
    number: float | None
    label: str


class History:
    """Reads what `ClickHouse` has stored.

    Every method raises `SinkUnavailable` when the store does not answer, and `SinkMisconfigured` when its
    tables are missing.
    """

    def __init__(self, store: ClickHouse) -> None:
        self._store = store

    async def models(self, *, run_id: str = LIVE, limit: int = 1000) -> list[ModelState]:
        """Return every model's newest state, the worst and newest first."""
        rows = await self._rows(
            f"""
            SELECT w.model, w.version, w.state, w.rows, {_MS}(w.window_start), {_MS}(w.window_end), w.n_features,
                   w.n_drifted, f.severity
            FROM (SELECT * FROM windows FINAL WHERE run_id = {{run_id:String}} AND slice = ''
                  ORDER BY window_end DESC, scale LIMIT 1 BY model) AS w
            LEFT JOIN (SELECT model, baseline_id, scale, window_start,
                              argMax(severity, indexOf(['', 'minor', 'moderate', 'major'], severity)) AS severity
                       FROM results FINAL WHERE run_id = {{run_id:String}} AND slice = '' AND verdict = 'drift'
                       GROUP BY model, baseline_id, scale, window_start) AS f
            USING (model, baseline_id, scale, window_start)
            ORDER BY w.state = 'drift' DESC, w.window_end DESC, w.model LIMIT {{limit:UInt32}}
            """,
            run_id=run_id,
            limit=limit,
        )
        return [ModelState(*row) for row in rows]

    async def model(self, model: str, *, run_id: str = LIVE, slice: str = "", limit: int = 5000) -> list[FeatureState]:
        """Return the newest verdict of every feature and scale of a model; the largest effect first.

        `effect` and `line` are those of the test that gave the reason, else of the one with the largest effect.
        """
        rows = await self._rows(
            f"""
            SELECT feature, slice, scale, {_MS}(window_start), {_MS}(window_end), verdict, severity, reason, rows, missing,
                   if(notEmpty(tests.name), tests.effect[shown], 0.), if(notEmpty(tests.name), tests.line[shown], 0.),
                   before, after
            FROM (SELECT *, if(has(tests.name, reason), indexOf(tests.name, reason),
                               indexOf(tests.effect, arrayMax(tests.effect))) AS shown
                  FROM results FINAL
                  WHERE run_id = {{run_id:String}} AND model = {{model:String}} AND slice = {{slice:String}}
                  ORDER BY window_start DESC LIMIT 1 BY feature, scale)
            ORDER BY verdict = 'drift' DESC, 11 DESC, feature, scale LIMIT {{limit:UInt32}}
            """,
            run_id=run_id,
            model=model,
            slice=slice,
            limit=limit,
        )
        return [FeatureState(*row) for row in rows]

    async def feature(
        self,
        model: str,
        feature: str,
        since_ms: int = 0,
        *,
        run_id: str = LIVE,
        slice: str = "",
        scale: int = 1,
        limit: int = 5000,
    ) -> list[Point]:
        """Return the newest `limit` points of a feature's series since a time, oldest first, one for each test."""
        rows = await self._rows(
            f"""
            SELECT {_MS}(window_start) AS at, {_MS}(window_end), verdict, name, value, noise, line, effect, rows
            FROM (SELECT * FROM results FINAL
                  WHERE run_id = {{run_id:String}} AND model = {{model:String}} AND slice = {{slice:String}}
                    AND feature = {{feature:String}} AND scale = {{scale:UInt16}}
                    AND window_start >= fromUnixTimestamp64Milli({{since:Int64}}))
            ARRAY JOIN tests.name AS name, tests.value AS value, tests.noise AS noise, tests.line AS line,
                       tests.effect AS effect
            ORDER BY at DESC, name DESC LIMIT {{limit:UInt32}}
            """,
            run_id=run_id,
            model=model,
            feature=feature,
            slice=slice,
            scale=scale,
            since=since_ms,
            limit=limit,
        )
        return [Point(*row) for row in reversed(rows)]

    async def distributions(
        self,
        model: str,
        feature: str,
        since_ms: int = 0,
        *,
        run_id: str = LIVE,
        slice: str = "",
        scale: int = 1,
        limit: int = 500,
    ) -> list[Distribution]:
        """Return the newest `limit` windows' rows per bin since a time, oldest first."""
        rows = await self._rows(
            f"""
            SELECT {_MS}(window_start) AS at, {_MS}(window_end), baseline_id, counts FROM profiles FINAL
            WHERE run_id = {{run_id:String}} AND model = {{model:String}} AND slice = {{slice:String}}
              AND feature = {{feature:String}} AND scale = {{scale:UInt16}}
              AND window_start >= fromUnixTimestamp64Milli({{since:Int64}})
            ORDER BY at DESC LIMIT {{limit:UInt32}}
            """,
            run_id=run_id,
            model=model,
            feature=feature,
            slice=slice,
            scale=scale,
            since=since_ms,
            limit=limit,
        )
        return [Distribution(*row) for row in reversed(rows)]

    async def warnings(
        self, model: str | None = None, since_ms: int = 0, *, run_id: str = LIVE, limit: int = 500
    ) -> list[StoredWarning]:
        """Return change points since a time, newest first."""
        rows = await self._rows(
            f"""
            SELECT model, slice, feature, detector, {_MS}(time) AS at, before, after FROM warnings FINAL
            WHERE run_id = {{run_id:String}} AND ({{any:Bool}} OR model = {{model:String}})
              AND time >= fromUnixTimestamp64Milli({{since:Int64}})
            ORDER BY at DESC, model, feature, scale LIMIT 1 BY model, slice, feature, detector, at LIMIT {{limit:UInt32}}
            """,
            run_id=run_id,
            any=model is None,
            model=model or "",
            since=since_ms,
            limit=limit,
        )
        return [StoredWarning(*row) for row in rows]

    async def alerts(self, *, model: str | None = None, state: str | None = None, limit: int = 200) -> list[Alert]:
        """Return the newest state of each episode, the newest first; with `state`, those that are in it now."""
        rows = await self._rows(
            """
            SELECT argMax(body, sequence) FROM alerts FINAL WHERE {any:Bool} OR model = {model:String}
            GROUP BY episode_id HAVING {every:Bool} OR argMax(state, sequence) = {state:String}
            ORDER BY max(time) DESC, episode_id DESC LIMIT {limit:UInt32}
            """,
            any=model is None,
            model=model or "",
            every=state is None,
            state=state or "",
            limit=limit,
        )
        return [alert_messages.decode(_bytes(body)) for (body,) in rows]

    async def episode(self, episode_id: str) -> list[Alert]:
        """Return every state of one episode, in order."""
        rows = await self._rows(
            "SELECT body FROM alerts FINAL WHERE episode_id = {id:String} ORDER BY sequence LIMIT 10000", id=episode_id
        )
        return [alert_messages.decode(_bytes(body)) for (body,) in rows]

    async def latest(self, *, run_id: str = LIVE, limit: int = 1000) -> list[Result]:
        """Return the newest result of every (model, slice, scale), with features and warnings."""
        chosen = (
            "SELECT * FROM windows FINAL WHERE run_id = {run_id:String} "
            "ORDER BY window_start DESC, baseline_id DESC LIMIT 1 BY model, slice, scale LIMIT {limit:UInt32}"
        )
        return await self._results(chosen, {"run_id": run_id, "limit": limit})

    async def results(
        self,
        model: str,
        *,
        run_id: str = LIVE,
        slice: str = "",
        scale: int = 1,
        feature: str | None = None,
        start_ms: int | None = None,
        end_ms: int | None = None,
        limit: int = 200,
    ) -> list[Result]:
        """Return the last revision of the newest `limit` windows that start in ``[start_ms, end_ms)``, oldest first.

        With `feature`, each result carries the verdict and the warnings of that feature alone.
        """
        chosen = (
            "SELECT * FROM windows FINAL WHERE run_id = {run_id:String} AND model = {model:String} "
            "AND slice = {slice:String} AND scale = {scale:UInt16} "
            "AND window_start >= fromUnixTimestamp64Milli({start:Int64}) "
            "AND window_start < fromUnixTimestamp64Milli({end:Int64}) "
            "ORDER BY window_start DESC, baseline_id DESC LIMIT {limit:UInt32}"
        )
        bound = {"run_id": run_id, "model": model, "slice": slice, "scale": scale, "limit": limit}
        bound |= {"start": start_ms or 0, "end": _FOREVER_MS if end_ms is None else end_ms}
        return await self._results(chosen, bound, feature)

    async def predictions(self, model: str, ids: Sequence[str]) -> list[Prediction]:
        """Return the newest stored prediction for each id that has one."""
        rows = await self._rows(
            f"""
            SELECT id, version, {_MS}(time) AS at, prediction, label FROM predictions FINAL
            WHERE model = {{model:String}} AND id IN {{ids:Array(String)}} AND id != ''
            ORDER BY id, at DESC, source_offset DESC, ordinal DESC LIMIT 1 BY id
            """,
            model=model,
            ids=list(ids),
        )
        return [Prediction(*row) for row in rows]

    async def control(self, topic: str) -> list[tuple[bytes, bytes]]:
        """Return (key, value) of the newest record of every key of a topic, oldest first; tombstoned keys are left out.

        Waits for a store that does not answer: a broker must not be seeded with half of its past.
        """
        rows = await self._store.query(
            "SELECT hex(key), hex(value) FROM control FINAL WHERE topic = {topic:String} AND NOT tombstone ORDER BY revision",
            {"topic": topic},
            wait=True,
        )
        return [(bytes.fromhex(key), bytes.fromhex(value)) for key, value in rows]

    async def _rows(self, sql: str, **bound: Any) -> Sequence[Sequence[Any]]:
        return await self._store.query(sql, bound)

    async def _results(self, chosen: str, bound: Mapping[str, Any], feature: str | None = None) -> list[Result]:
        """Return the results of the chosen windows; features older than their window's revision have left it."""
        windows = await self._store.query(f"SELECT {_WINDOW} FROM ({chosen}) ORDER BY window_start, model, slice, scale", bound)
        if not windows:
            return []
        only = "" if feature is None else " AND feature = {feature:String}"
        where = f"run_id = {{run_id:String}} AND {_KEY} IN (SELECT {_KEY[1:-1]} FROM ({chosen})){only}"
        bound = {**bound, "feature": feature or ""}
        rows = await self._store.query(f"SELECT {_FEATURE} FROM results FINAL WHERE {where} ORDER BY position", bound)
        counts = await self._store.query(
            f"SELECT model, baseline_id, slice, scale, {_MS}(window_start), feature, counts FROM profiles FINAL WHERE {where}",
            bound,
        )
        warned = await self._store.query(
            f"SELECT model, baseline_id, slice, scale, {_MS}(window_start), feature, detector, {_MS}(time), before, after "
            f"FROM warnings FINAL WHERE {where} ORDER BY time, feature, detector",
            bound,
        )
        return _assemble(windows, rows, counts, warned)


def _assemble(
    windows: Sequence[Sequence[Any]],
    rows: Sequence[Sequence[Any]],
    counts: Sequence[Sequence[Any]],
    warned: Sequence[Sequence[Any]],
) -> list[Result]:
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
        n_rows, late_rows, monitor_version, unknown, flags, produced_at = rest
        key = (model, baseline_id, slice_, scale, start)
        current = [verdict for of_revision, verdict in features.get(key, []) if of_revision >= revision]
        results.append(
            Result(
                *(run_id, model, version, slice_, scale, start, end, revision, bool(sealed), n_rows, late_rows),
                *(baseline_id, monitor_version, state, current, warnings.get(key, []), list(flags), unknown, produced_at),
            )
        )
    return results


def _feature(row: Sequence[Any], counts: list[int]) -> FeatureVerdict:
    name, verdict, severity, reason, n_rows, missing, unseen, type_errors, before, after, top_bins, *tests = row
    return FeatureVerdict(
        *(name, verdict, severity, reason, {test: _test(*values) for test, *values in zip(*tests, strict=True)}),
        *(n_rows, missing, unseen, type_errors, before, after, [_bin(each) for each in top_bins], counts),
    )


def _test(
    value: float, noise: float, line: float, effect: float, low: float | None, high: float | None, drifted: bool
) -> Test:
    return Test(value, noise, line, effect, None if low is None or high is None else (low, high), bool(drifted))


def _bin(values: Any) -> tuple[str, float, float]:
    name, reference, current = values.values() if isinstance(values, dict) else values
    return name, reference, current


def _bytes(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode()
