"""`driftgauge doctor`: reaches every configured system and says what is wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Annotated

import aiohttp
import typer

from schemas.topics import ALL
from streams.commands.printing import Json, show
from streams.engine import preflight
from streams.roles.stores import store_of
from streams.settings import Settings, load
from streams.sinks.errors import SinkError, SinkUnavailable

Line = tuple[str, str, str]


def doctor(
    as_json: Json = False,
    timeout_s: Annotated[float, typer.Option("--timeout", help="Seconds to wait for each system.")] = 5.0,
) -> None:
    """Check Kafka, topics, ClickHouse, Slack and the OTLP endpoint; exit code 3 when one cannot be reached.

    Example: `driftgauge doctor --json`
    """
    settings = load()
    checks: list[Callable[[Settings, float], Line]] = [_kafka, _topics, _clickhouse, _slack, _otlp, _panel]
    lines = [check(settings, timeout_s) for check in checks]
    show("driftgauge doctor", ("system", "state", "what to do"), lines, as_json)
    if any(state == "unreachable" for _, state, _ in lines):
        raise typer.Exit(3)
    if any(state == "wrong" for _, state, _ in lines):
        raise typer.Exit(2)


def _kafka(settings: Settings, _timeout_s: float) -> Line:
    try:
        found = preflight.existing(settings)
    except preflight.UnreachableError as error:
        return "Kafka", "unreachable", str(error)
    return "Kafka", "ok", f"{settings.bootstrap_servers}, {len(found)} topics"


def _topics(settings: Settings, _timeout_s: float) -> Line:
    try:
        preflight.check(settings, ALL)
    except preflight.UnreachableError:
        return "topics", "unknown", "Kafka has to answer first"
    except preflight.PreflightError as error:
        return "topics", "wrong", str(error)
    return "topics", "ok", f"all {len(ALL)} there"


def _clickhouse(settings: Settings, timeout_s: float) -> Line:
    if not settings.clickhouse_url:
        return "ClickHouse", "not set", "DRIFTGAUGE_CLICKHOUSE_URL; needed by store and panel, or `run all --embedded`"

    anywhere = settings.model_copy(update={"clickhouse_database": "default"})  # ours is made by the store's first start

    async def databases() -> set[str]:
        async with store_of(anywhere) as store:
            rows = await asyncio.wait_for(store.query("SELECT name FROM system.databases"), timeout_s)
            return {str(name) for (name,) in rows}

    url = settings.clickhouse_url
    try:
        found = asyncio.run(databases())
    except (SinkUnavailable, TimeoutError):
        return "ClickHouse", "unreachable", f"{url}: check DRIFTGAUGE_CLICKHOUSE_URL"
    except SinkError as error:
        return "ClickHouse", "wrong", f"{url}: {error}; check DRIFTGAUGE_CLICKHOUSE_USER and …_PASSWORD"
    if settings.clickhouse_database not in found:
        return "ClickHouse", "ok", f"{url}; `driftgauge run store` makes the database {settings.clickhouse_database}"
    return "ClickHouse", "ok", url


def _slack(settings: Settings, _timeout_s: float) -> Line:
    if settings.slack_webhook_url is None:
        return "Slack", "not set", "DRIFTGAUGE_SLACK_WEBHOOK_URL; without it alerts are only logged and shown"
    return "Slack", "set", "not tried: a check would post a message"


def _otlp(settings: Settings, timeout_s: float) -> Line:
    if not settings.otlp_endpoint:
        return "OTLP", "not set", "DRIFTGAUGE_OTLP_ENDPOINT; only needed to forward spans"
    endpoint = settings.otlp_endpoint

    async def reach() -> int:
        timeout = aiohttp.ClientTimeout(total=timeout_s)
        async with aiohttp.ClientSession(timeout=timeout) as session, session.get(endpoint) as answer:
            return answer.status

    try:
        return "OTLP", "ok", f"{endpoint} answers ({asyncio.run(reach())})"
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        return "OTLP", "unreachable", f"{endpoint}: {type(error).__name__}; check DRIFTGAUGE_OTLP_ENDPOINT"


def _panel(settings: Settings, _timeout_s: float) -> Line:
    loopback = settings.bind in ("127.0.0.1", "localhost", "::1")
    if not loopback and settings.panel_token is None and not settings.insecure:
        return (
            "panel",
            "wrong",
            "DRIFTGAUGE_BIND is not loopback: set DRIFTGAUGE_PANEL_TOKEN or DRIFTGAUGE_INSECURE=true",
        )
    return "panel", "ok", settings.panel_address
