"""`driftgauge monitor`: what to watch for a model, from YAML."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import msgspec
import typer
import yaml

from schemas import monitors
from schemas.baselines import Baseline, FeatureBaseline
from schemas.evidence import Apply
from schemas.monitors import FeatureMonitor, Monitor
from schemas.sources import Source
from streams.catalogue import Catalogue
from streams.commands.printing import Json, console, show, utc
from streams.engine import preflight
from streams.engine.control import command, read_catalogue
from streams.engine.mapped import absent, mapped, prepare
from streams.settings import Settings, SettingsError, load

app = typer.Typer(no_args_is_help=True, help="Monitors: what to watch for a model.")

OWN = ("monitor_version", "effective_from")  # set when it is applied
NOT_YET = ("versions", "baseline", "routes")  # nothing reads them so far


def read_monitor(path: Path) -> Monitor:
    """Read a monitor file.

    Raises
    ------
    SettingsError
        Naming the line, the field and what is allowed.
    """
    try:
        text = path.read_text(encoding="utf-8")
        plain = yaml.safe_load(text)
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror}") from None
    except RecursionError:
        raise SettingsError(f"{path}: nested too deeply to be a monitor") from None
    except (yaml.YAMLError, ValueError) as error:  # a ValueError: no UTF-8, or a date that does not exist
        raise SettingsError(f"{path}: {error}") from None
    try:
        monitor = msgspec.convert(plain, Monitor)
    except msgspec.ValidationError as error:
        field = _field(plain, str(error))
        line = _line(text, field)
        message = str(error)
        if "[...]" in message:
            message = message.replace(message.rpartition(" - at `")[2].rstrip("`"), _path(field))
        raise SettingsError(f"{path}{f':{line}' if line else ''}: {message}{_allowed(field, message)}") from None
    given = set(OWN) & set(plain)
    if given:
        raise SettingsError(f"{path}: {', '.join(sorted(given))} is set when the monitor is applied; leave it out")
    return monitor


def _field(plain: Any, message: str) -> list[str]:
    """Return the names that lead to the field an error tells of; in a dict the first that does not fit is meant."""
    path = message.rpartition(" - at `$")[2].rstrip("`") if " - at `$" in message else ""
    names = [name for name in path.replace("[...]", ".*").replace("[", ".").replace("]", "").split(".") if name]
    node = plain
    for place, name in enumerate(names):
        if name == "*":
            kind = _kind(names[:place])
            names[place] = next((str(key) for key, one in node.items() if not _fits(one, kind)), name)
        found = {str(key): value for key, value in (node.items() if isinstance(node, dict) else enumerate(node or ()))}
        node = found.get(names[place])
    if message.startswith("`"):  # a source says itself which of its fields it means
        return [*names, *message.partition("`")[2].partition("`")[0].split(".")]
    unknown = message.partition("unknown field `")[2].partition("`")[0]
    return [*names, unknown] if unknown else names


def _path(field: list[str]) -> str:
    return "$" + "".join(f"[{name}]" if name.isdecimal() else f".{name}" for name in field)


def _fits(plain: Any, kind: Any) -> bool:
    try:
        msgspec.convert(plain, kind)
    except msgspec.ValidationError:
        return False
    return True


def _kind(field: list[str]) -> Any:
    """Return the type a monitor has at a field; of a list or dict that of its values."""
    kind: Any = Monitor
    names = iter(field)
    for name in names:
        hint = get_type_hints(kind).get(name) if isinstance(kind, type) and issubclass(kind, msgspec.Struct) else None
        kind = next((get_args(one)[-1] for one in (hint, *get_args(hint)) if get_origin(one) in (list, dict)), hint)
        if kind is not hint:
            next(names, None)  # the place in the list or dict
    return kind


def _line(text: str, field: list[str]) -> int | None:
    """Return the line of a field, or of the nearest one around it; None when it is the file as a whole."""
    node: Any = yaml.compose(text)
    line: int | None = None
    for name in field:
        if isinstance(node, yaml.SequenceNode):
            node = node.value[int(name)]
            line = node.start_mark.line + 1
            continue
        values = node.value if isinstance(node, yaml.MappingNode) else []
        match = next(((key, value) for key, value in values if key.value == name), None)
        if match is None:
            break
        line, node = match[0].start_mark.line + 1, match[1]
    return line


def _allowed(field: list[str], message: str) -> str:
    """Return the fields or values a person may choose from."""
    if not field:
        return ""
    if "unknown field" in message:
        names = [name for name in _kind(field[:-1]).__struct_fields__ if name not in OWN]
        return f". Fields: {', '.join(names)}"
    kind = _kind(field)
    return f". Allowed: {', '.join(get_args(kind))}" if get_origin(kind) is Literal else ""


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
    catalogue = asyncio.run(read_catalogue(settings))
    before = catalogue.monitor(monitor.model)
    changes = _changes(before, monitor)
    for line in without_effect(monitor):
        console.print(line, markup=False)
    if not changes:
        console.print(f"{monitor.model}: nothing changes.")
        return
    show(f"{monitor.model}", ("field", "now", "then"), changes, False)
    for line in needing_a_baseline(before, monitor, catalogue.newest(monitor.model)):
        console.print(line, markup=False, soft_wrap=True)
    for line in _mapping(settings, monitor, make=not dry_run):
        console.print(line, markup=False, soft_wrap=True)
    if dry_run:
        return
    old = before.monitor_version

    def took(catalogue: Catalogue) -> bool:
        return catalogue.monitor(monitor.model).monitor_version > old

    if asyncio.run(command(settings, Apply(monitor.model, monitors.encode(monitor)), took)):
        console.print(f"Applied: it holds from {monitor.model}'s next window on.")
    else:
        console.print("Queued: it holds as soon as a `driftgauge run detect` worker reads it.")


def _mapping(settings: Settings, monitor: Monitor, *, make: bool) -> list[str]:
    """Say which topics the sources read and which are missing; make what their state needs, where that is allowed."""
    if not monitor.sources:
        return []
    catalogue = Catalogue()
    catalogue.add_monitor(monitor)
    found = preflight.existing(settings)
    wanted = mapped(catalogue, found)
    told = [f"{topic} does not exist; it is read as soon as it does." for topic in absent(catalogue, found)]
    if wanted:
        told.append(f"Read from their beginning: {', '.join(wanted)}. Running workers start afresh for a new one.")
    refused = prepare(settings, wanted, found) if make else {}
    return told + [f"{why}." for why in refused.values()]


def plain_source(source: Source) -> dict[str, Any]:
    """Return a source as it is written in a file: without what is the default, but with its format."""
    plain: dict[str, Any] = {"topic": None, "pattern": None, "format": source.format, **msgspec.to_builtins(source)}
    fields = {name: value for name, value in plain.get("fields", {}).items() if value is not None}
    return {name: value for name, value in plain.items() if value is not None and name != "fields"} | (
        {"fields": fields} if fields else {}
    )


def _changes(before: Monitor, after: Monitor) -> list[tuple[str, str, str]]:
    return [
        (field, str(getattr(before, field)), str(getattr(after, field)))
        for field in Monitor.__struct_fields__
        if field not in OWN and getattr(before, field) != getattr(after, field)
    ]


def without_effect(monitor: Monitor) -> list[str]:
    """Say which fields are set that nothing reads yet."""
    default = Monitor(monitor.model)
    changed = [field for field in NOT_YET if getattr(monitor, field) != getattr(default, field)]
    return [f"{field}: {getattr(monitor, field)} has no effect in this version" for field in changed]


def needing_a_baseline(before: Monitor, after: Monitor, baseline: Baseline | None) -> list[str]:
    """Say which changes hold in full only with a new baseline, because the one in force was built without them."""
    if baseline is None:
        return []
    told = []
    for name, wanted in after.features.items():
        built, old = baseline.features.get(name), before.features.get(name, FeatureMonitor())
        if built is None:
            continue
        if wanted.sensitive and not old.sensitive and not built.sensitive:
            values = "levels" if built.kind == "categorical" else "values"
            told.append(
                f"{name}: its {values} are hidden from now on, but {baseline.baseline_id} was built without that and "
                f"holds them in clear; a new baseline is needed for judging {name} without them."
            )
        if wanted.type != old.type and not _built_as(wanted.type, built):
            told.append(
                f"{name}: {baseline.baseline_id} was built with {name} as {built.kind}, and so it is judged; "
                f"a new baseline is needed for judging it as type {wanted.type}."
            )
    if told:
        told.append(f"Make one with `driftgauge baseline create FILE --model {after.model}` once the monitor holds.")
    return told


def _built_as(kind: monitors.FeatureType, built: FeatureBaseline) -> bool:
    return not built.from_numbers if kind == "auto" else kind == built.kind


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
