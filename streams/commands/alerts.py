"""`driftgauge alerts`: episodes of drift as the store knows them."""

from __future__ import annotations

import asyncio
from typing import Annotated, get_args

import typer

from schemas.alerts import Alert, State
from streams.commands.printing import Json, console, show, utc
from streams.roles.stores import store_of
from streams.settings import Settings, SettingsError, load
from streams.sinks.history import History

app = typer.Typer(no_args_is_help=True, help="Alerts: episodes of drift.")

COLUMNS = ("opened", "model", "state", "severity", "why", "features", "since", "episode")


@app.command("list")
def list_(
    model: Annotated[str | None, typer.Option("--model", "-m", help="Only this model's.")] = None,
    state: Annotated[str | None, typer.Option(help=f"Only those that are now {', '.join(get_args(State))}.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=10_000, help="How many of the newest.")] = 20,
    as_json: Json = False,
) -> None:
    """List the newest alerts, each in its newest state; reads the store.

    Example: `driftgauge alerts list --state open`
    """
    if state is not None and state not in get_args(State):
        raise SettingsError(f"--state {state}: choose one of {', '.join(get_args(State))}")
    rows = [_row(alert) for alert in asyncio.run(_alerts(load(), model, state, limit))]
    show("Alerts", COLUMNS, rows, as_json)
    if not rows and not as_json:
        console.print("There are none.")


async def _alerts(settings: Settings, model: str | None, state: str | None, limit: int) -> list[Alert]:
    async with store_of(settings) as store:
        return await History(store).alerts(model=model, state=state, limit=limit)


def _row(alert: Alert) -> tuple[str, ...]:
    since = min((feature.since for feature in alert.features), default=alert.opened)
    features = ", ".join(feature.feature for feature in alert.features)
    where = alert.model + (f" ({alert.slice})" if alert.slice else "")
    return utc(alert.opened), where, alert.state, alert.severity, alert.why, features, utc(since), alert.episode_id
