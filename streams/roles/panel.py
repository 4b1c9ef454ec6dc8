"""`panel`: the live page, and the same as JSON."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import msgspec
from aiohttp import web

from schemas import alerts, results, topics
from schemas.records import Record
from streams.catalogue import Catalogue
from streams.engine import preflight
from streams.engine.app import leave
from streams.engine.follow import Follower
from streams.panel.live import Hub
from streams.panel.server import check_bind, create_app
from streams.roles.parts import process_registry
from streams.roles.stores import store_of
from streams.settings import Settings
from streams.sinks.history import History

log = logging.getLogger(__name__)


class _NewestBaselines(dict[str, Any]):
    """Model → the baseline in use, read from the catalogue as it stands."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue

    def __missing__(self, model: str) -> Any:
        baseline = self._catalogue.newest(model)
        if baseline is None:
            raise KeyError(model)
        return baseline

    def get(self, model: str, default: Any = None) -> Any:
        """Return the model's baseline, or the default."""
        return self._catalogue.newest(model) or default

    def __contains__(self, model: object) -> bool:
        return isinstance(model, str) and self._catalogue.newest(model) is not None

    def __iter__(self) -> Any:
        return iter([model for model in self._catalogue.models() if self._catalogue.newest(model)])

    def __len__(self) -> int:
        return sum(1 for _ in self)


async def serve(settings: Settings, stop: asyncio.Event) -> None:
    """Serve the panel until told to stop."""
    token = settings.panel_token.get_secret_value() if settings.panel_token else None
    check_bind(settings.bind, token, settings.insecure)
    preflight.check_role("panel", settings)
    hub, catalogue = Hub(), Catalogue()
    failed: list[str] = []

    def end(reason: str) -> None:
        failed.append(reason)
        stop.set()

    def heard(record: Record) -> None:
        if record.value is None:
            return
        try:
            hub.publish(
                results.decode(record.value) if record.topic == topics.RESULTS.name else alerts.decode(record.value)
            )
        except msgspec.DecodeError as error:
            log.error("%s/%s@%s is not shown: %s", record.topic, record.partition, record.offset, error)

    control = Follower(settings, [topics.BASELINES.name, topics.MONITORS.name], catalogue.update, on_failure=end)
    live = Follower(settings, [topics.RESULTS.name, topics.ALERTS.name], heard, on_failure=end)
    clickhouse = store_of(settings)
    registry = process_registry()
    app = create_app(
        history=History(clickhouse),
        live=hub,
        baselines=_NewestBaselines(catalogue),
        token=token,
        insecure=settings.insecure,
        registry=registry,
    )
    await control.start()
    await live.start()
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, settings.bind, settings.panel_port).start()
    log.info("panel at %s", settings.panel_address)
    try:
        await stop.wait()
    finally:
        await runner.cleanup()
        await live.stop()
        await control.stop()
        await clickhouse.close()
    if failed:
        leave(failed[0])
