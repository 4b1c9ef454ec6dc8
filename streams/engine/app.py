"""A role's Faust app: agents, timers, watchdog, clean stop, and a web server for /metrics."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from signal import SIGTERM
from typing import Any

from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest

from streams.engine import private
from streams.engine.agent import StatefulAgent
from streams.engine.connection import credentials
from streams.engine.outbox import Outbox
from streams.engine.scheduler import BatchSchema, Coalesce
from streams.engine.sink import SinkAgent
from streams.engine.watchdog import FencingGuard, Watchdog
from streams.panel.access import admitted, check_bind
from streams.settings import Settings

log = logging.getLogger(__name__)

EXIT_CRASHED = 70

Agent = Any  # StatefulAgent or SinkAgent: take, flush, checkpoint, release, restore, lags, positions


def leave(reason: str) -> None:
    """End the process at once without committing; the supervisor starts it again."""
    log.critical("leaving: %s", reason)
    logging.shutdown()
    os._exit(EXIT_CRASHED)


class RoleApp(private.CrashOnlyApp):
    """A Faust app with the engine's agents on it."""

    role: str
    role_settings: Settings
    registry: CollectorRegistry
    outbox: Outbox | None
    agents_of_role: list[Agent]
    metrics_of_role: Any
    before_start: list[Callable[[], Awaitable[Any]]]
    after_stop: list[Callable[[], Awaitable[Any]]]
    ready: bool
    afresh: bool
    generation: int
    watchdog: Watchdog
    fencing: FencingGuard

    def start_afresh(self, why: str) -> None:
        """Stop in order, as at SIGTERM, and begin again: what the app consumes is fixed when it starts."""
        log.warning("starting afresh: %s", why)
        self.afresh = True
        os.kill(os.getpid(), SIGTERM)

    def leave(self, reason: str) -> None:
        """End the process at once without committing."""
        leave(reason)

    def leave_crashed(self, reason: BaseException) -> None:
        """Leave: the consumer, the web server or a task of Faust's has failed."""
        leave(f"{type(reason).__name__}: {reason}{_suspicion(self)}")

    async def on_start(self) -> None:
        """Start the outbox and the watchdog, which must run before the first assignment."""
        if self.outbox is not None:
            self.outbox.start()
        for prepare in self.before_start:
            await prepare()
        await super().on_start()
        self.add_future(self.watchdog.watch())
        self.add_future(self.watchdog.measure_stalls())
        self.add_future(self._repeat(self.role_settings.flush_s, "flush"))
        self.add_future(self._repeat(self.role_settings.checkpoint_s, "checkpoint"))

    async def on_stop(self) -> None:
        """Close what the role opened."""
        self.watchdog.stopping()
        await super().on_stop()
        for close in self.after_stop:
            await close()
        if self.outbox is not None:
            await self.outbox.close()

    async def _repeat(self, every_s: float, what: str) -> None:
        """Call one method of every agent again and again; a failure ends the process."""
        while not self.should_stop:
            await asyncio.sleep(every_s)
            for agent in self.agents_of_role:
                try:
                    await getattr(agent, what)()
                except Exception as error:
                    log.exception("%s of %s", what, agent.name)
                    leave(f"{what} of {agent.name}: {type(error).__name__}: {error}")


def build_app(role: str, settings: Settings, registry: CollectorRegistry, outbox: Outbox | None, port: int) -> RoleApp:
    """Return the app of a role, without agents.

    Raises
    ------
    UnsafeBind
        When /metrics would be open to others and nothing protects it.
    """
    token = settings.panel_token.get_secret_value() if settings.panel_token else None
    check_bind(settings.bind, token, settings.insecure)
    private.install_consumer()
    options: dict[str, Any] = {}
    if settings.group_instance_id is not None:
        options["consumer_group_instance_id"] = settings.group_instance_id
    if (auth := credentials(settings)) is not None:
        options["broker_credentials"] = auth
    app = RoleApp(
        f"{settings.group}-{role}",
        broker=[f"kafka://{server.strip()}" for server in settings.bootstrap_servers.split(",")],
        store="memory://",
        datadir=str(Path(tempfile.gettempdir()) / f"driftgauge-{role}"),  # Faust makes it, nothing is kept there
        topic_disable_leader=True,
        topic_allow_declare=False,
        ConsumerScheduler=Coalesce,
        stream_buffer_maxsize=16,
        stream_wait_empty=False,
        consumer_max_fetch_size=1 << 20,
        consumer_auto_offset_reset="earliest",
        consumer_metadata_max_age_ms=15_000,
        broker_session_timeout=settings.session_timeout_s,
        broker_heartbeat_interval=min(3.0, settings.session_timeout_s / 3),
        broker_max_poll_interval=1e9,
        producer_acks=-1,
        web_enabled=True,
        web_bind=settings.bind,
        web_port=port,
        web_tables_enabled=False,
        web_router_enabled=False,
        autodiscover=False,
        **options,
    )
    app.role, app.role_settings, app.registry, app.outbox = role, settings, registry, outbox
    app.agents_of_role, app.ready, app.afresh, app.generation = [], False, False, -1
    app.watchdog, app.fencing = Watchdog(app, time.monotonic()), FencingGuard(settings.group_instance_id)
    app.before_start, app.after_stop = [], []
    signals: list[tuple[Any, Any]] = [
        (app.on_rebalance_complete, _restore),
        (app.on_partitions_revoked, _release),
        (app.on_before_shutdown, _stop),
    ]
    for signal, handler in signals:
        signal.connect(handler, weak=False)
    _pages(app, token)
    gc.set_threshold(50_000, 20, 20)  # decoding makes many short-lived objects and no cycles
    return app


def attach(app: RoleApp, agents: Sequence[Agent]) -> None:
    """Let agents of the engine consume their topics through Faust."""
    for agent in agents:
        app.agents_of_role.append(agent)
        topic = app.topic(agent.topic, schema=BatchSchema(), acks=False)
        app.agent(topic, name=f"{app.role}-{agent.name}", concurrency=1)(_consume(agent))


def _consume(agent: Agent) -> Any:
    async def consume(stream: Any) -> None:
        async for records in stream:
            await agent.take(records)

    return consume


def _suspicion(app: RoleApp) -> str:
    """Name what else may be behind a failure of a static member."""
    name = app.role_settings.group_instance_id
    return f" (or another live worker has the same DRIFTGAUGE_GROUP_INSTANCE_ID, {name!r})" if name else ""


async def _restore(app: RoleApp, **_: Any) -> None:
    """Take over what was assigned: here heartbeats run, and Faust seeks to the commits afterwards."""
    private.shorten_fetch_wait(app)
    app.generation = private.generation(app)
    assigned = app.consumer.assignment()
    try:
        for agent in app.agents_of_role:
            await agent.restore(tp.partition for tp in assigned if tp.topic == agent.topic)
    except Exception as error:
        log.exception("restoring")
        leave(f"restoring failed: {type(error).__name__}: {error}{_suspicion(app)}")
    app.ready = True


async def _release(app: RoleApp, *_args: Any, **_options: Any) -> None:
    app.ready = False
    if app.generation >= 0 and private.generation(app) != app.generation:
        app.generation = -1
        if (why := app.fencing.fenced(time.monotonic())) is not None:
            leave(why)
    await asyncio.gather(*(agent.release() for agent in _sinks(app)))
    for agent in app.agents_of_role:
        if isinstance(agent, StatefulAgent):
            await agent.release()


async def _stop(app: RoleApp, **_: Any) -> None:
    await asyncio.gather(*(agent.finish() for agent in _sinks(app)))
    for agent in app.agents_of_role:
        if isinstance(agent, StatefulAgent):
            await agent.release()


def _sinks(app: RoleApp) -> list[SinkAgent]:
    return [agent for agent in app.agents_of_role if isinstance(agent, SinkAgent)]


def _pages(app: RoleApp, token: str | None) -> None:
    @app.page("/metrics")  # type: ignore[arg-type]  # Faust allows any aiohttp response
    async def metrics(_self: Any, request: Any) -> web.Response:
        if token is not None and not admitted(request, token):
            text = "send the panel's token: Authorization: Bearer …\n"
            return web.Response(status=401, text=text, headers={"WWW-Authenticate": "Bearer"})
        return web.Response(body=generate_latest(app.registry), content_type="text/plain", charset="utf-8")

    @app.page("/healthz")  # type: ignore[arg-type]  # Faust allows any aiohttp response
    async def healthz(_self: Any, _request: Any) -> web.Response:
        awake = app.watchdog.awake(time.monotonic())
        return web.Response(text="ok\n" if awake else "the watchdog is stuck\n", status=200 if awake else 503)

    @app.page("/readyz")  # type: ignore[arg-type]  # Faust allows any aiohttp response
    async def readyz(_self: Any, _request: Any) -> web.Response:
        text = "ready\n" if app.ready else "starting, restoring or handing over\n"
        return web.Response(text=text, status=200 if app.ready else 503)
