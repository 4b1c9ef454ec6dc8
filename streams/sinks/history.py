"""What the store knows of the past: for the panel, the command line and a broker that forgot.

Everything is read with FINAL, bound parameters and a limit. Results and alerts come back as the messages they were.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from schemas import alerts as alert_messages
from schemas.alerts import Alert
from schemas.results import Result
from streams.sinks.clickhouse import ClickHouse
from streams.sinks.states import Distribution, FeatureState, ModelState, Point, Prediction, StoredWarning
from streams.sinks.stored import FEATURE, KEY, MS, WINDOW, assemble

LIVE = "live"
_FOREVER_MS = 9_000_000_000_000


class History:
    """Reads what `ClickHouse` has stored.

    Every method raises `SinkUnavailable` when the store does not answer, and `SinkMisconfigured` when its
    tables are missing.
    """

    def __init__(self, store: ClickHouse) -> None:
        self._store = store

    async def models(self, *, run_id: str = LIVE, limit: int = 1000) -> list[ModelState]:
        """Return every model's newest state, the worst and newest first."""
        newest = """
            SELECT * FROM windows FINAL WHERE run_id = {run_id:String} AND slice = '' AND (model, window_end) IN
              (SELECT model, max(window_end) FROM windows WHERE run_id = {run_id:String} AND slice = '' GROUP BY model)
            ORDER BY scale LIMIT 1 BY model
            """
        rows = await self._rows(
            f"""
            SELECT w.model, w.version, w.state, w.rows, {MS}(w.window_start), {MS}(w.window_end), w.n_features,
                   w.n_drifted, f.severity
            FROM ({newest}) AS w
            LEFT JOIN (SELECT model, baseline_id, scale, window_start,
                              argMax(severity, indexOf(['', 'minor', 'moderate', 'major'], severity)) AS severity
                       FROM results FINAL WHERE run_id = {{run_id:String}} AND slice = '' AND verdict = 'drift'
                         AND (model, scale, window_start) IN (SELECT model, scale, window_start FROM ({newest}))
                       GROUP BY model, baseline_id, scale, window_start) AS f
            USING (model, baseline_id, scale, window_start)
            ORDER BY w.state = 'drift' DESC, w.window_end DESC, w.model LIMIT {{limit:UInt32}}
            """,
            run_id=run_id,
            limit=limit,
        )
        return [ModelState(*row) for row in rows]

    async def model(self, model: str, *, run_id: str = LIVE, slice: str = "", limit: int = 5000) -> list[FeatureState]:
        """Return the verdicts of a model's newest window of each scale; drift first, then the largest effect.

        `effect` and `line` are those of the test that gave the reason, else of the one with the largest effect.
        """
        rows = await self._rows(
            f"""
            SELECT feature, slice, scale, {MS}(window_start), {MS}(window_end), verdict, severity, reason, rows,
                   missing, if(notEmpty(tests.name), tests.effect[shown], 0.) AS size,
                   if(notEmpty(tests.name), tests.line[shown], 0.), before, after
            FROM (SELECT *, if(has(tests.name, reason), indexOf(tests.name, reason),
                               indexOf(tests.effect, arrayMax(tests.effect))) AS shown
                  FROM results FINAL
                  WHERE run_id = {{run_id:String}} AND model = {{model:String}} AND slice = {{slice:String}}
                    AND (scale, window_start) IN
                      (SELECT scale, max(window_start) FROM windows WHERE run_id = {{run_id:String}}
                         AND model = {{model:String}} AND slice = {{slice:String}} GROUP BY scale)
                  ORDER BY baseline_id DESC LIMIT 1 BY feature, scale)
            ORDER BY verdict = 'drift' DESC, size DESC, feature, scale LIMIT {{limit:UInt32}}
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
            SELECT {MS}(window_start) AS at, {MS}(window_end), verdict, name, value, noise, line, effect, rows
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
            SELECT {MS}(window_start) AS at, {MS}(window_end), baseline_id, counts FROM profiles FINAL
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
            SELECT model, slice, feature, detector, {MS}(time) AS at, before, after FROM warnings FINAL
            WHERE run_id = {{run_id:String}} AND ({{any:Bool}} OR model = {{model:String}})
              AND time >= fromUnixTimestamp64Milli({{since:Int64}})
            ORDER BY at DESC, model, feature, scale LIMIT 1 BY model, slice, feature, detector, at
            LIMIT {{limit:UInt32}}
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
            "SELECT * FROM windows FINAL WHERE run_id = {run_id:String} AND (model, slice, scale, window_start) IN "
            "(SELECT model, slice, scale, max(window_start) FROM windows WHERE run_id = {run_id:String} "
            "GROUP BY model, slice, scale) "
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
            SELECT id, version, {MS}(time) AS at, prediction, label FROM predictions FINAL
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
            "SELECT hex(key), hex(value) FROM control FINAL WHERE topic = {topic:String} AND NOT tombstone "
            "ORDER BY revision",
            {"topic": topic},
            wait=True,
        )
        return [(bytes.fromhex(key), bytes.fromhex(value)) for key, value in rows]

    async def _rows(self, sql: str, **bound: Any) -> Sequence[Sequence[Any]]:
        return await self._store.query(sql, bound)

    async def _results(self, chosen: str, bound: Mapping[str, Any], feature: str | None = None) -> list[Result]:
        """Return the results of the chosen windows; features older than their window's revision have left it."""
        windows = await self._store.query(
            f"SELECT {WINDOW} FROM ({chosen}) ORDER BY window_start, model, slice, scale", bound
        )
        if not windows:
            return []
        only = "" if feature is None else " AND feature = {feature:String}"
        where = f"run_id = {{run_id:String}} AND {KEY} IN (SELECT {KEY[1:-1]} FROM ({chosen})){only}"
        bound = {**bound, "feature": feature or ""}
        rows = await self._store.query(f"SELECT {FEATURE} FROM results FINAL WHERE {where} ORDER BY position", bound)
        counts = await self._store.query(
            f"SELECT model, baseline_id, slice, scale, {MS}(window_start), feature, counts "
            f"FROM profiles FINAL WHERE {where}",
            bound,
        )
        warned = await self._store.query(
            f"SELECT model, baseline_id, slice, scale, {MS}(window_start), feature, detector, {MS}(time), before, "
            f"after FROM warnings FINAL WHERE {where} ORDER BY time, feature, detector",
            bound,
        )
        return assemble(windows, rows, counts, warned)


def _bytes(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode()
