"""Pages and `/api`: every page has its twin under `/api` made from the same values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from schemas.alerts import Alert
from schemas.baselines import Baseline
from streams.panel import stream, words
from streams.panel.feature import FeatureView, feature_view
from streams.panel.live import Hub
from streams.panel.query import read_range, time_ms
from streams.panel.readings import Range, Reading, Readings
from streams.panel.rendering import render
from streams.panel.views import ModelSummary, ModelView, model_view, summarise, summary_of, waiting

MODEL = "{model:[^/]+}"  # aiohttp's default for a part refuses braces, which names may hold
FEATURE = "{feature:[^/]+}"
_encode = msgspec.json.Encoder().encode


class Panel:
    """The handlers, and what they read from."""

    def __init__(
        self, readings: Readings, live: Hub, baselines: Mapping[str, Baseline], registry: CollectorRegistry
    ) -> None:
        self._readings = readings
        self._live = live
        self._baselines = baselines
        self._registry = registry

    def add_routes(self, app: web.Application) -> None:
        """Add every route but the static files and the login."""
        get = app.router.add_get
        get("/", self.models_page)
        get(f"/models/{MODEL}", self.model_page)
        get(f"/models/{MODEL}/features/{FEATURE}", self.feature_page)
        get("/alerts", self.alerts_page)
        get("/api/models", self.models_json)
        get(f"/api/models/{MODEL}", self.model_json)
        get(f"/api/models/{MODEL}/features/{FEATURE}", self.feature_json)
        get("/api/alerts", self.alerts_json)
        get("/api/stream", self.stream)
        get("/metrics", self.metrics)
        get("/healthz", self.healthz)
        get("/readyz", self.readyz)

    async def models_page(self, request: web.Request) -> web.Response:
        """Answer with the front page."""
        last_id = self._live.last_id
        models, alerts = await self._models(request)
        return self._page(
            "models.html",
            last_id,
            problem=models.problem or alerts.problem,
            models=models.items,
            alerts=[alert for alert in alerts.items if alert.state in ("open", "acknowledged")],
        )

    async def models_json(self, request: web.Request) -> web.Response:
        """Answer with every model's summary."""
        models, _ = await self._models(request)
        return _json({"models": models.items, "history": models.problem})

    async def model_page(self, request: web.Request) -> web.Response:
        """Answer with the page of one model."""
        last_id = self._live.last_id
        model, within = _name(request, "model"), read_range(request.query)
        found, summary, problem = await self._model(model, within)
        return self._page(
            "model.html",
            last_id,
            problem=problem,
            model=model,
            view=found,
            summary=found.summary if found else summary,
            within=within,
            query=request.query_string,
        )

    async def model_json(self, request: web.Request) -> web.Response:
        """Answer with what the page of one model shows."""
        found, summary, problem = await self._model(_name(request, "model"), read_range(request.query))
        if found is None:
            return _json({"summary": summary, "features": [], "heat": None, "episodes": [], "history": problem})
        return _json({**msgspec.structs.asdict(found), "history": problem})

    async def feature_page(self, request: web.Request) -> web.Response:
        """Answer with the page of one feature."""
        last_id = self._live.last_id
        found, problem = await self._feature(request)
        return self._page(
            "feature.html",
            last_id,
            problem=problem,
            model=found.model,
            feature=found.feature,
            view=found,
            within=read_range(request.query),
            query=request.query_string,
        )

    async def feature_json(self, request: web.Request) -> web.Response:
        """Answer with what the page of one feature shows."""
        found, problem = await self._feature(request)
        return _json({**msgspec.structs.asdict(found), "history": problem})

    async def alerts_page(self, request: web.Request) -> web.Response:
        """Answer with the episodes, newest first."""
        last_id = self._live.last_id
        alerts = await self._readings.alerts(request.query.get("model") or None)
        return self._page("alerts.html", last_id, problem=alerts.problem, alerts=alerts.items)

    async def alerts_json(self, request: web.Request) -> web.Response:
        """Answer with the newest state of each episode."""
        alerts = await self._readings.alerts(request.query.get("model") or None)
        return _json({"alerts": alerts.items, "history": alerts.problem})

    async def stream(self, request: web.Request) -> web.StreamResponse:
        """Answer with server-sent events."""
        return await stream.serve(request, self._live)

    async def metrics(self, request: web.Request) -> web.Response:
        """Answer with the metrics in the format Prometheus asked for."""
        encoder, content_type = choose_encoder(request.headers.get("Accept", ""))
        return web.Response(body=encoder(self._registry), headers={"Content-Type": content_type})

    async def healthz(self, _: web.Request) -> web.Response:
        """Answer that the process is alive."""
        return _json({"status": "ok"})

    async def readyz(self, _: web.Request) -> web.Response:
        """Answer that pages can be served, and whether the past can be read; they open without it."""
        newest = await self._readings.newest()
        return _json({"status": "ok", "history": newest.problem or "ok", "pages_open": self._live.n_subscribers})

    async def _models(self, request: web.Request) -> tuple[Reading[ModelSummary], Reading[Alert]]:
        newest = await self._readings.newest(read_range(request.query).run_id)
        alerts = await self._readings.alerts()
        return Reading(summarise(newest.items, alerts.items, self._baselines), newest.problem), alerts

    async def _model(self, model: str, within: Range) -> tuple[ModelView | None, ModelSummary, str | None]:
        newest = await self._readings.newest(within.run_id)
        ours = [result for result in newest.items if result.model == model]
        sliced = [result for result in ours if result.slice == within.slice]
        alerts = await self._readings.alerts(model)
        active = [alert for alert in alerts.items if alert.state != "resolved"]
        baseline = self._baselines.get(model)
        if not sliced:
            if not (ours or baseline or alerts.items):
                raise _missing(f"No model named “{model}” has sent an event that was judged.", newest.problem)
            summary = summary_of(ours, active, baseline) if ours else waiting(model, baseline, active)
            return None, summary, newest.problem
        windows = {}
        for scale in sorted({result.scale for result in sliced}):
            read = await self._readings.windows(model, msgspec.structs.replace(within, scale=scale))
            windows[scale] = read.items
        slices = sorted({result.slice for result in ours})
        view = model_view(sliced, windows, alerts.items, slices, baseline)
        return view, view.summary, newest.problem

    async def _feature(self, request: web.Request) -> tuple[FeatureView, str | None]:
        model, feature = _name(request, "model"), _name(request, "feature")
        within, at_ms = read_range(request.query), time_ms(request.query, "at")
        newest = await self._readings.newest(within.run_id)
        sliced = [result for result in newest.items if result.model == model and result.slice == within.slice]
        windows = await self._readings.windows(model, within, feature)
        found = feature_view(model, feature, sliced, windows.items, self._baselines.get(model), at_ms)
        if found is None:
            raise _missing(f"“{model}” has no feature named “{feature}” in these windows.", windows.problem)
        return found, windows.problem

    def _page(self, name: str, last_id: str, **values: object) -> web.Response:
        return web.Response(text=render(name, last_id=last_id, **values), content_type="text/html", charset="utf-8")


class Missing(Exception):
    """What was asked for is not known; shown as a page or as JSON with status 404."""


def refusal(request: web.Request, status: int, title: str, text: str) -> web.Response:
    """Say no, as JSON under `/api` and as a page elsewhere."""
    if request.path.startswith("/api/") or request.path in ("/metrics", "/healthz", "/readyz"):
        response = _json({"error": text or title}, status)
    else:
        page = "login.html" if status == 401 else "error.html"
        values: dict[str, Any] = {"status": status, "title": title, "text": text, "target": request.path_qs}
        response = web.Response(
            text=render(page, last_id="", problem=None, **values),
            status=status,
            content_type="text/html",
            charset="utf-8",
        )
    if status == 401:
        response.headers["WWW-Authenticate"] = 'Bearer realm="driftgauge"'
    return response


def _missing(text: str, problem: str | None) -> Missing:
    if problem:
        text = f"{text} {problem[:1].upper()}{problem[1:]}, so only what was heard since the start is known."
    return Missing(text)


def _name(request: web.Request, part: str) -> str:
    return words.decode_name(request.match_info[part])


def _json(value: object, status: int = 200) -> web.Response:
    return web.Response(body=_encode(value), status=status, content_type="application/json")
