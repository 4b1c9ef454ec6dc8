"""`driftgauge topics`: make them, compare them with the plan."""

from __future__ import annotations

import asyncio

import typer

from schemas.topics import profile_of, snapshots
from streams.commands.printing import Json, show
from streams.engine import preflight
from streams.engine.control import read_monitors
from streams.engine.mapped import absent, mapped, prepare, short
from streams.settings import load

app = typer.Typer(no_args_is_help=True, help="The Kafka topics.")


@app.command()
def create(as_json: Json = False) -> None:
    """Make the topics that are missing, with partitions and replicas from the settings.

    Topics that monitors map are not ours to make; only what keeps the state of reading them is.

    Example: `DRIFTGAUGE_PARTITIONS=16 driftgauge topics create`
    """
    settings = load()
    done = preflight.create(settings)
    found = preflight.existing(settings)
    wanted = mapped(asyncio.run(read_monitors(settings)), found)
    missing = short(wanted, found)
    refused = prepare(settings, wanted, found)
    done |= {snapshots(profile_of(topic)).name: "there already" for topic in wanted}
    done |= dict.fromkeys(missing, "created") | {
        snapshots(profile_of(topic)).name: why for topic, why in refused.items()
    }
    show("Topics", ("topic", "result"), list(done.items()), as_json)
    if refused:
        raise typer.Exit(2)


@app.command()
def check(as_json: Json = False) -> None:
    """Compare the topics with the plan (partitions, cleanup policy); exit code 2 when something is missing or differs.

    Example: `driftgauge topics check`
    """
    settings = load()
    found, plan = preflight.existing(settings), preflight.planned(settings)
    wrong = preflight.differences(settings, found)
    rows = [(name, n_planned, found.get(name, 0), wrong[name] or "ok") for name, n_planned in plan.items()]
    monitors = asyncio.run(read_monitors(settings))
    wanted = mapped(monitors, found)
    unready = short(wanted, found)
    for topic, n_partitions in wanted.items():
        name = snapshots(profile_of(topic)).name
        rows.append((topic, n_partitions, n_partitions, "mapped"))
        rows.append((name, n_partitions, found.get(name, 0), unready.get(name, "ok")))
    waiting = absent(monitors, found)
    rows += [(topic, 0, 0, f"missing: mapped by {', '.join(models)}") for topic, models in waiting.items()]
    show("Topics", ("topic", "planned", "partitions", "state"), rows, as_json)
    if any(wrong.values()) or unready or waiting:
        raise typer.Exit(2)
