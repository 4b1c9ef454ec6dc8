"""`driftgauge replay`: the same judgement over a file or a range of the events topic."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import msgspec
import orjson
import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from detectors.windows import SIZES_MS
from schemas import results, topics
from schemas.alerts import Alert
from schemas.control import Effective
from schemas.monitors import Monitor
from schemas.results import Result
from streams.catalogue import Catalogue
from streams.commands.baselines import IdColumn, Ignored, PredictionColumn, TimeColumn, built
from streams.commands.monitors import read_monitor
from streams.commands.printing import Json, console, errors, show, utc
from streams.engine import preflight
from streams.engine.control import read_catalogue
from streams.engine.mapped import mapped
from streams.replay.files import FileError, Roles, complete, events_of, read_table
from streams.replay.run import Replay, last_revisions
from streams.replay.topic import records_between
from streams.settings import SettingsError, load


def replay(
    file: Annotated[
        Path | None,
        typer.Argument(help="Parquet or CSV file; without one events and mapped topics are read."),
    ] = None,
    model: Annotated[str, typer.Option("--model", "-m", help="The model's name.")] = "model",
    reference: Annotated[Path | None, typer.Option(help="File to build the baseline from; needs no broker.")] = None,
    baseline: Annotated[str | None, typer.Option(help="Baseline to use instead of the one in force.")] = None,
    monitor: Annotated[Path | None, typer.Option(help="Monitor file (YAML) to judge under.")] = None,
    window: Annotated[str | None, typer.Option(help=f"Other window: {', '.join(SIZES_MS)}.")] = None,
    budget: Annotated[float | None, typer.Option(help="Other budget of false alarms a week.")] = None,
    sensitivity: Annotated[str | None, typer.Option(help="default, high or strict.")] = None,
    from_: Annotated[datetime | None, typer.Option("--from", help="Topic: first Kafka timestamp, UTC.")] = None,
    to: Annotated[datetime | None, typer.Option("--to", help="Topic: timestamp to stop before, UTC.")] = None,
    time_column: TimeColumn = None,
    prediction: PredictionColumn = None,
    id_column: IdColumn = None,
    ignore: Ignored = None,
    only_drift: Annotated[bool, typer.Option(help="Print only windows that drift.")] = False,
    as_json: Json = False,
) -> None:
    """Judge recorded traffic again, with the same or other settings; live topics stay untouched.

    Examples: `driftgauge replay march.parquet --reference feb.parquet --prediction score` ·
    `driftgauge replay --model credit-risk --from 2026-03-01 --budget 0.1`
    """
    columns = Roles(time_column, prediction, id_column, ignore or ())
    if reference is not None:
        catalogue = Catalogue()
        if monitor is not None:
            catalogue.add_monitor(read_monitor(monitor))
        table = read_table(reference)
        made = built(table, complete(table, columns), model, catalogue, f"file {reference.name}")
        catalogue.add_baseline(made)
        catalogue.add_effective(Effective(model, made.baseline_id, 0))
    else:
        catalogue = asyncio.run(read_catalogue(load()))
        if monitor is not None:
            catalogue.add_monitor(read_monitor(monitor))
    catalogue = with_settings(catalogue, model, baseline, window, budget, sensitivity)
    run = Replay(catalogue, f"replay-{int(time.time())}")
    started = time.perf_counter()
    outcome = _file(run, file, model, columns) if file is not None else asyncio.run(_topic(run, model, from_, to))
    outcome += run.finish()
    _report(run, outcome, model, time.perf_counter() - started, only_drift, as_json)


def with_settings(
    catalogue: Catalogue,
    model: str,
    baseline_id: str | None,
    window: str | None,
    budget: float | None,
    sensitivity: str | None,
) -> Catalogue:
    """Return a catalogue of one model with these settings in place of its own, from the beginning."""
    baseline = catalogue.baseline(baseline_id) if baseline_id else catalogue.newest(model)
    if baseline is None:
        raise SettingsError(
            f"{baseline_id or model}: there is no such baseline. "
            "Give --reference FILE, or see `driftgauge baseline list`."
        )
    if window is not None:
        if window not in SIZES_MS:
            raise SettingsError(f"--window {window}: choose one of {', '.join(SIZES_MS)}")
        baseline = msgspec.structs.replace(baseline, window_ms=SIZES_MS[window], window_reason=f"{window}: as asked")
    changes: dict[str, Any] = {"model": model, "effective_from": 0}
    if budget is not None:
        changes["budget"] = budget
    if sensitivity is not None:
        changes["sensitivity"] = sensitivity
    monitor = msgspec.structs.replace(catalogue.monitor(model), **changes)
    try:
        monitor = msgspec.convert(msgspec.to_builtins(monitor), Monitor)
    except msgspec.ValidationError as error:
        raise SettingsError(str(error).replace("`$.", "--").replace("`", "")) from None
    changed = Catalogue()
    changed.add_monitor(monitor)
    for other in map(catalogue.monitor, catalogue.models()):  # whose sources may bring rows of this model
        if other.model != model and any(source.models == "all" for source in other.sources):
            changed.add_monitor(msgspec.structs.replace(other, effective_from=0))
    changed.add_baseline(msgspec.structs.replace(baseline, model=model))
    changed.add_effective(Effective(model, baseline.baseline_id, 0 if baseline_id else baseline.effective_from))
    return changed


def _file(run: Replay, file: Path, model: str, columns: Roles) -> list[Result | Alert]:
    table = read_table(file)
    outcome: list[Result | Alert] = []
    with _progress() as progress:
        task = progress.add_task(file.name, total=table.num_rows)
        for record in events_of(table, complete(table, columns), model):
            outcome += [*run.add([record]), *run.judge()]
            progress.update(task, completed=run.metrics.n_rows)
    if not table.num_rows:
        raise FileError(f"{file}: there are no rows")
    return outcome


async def _topic(run: Replay, model: str, from_: datetime | None, to: datetime | None) -> list[Result | Alert]:
    outcome: list[Result | Alert] = []
    with _progress() as progress:
        settings = load()
        names = [topics.EVENTS.name, *mapped(run.catalogue, preflight.existing(settings))]
        task = progress.add_task(", ".join(names), total=None)
        async for turn in records_between(settings, names, _ms(from_), _ms(to)):
            made = [item for records in turn for item in run.add(records)] + list(run.judge())
            outcome += [item for item in made if item.model == model]
            progress.update(task, completed=run.metrics.n_rows)
    return outcome


def _ms(moment: datetime | None) -> int | None:
    return None if moment is None else int(moment.replace(tzinfo=moment.tzinfo or UTC).timestamp() * 1000)


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("rows"), TimeRemainingColumn(),
        console=errors, transient=True,
    )  # fmt: skip


def _report(run: Replay, outcome: Iterable[Any], model: str, seconds: float, only_drift: bool, as_json: bool) -> None:
    outcome = list(outcome)
    judged = [result for result in last_revisions(outcome) if not only_drift or result.state == "drift"]
    if as_json:
        typer.echo(orjson.dumps([orjson.loads(results.encode(result)) for result in judged]).decode())
        return
    rows = [
        (utc(r.window_start), utc(r.window_end), r.scale, r.rows, r.late_rows, r.state, drifted_in_words(r))
        for r in judged
    ]
    show(f"{model}: verdicts", ("from", "to", "scale", "rows", "late", "verdict", "drifted (effect)"), rows, False)
    for alert in outcome:
        if isinstance(alert, Alert):
            features = ", ".join(feature.feature for feature in alert.features)
            console.print(f"{utc(alert.time)}  alert {alert.state} ({alert.why}): {features}", markup=False)
    n_rows = run.metrics.n_rows
    console.print(
        f"{n_rows:,} rows in {seconds:.1f} s ({n_rows / max(seconds, 1e-9):,.0f} rows/s), {run.metrics.n_late:,} late"
    )
    for reason, n in run.metrics.n_dead.items():
        console.print(f"[bold]{n:,} messages could not be used: {reason}[/]")


def drifted_in_words(result: Result) -> str:
    """Return the drifted features with their effects, the largest first."""
    found = [
        (f.tests[f.reason].effect if f.reason in f.tests else 0.0, f.feature)
        for f in result.features
        if f.verdict == "drift"
    ]
    return ", ".join(f"{name} ({effect:.2g})" for effect, name in sorted(found, reverse=True))
