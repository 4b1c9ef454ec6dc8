"""`driftgauge baseline`: from files, listed, shown, promoted."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Annotated

import typer

from detectors.reference import build_baseline
from schemas.baselines import Baseline
from schemas.evidence import Promote
from streams.catalogue import Catalogue, records_of
from streams.commands.printing import Json, console, show, utc
from streams.engine.control import command, publish, read_catalogue
from streams.replay.files import Roles, columns_of, complete, read_table
from streams.settings import Settings, SettingsError, load

app = typer.Typer(no_args_is_help=True, help="Baselines: what windows are compared with.")

Model = Annotated[str, typer.Option("--model", "-m", help="The model's name.")]
TimeColumn = Annotated[
    str | None, typer.Option("--time", help="Column with the event time; found by name or type if not given.")
]
PredictionColumn = Annotated[str | None, typer.Option("--prediction", help="Column with the prediction.")]
IdColumn = Annotated[str | None, typer.Option("--id", help="Column with the event's id.")]
Ignored = Annotated[
    list[str] | None, typer.Option("--ignore", help="Column that is no feature; may be given several times.")
]


@app.command()
def create(
    file: Annotated[Path, typer.Argument(help="Parquet or CSV file with the reference rows.")],
    model: Model,
    time_column: TimeColumn = None,
    prediction: PredictionColumn = None,
    id_column: IdColumn = None,
    ignore: Ignored = None,
    promote_now: Annotated[
        bool, typer.Option("--promote/--store-only", help="Judge against it from the next window on.")
    ] = True,
) -> None:
    """Build a baseline from a file and publish it.

    Example: `driftgauge baseline create reference.parquet --model credit-risk --prediction score --ignore target`
    """
    settings = load()
    asyncio.run(_create(settings, file, model, Roles(time_column, prediction, id_column, ignore or ()), promote_now))


async def _create(settings: Settings, file: Path, model: str, columns: Roles, promote_now: bool) -> None:
    table = read_table(file)
    columns = complete(table, columns)
    catalogue = await read_catalogue(settings)
    baseline = built(table, columns, model, catalogue, f"file {file.name}")
    first = not catalogue.eras(model)
    await publish(settings, records_of(baseline, 0 if first and promote_now else None))
    describe(baseline)
    if first and promote_now:
        console.print(f"{baseline.baseline_id} judges {model} from the beginning.")
    elif promote_now:
        await _promote(settings, baseline.baseline_id)


def built(table: object, columns: Roles, model: str, catalogue: Catalogue, source: str) -> Baseline:
    """Build the next baseline of a model from a table."""
    values, times = columns_of(table, columns)
    number = max((b.number for b in catalogue.baselines_of(model)), default=0) + 1
    return build_baseline(
        values,
        times,
        baseline_id=f"{model}@{number}",
        model=model,
        monitor=catalogue.monitor(model),
        source=source,
        created_ms=int(time.time() * 1000),
    )


def describe(baseline: Baseline) -> None:
    """Print what a baseline came to."""
    console.print(
        f"[bold]{baseline.baseline_id}[/]: {baseline.rows:,} rows from {utc(baseline.first_ms)} to "
        f"{utc(baseline.last_ms)}, {len(baseline.features)} series; window {baseline.window_reason}"
    )
    for name, why in baseline.skipped.items():
        console.print(f"  {name} is not judged: {why}", markup=False)


@app.command("list")
def list_(as_json: Json = False) -> None:
    """List the baselines.

    Example: `driftgauge baseline list`
    """
    catalogue = asyncio.run(read_catalogue(load()))
    rows = [
        (b.baseline_id, b.rows, utc(b.first_ms), utc(b.last_ms), b.source, _in_use(catalogue, b), b.provisional)
        for model in catalogue.models()
        for b in catalogue.baselines_of(model)
    ]
    show("Baselines", ("baseline", "rows", "from", "to", "source", "in use", "provisional"), rows, as_json)


def _in_use(catalogue: Catalogue, baseline: Baseline) -> str:
    eras = [era for era in catalogue.eras(baseline.model) if era.baseline.baseline_id == baseline.baseline_id]
    if not eras:
        return "stored"
    return "from the beginning" if eras[0].start_ms <= 0 else f"from {utc(eras[0].start_ms)}"


@app.command("show")
def show_one(baseline_id: str, as_json: Json = False) -> None:
    """Show the features of a baseline.

    Example: `driftgauge baseline show credit-risk@1`
    """
    baseline = _known(asyncio.run(read_catalogue(load())), baseline_id)
    if not as_json:
        describe(baseline)
    rows = [(name, f.kind, f.rows, f.missing.n, f.before, f.note) for name, f in baseline.features.items()]
    show(baseline_id, ("feature", "kind", "rows", "missing", "distribution", "note"), rows, as_json)


@app.command()
def promote(baseline_id: str) -> None:
    """Judge a model against a stored baseline from its next window on.

    Example: `driftgauge baseline promote credit-risk@2`
    """
    asyncio.run(_promote(load(), baseline_id))


async def _promote(settings: Settings, baseline_id: str) -> None:
    baseline = _known(await read_catalogue(settings), baseline_id)

    def took(catalogue: Catalogue) -> bool:
        return any(era.baseline.baseline_id == baseline_id for era in catalogue.eras(baseline.model))

    if await command(settings, Promote(baseline.model, baseline_id), took):
        console.print(f"{baseline_id} judges {baseline.model} from its next window on.")
    else:
        console.print(f"{baseline_id} is queued: it holds as soon as a `driftgauge run detect` worker reads it.")


def _known(catalogue: Catalogue, baseline_id: str) -> Baseline:
    baseline = catalogue.baseline(baseline_id)
    if baseline is None:
        known = ", ".join(b.baseline_id for m in catalogue.models() for b in catalogue.baselines_of(m)) or "none"
        raise SettingsError(f"there is no baseline {baseline_id}; there are: {known}")
    return baseline
