"""The panel's application: pages, JSON, server-sent events, metrics, health."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from aiohttp import web
from aiohttp.typedefs import Handler
from prometheus_client import REGISTRY, CollectorRegistry

from schemas.baselines import Baseline
from streams.panel import access, assets
from streams.panel.access import UnsafeBind, check_bind
from streams.panel.history import History
from streams.panel.live import Hub
from streams.panel.query import BadQuery
from streams.panel.readings import Readings
from streams.panel.routes import Missing, Panel, refusal

__all__ = ["UnsafeBind", "check_bind", "create_app"]

log = logging.getLogger(__name__)

REFUSALS = {
    401: ("Sign in", "This panel asks for its token."),
    421: (
        "Unknown host name",
        "Without a token the panel answers only to localhost and 127.0.0.1. "
        "Set DRIFTGAUGE_PANEL_TOKEN to use another name.",
    ),
}


def create_app(
    *,
    history: History,
    live: Hub,
    baselines: Mapping[str, Baseline],
    token: str | None,
    insecure: bool,
    registry: CollectorRegistry = REGISTRY,
) -> web.Application:
    """Build the panel.

    Parameters
    ----------
    history
        The past; the pages open without it and say that it is missing.
    live
        Where the results and alerts heard are published.
    baselines
        The baseline in use, by model; it may change while the panel runs.
    token
        The secret that opens the panel; None leaves it open to this machine.
    insecure
        Whether to answer any host name without a token.
    registry
        What `/metrics` shows.
    """
    token = token or None
    app = web.Application(middlewares=[access.guard(token, insecure, _refuse), _errors], client_max_size=16_384)
    Panel(Readings(history, live), live, baselines, registry).add_routes(app)
    assets.add_routes(app)
    _add_login(app, token)
    app.on_response_prepare.append(access.add_headers)

    async def close_streams(_: web.Application) -> None:
        live.close()

    app.on_shutdown.append(close_streams)
    return app


def _refuse(request: web.Request, status: int) -> web.Response:
    return refusal(request, status, *REFUSALS[status])


def _add_login(app: web.Application, token: str | None) -> None:
    async def show(request: web.Request) -> web.Response:
        if token is None or access.admitted(request, token):
            raise web.HTTPSeeOther("/")
        return refusal(request, 401, *REFUSALS[401])

    async def submit(request: web.Request) -> web.Response:
        form = await request.post()
        if token is None:
            raise web.HTTPSeeOther("/")
        if not access.same(str(form.get("token", "")), token):
            return refusal(request, 401, "Sign in", "That is not the token.")
        return access.log_in(request, token, access.local_target(str(form.get("target", "/"))))

    app.router.add_get("/login", show)
    app.router.add_post("/login", submit)


@web.middleware
async def _errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except BadQuery as error:
        return refusal(request, 400, "That address cannot be read", f"{error}.")
    except Missing as error:
        return refusal(request, 404, "Not found", str(error))
    except web.HTTPException as error:
        if error.status < 400:
            raise
        said = "" if error.text in (None, f"{error.status}: {error.reason}") else str(error.text)
        refused = refusal(request, error.status, error.reason, said)
        kept = ("Allow", "Retry-After")
        refused.headers.update({name: error.headers[name] for name in kept if name in error.headers})
        return refused
    except Exception:
        log.exception("cannot answer %s", request.path)
        return refusal(request, 500, "Something went wrong", "The reason is in the panel's log.")
