"""`driftgauge monitor`: what to watch for a model, from YAML."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated, Any, get_args

import msgspec
import typer
import yaml

from schemas import monitors
from schemas.evidence import Apply
from schemas.monitors import Monitor
from streams.catalogue import Catalogue
from streams.commands.printing import Json, console, show, utc
from streams.engine.control import command, read_catalogue
from streams.settings import SettingsError, load

app = typer.Typer(no_args_is_help=True, help="Monitors: what to watch for a model.")


def read_monitor(path: Path) -> Monitor:
    """Read a monitor file.

    Raises
    ------
    SettingsError
        Naming the line, the field and what is allowed.
    """
    try:
        text = path.read_text()
        plain = yaml.safe_load(text)
        monitor = msgspec.convert(plain, Monitor)
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror}") from None
    except yaml.YAMLError as error:
        raise SettingsError(f"{path}: {error}") from None
    except msgspec.ValidationError as error:
        line = _line(text, str(error))
        raise SettingsError(f"{path}{f':{line}' if line else ''}: {error}{_allowed(str(error))}") from None
    given = {"monitor_version", "effective_from"} & set(plain)
    if given:
        raise SettingsError(f"{path}: {', '.join(sorted(given))} is set when the monitor is applied; leave it out")
    return monitor


def _line(text: str, message: str) -> int | None:
    """Find the line of the field an error names, as ``$.features.city``; None when it names none."""
    path = message.rpartition("`$")[2].rstrip("`") if "`$" in message else ""
    unknown = message.partition("unknown field `")[2].partition("`")[0]
    node: Any = yaml.compose(text)
    line: int | None = None
    for name in [part for part in path.replace("[...]", ".[...]").split(".") if part] + ([unknown] if unknown else []):
        if not isinstance(node, yaml.MappingNode):
            break
        match = [(key, value) for key, value in node.value if name in (key.value, "[...]")]
        if not match:
            break
        line, node = match[0][0].start_mark.line + 1, match[0][1]
    return line


def _allowed(message: str) -> str:
    if "unknown field" in message:
        return f". Fields: {', '.join(f for f in Monitor.__struct_fields__ if f not in ('monitor_version', 'effective_from'))}"
    for name, values in (
        ("window", monitors.Window),
        ("sensitivity", monitors.Sensitivity),
        ("type", monitors.FeatureType),
    ):
        if message.rstrip("`").endswith(f".{name}"):
            return f". Allowed: {', '.join(get_args(values))}"
    return ""


@app.command("apply")
def apply(
    file: Annotated[Path, typer.Argument(help="YAML file of one monitor.")],
    dry_run: Annotated[bool, typer.Option(help="Only show what would change.")] = False,
) -> None:
    """Apply a monitor: it holds from the model's next window on and touches no other model.

    Example: `driftgauge monitor apply credit-risk.yaml --dry-run`
    """
    monitor = read_monitor(file)
    settings = load()
    before = asyncio.run(read_catalogue(settings)).monitor(monitor.model)
    changes = _changes(before, monitor)
    if not changes:
        console.print(f"{monitor.model}: nothing changes.")
        return
    show(f"{monitor.model}", ("field", "now", "then"), changes, False)
    if dry_run:
        return
    old = before.monitor_version

    def took(catalogue: Catalogue) -> bool:
        return catalogue.monitor(monitor.model).monitor_version > old

    if asyncio.run(command(settings, Apply(monitor.model, monitors.encode(monitor)), took)):
        console.print(f"Applied: it holds from {monitor.model}'s next window on.")
    else:
        console.print("Queued: it holds as soon as a `driftgauge run detect` worker reads it.")


def _changes(before: Monitor, after: Monitor) -> list[tuple[str, str, str]]:
    own = ("monitor_version", "effective_from")
    return [
        (field, str(getattr(before, field)), str(getattr(after, field)))
        for field in Monitor.__struct_fields__
        if field not in own and getattr(before, field) != getattr(after, field)
    ]


@app.command("show")
def show_one(model: str) -> None:
    """Show a model's monitor as YAML.

    Example: `driftgauge monitor show credit-risk`
    """
    monitor = asyncio.run(read_catalogue(load())).monitor(model)
    typer.echo(yaml.safe_dump(msgspec.to_builtins(monitor), sort_keys=False), nl=False)


@app.command("list")
def list_(as_json: Json = False) -> None:
    """List the models and their monitors.

    Example: `driftgauge monitor list`
    """
    catalogue = asyncio.run(read_catalogue(load()))
    rows = []
    for model in catalogue.models():
        monitor = catalogue.monitor(model)
        since = utc(monitor.effective_from) if monitor.effective_from else "the beginning"
        rows.append((model, monitor.monitor_version, since, monitor.window, monitor.budget, monitor.owner or ""))
    show("Monitors", ("model", "version", "since", "window", "budget", "owner"), rows, as_json)
