"""`driftgauge topics`: make them, compare them with the plan."""

from __future__ import annotations

import typer

from streams.commands.printing import Json, show
from streams.engine import preflight
from streams.settings import load

app = typer.Typer(no_args_is_help=True, help="The Kafka topics.")


@app.command()
def create(as_json: Json = False) -> None:
    """Make the topics that are missing, with partitions and replicas from the settings.

    Example: `DRIFTGAUGE_PARTITIONS=16 driftgauge topics create`
    """
    done = preflight.create(load())
    show("Topics", ("topic", "result"), list(done.items()), as_json)


@app.command()
def check(as_json: Json = False) -> None:
    """Compare the topics with the plan (partitions, cleanup policy); exit code 2 when something is missing or differs.

    Example: `driftgauge topics check`
    """
    settings = load()
    found, plan = preflight.existing(settings), preflight.planned(settings)
    wrong = preflight.differences(settings, found)
    rows = [(name, n_planned, found.get(name, 0), wrong[name] or "ok") for name, n_planned in plan.items()]
    show("Topics", ("topic", "planned", "partitions", "state"), rows, as_json)
    if any(wrong.values()):
        raise typer.Exit(2)
