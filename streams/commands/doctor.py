"""`driftgauge doctor`: reaches every configured system and says what is wrong."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator, Mapping
from typing import Annotated

import aiohttp
import typer
from aiokafka.errors import KafkaError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from yarl import URL

from schemas.spans import PROTOBUF
from schemas.topics import ALL
from streams import permissions, roles
from streams.commands.printing import Json, show
from streams.engine import preflight
from streams.engine.control import read_monitors
from streams.engine.mapped import absent, mapped, short
from streams.panel.access import UnsafeBind, check_bind
from streams.probe import answers
from streams.roles.stores import store_of
from streams.settings import Settings, load, variable
from streams.sinks.errors import SinkError, SinkUnavailable

Line = tuple[str, str, str]
Roles = Annotated[list[str] | None, typer.Option("--role", help="Whose permissions to check; all by default.")]


def doctor(
    as_json: Json = False,
    role: Roles = None,
    timeout_s: Annotated[float, typer.Option("--timeout", help="Seconds to wait for each system.")] = 5.0,
) -> None:
    """Check Kafka with the permissions of each role, ClickHouse, Slack, OTLP endpoints and ports.

    Exit code 3 when a system cannot be reached, 2 when something else is wrong.

    Example: `driftgauge doctor --role detect --json`
    """
    if unknown := set(role or ()) - set(roles.ROLES):
        raise typer.BadParameter(f"there is no role {min(unknown)!r}; choose {', '.join(roles.ROLES)}")
    settings = load()
    lines = [
        *_kafka(settings, role or list(roles.ROLES)),
        _clickhouse(settings, timeout_s),
        _slack(settings, timeout_s),
        _otlp(settings, "OTLP", "otlp", "only needed to forward spans", timeout_s),
        _otlp(settings, "traces", "traces", "only needed to trace our own work", timeout_s),
        _panel(settings, timeout_s),
    ]
    show("driftgauge doctor", ("system", "state", "what to do"), lines, as_json)
    if any(state == "unreachable" for _, state, _ in lines):
        raise typer.Exit(3)
    if any(state == "wrong" for _, state, _ in lines):
        raise typer.Exit(2)


def _kafka(settings: Settings, names: list[str]) -> Iterator[Line]:
    try:
        found = preflight.existing(settings)
    except preflight.PreflightError as error:
        state = "unreachable" if isinstance(error, preflight.UnreachableError) else "wrong"
        yield "Kafka", state, str(error)
        yield "topics", "unknown", "Kafka has to answer first"
        return
    way: str = settings.security_protocol
    way += f", {settings.sasl_mechanism}" if way.startswith("SASL") else ""
    yield "Kafka", "ok", f"{settings.bootstrap_servers} ({way}), {len(found)} topics"
    try:
        preflight.check(settings, ALL)
        yield "topics", "ok", f"all {len(ALL)} there"
    except preflight.PreflightError as error:
        yield "topics", "wrong", str(error)
    yield _sources(settings, found)
    for name in names:
        try:
            preflight.check_role(name, settings)
            yield f"rights of {name}", "ok", permissions.group_of(name, settings.group) or "reads without a group"
        except preflight.PreflightError as error:
            yield f"rights of {name}", "wrong", str(error)


def _sources(settings: Settings, found: Mapping[str, int]) -> Line:
    """Tell of the topics that monitors map."""
    try:
        monitors = asyncio.run(read_monitors(settings))
    except (KafkaError, TimeoutError) as error:  # the line on topics or rights says why
        return "mapped topics", "unknown", f"the monitors cannot be read: {type(error).__name__}"
    wanted = mapped(monitors, found)
    wrong = [f"{topic} does not exist, {', '.join(models)} waits" for topic, models in absent(monitors, found).items()]
    wrong += [f"{name}: {why}; run `driftgauge topics create`" for name, why in short(wanted, found).items()]
    if wrong:
        return "mapped topics", "wrong", "; ".join(wrong)
    return "mapped topics", "ok" if wanted else "not set", ", ".join(wanted) or "no monitor has `sources`"


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


def _slack(settings: Settings, timeout_s: float) -> Line:
    """Reach the host of the webhook: its path is the secret, and posting there would be a message."""
    if settings.slack_webhook_url is None:
        return "Slack", "not set", "DRIFTGAUGE_SLACK_WEBHOOK_URL; without it alerts are only logged and shown"
    try:
        url = URL(settings.slack_webhook_url.get_secret_value())
        with socket.create_connection((url.host or "", url.port or 443), timeout_s):
            return "Slack", "ok", f"{url.host} answers; `driftgauge alerts test` sends a message"
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or type(error).__name__
        return "Slack", "unreachable", f"its host: {why}; check DRIFTGAUGE_SLACK_WEBHOOK_URL"


def _otlp(settings: Settings, system: str, prefix: str, purpose: str, timeout_s: float) -> Line:
    """Send a request without spans, which every OTLP endpoint takes."""
    names = variable(f"{prefix}_endpoint"), variable(f"{prefix}_headers")
    endpoint = getattr(settings, f"{prefix}_endpoint")
    if not endpoint:
        return system, "not set", f"{names[0]}; {purpose}"
    secrets = getattr(settings, f"{prefix}_headers")
    headers = {name: secret.get_secret_value() for name, secret in secrets.items()} | {"Content-Type": PROTOBUF}

    async def reach() -> int:
        url = URL(endpoint)
        url = url if url.path.strip("/") else url / "v1/traces"
        timeout = aiohttp.ClientTimeout(total=timeout_s)
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.post(url, data=ExportTraceServiceRequest().SerializeToString(), headers=headers) as answer,
        ):
            return answer.status

    try:
        status = asyncio.run(reach())
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        return system, "unreachable", f"{endpoint}: {type(error).__name__}; check {names[0]}"
    if status in (401, 403):
        return system, "wrong", f"{endpoint} answers {status}; check {names[1]}"
    if status >= 300:
        return system, "wrong", f"{endpoint} answers {status} to an empty OTLP request; check {names[0]}"
    return system, "ok", endpoint


def _panel(settings: Settings, timeout_s: float) -> Line:
    token = settings.panel_token.get_secret_value() if settings.panel_token else None
    try:
        check_bind(settings.bind, token, settings.insecure)
    except UnsafeBind as error:
        return "panel", "wrong", str(error)
    if settings.panel_port == 0 or _free(settings.bind, settings.panel_port):
        return "panel", "ok", settings.panel_address
    address = f"http://{settings.bind}:{settings.panel_port}/healthz"
    if answers(address, timeout_s):
        return "panel", "ok", f"{settings.panel_address}, a panel runs there"
    return "panel", "wrong", "another program has the port: choose another DRIFTGAUGE_PANEL_PORT or DRIFTGAUGE_BIND"


def _free(host: str, port: int) -> bool:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            return True
        except OSError:
            return False
