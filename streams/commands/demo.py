"""`driftgauge demo`: the whole line on real data, with nothing else to install."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import shlex
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import orjson
import pyarrow as pa
import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from detectors.windows import window_start
from schemas.alerts import Alert
from schemas.baselines import Baseline
from schemas.results import Result
from streams import roles
from streams.catalogue import Catalogue, records_of
from streams.commands.baselines import built, describe
from streams.commands.printing import console, show, utc
from streams.embedded.services import Embedded
from streams.engine.control import publish
from streams.replay.files import Roles, complete, read_table
from streams.roles.stores import store_of
from streams.settings import Settings, SettingsError, load
from streams.sinks.errors import SinkError
from streams.sinks.history import History
from streams.sinks.wording import describe as alert_in_words
from streams.supervisor import Supervisor, Worker

MODEL = "car-loan"
DATA = Path(__file__).parent.parent / "demo"
COLUMNS = Roles(time="timestamp", prediction="y_pred_proba", ignored=("y_pred", "repaid"))
CHUNK_ROWS = 500
ROWS_PER_S = 2_000
READY_TIMEOUT_S = 45.0
JUDGED_TIMEOUT_S = 45.0
ROLES = tuple(role for role in roles.ROLES if role != "forward")


class DemoError(SettingsError):
    """The demo could not come to its end; the text says where to look."""


def demo(
    keep: Annotated[bool, typer.Option(help="Leave everything running at the end, until Ctrl-C.")] = False,
    port: Annotated[
        int, typer.Option(min=1, max=65_531, help="Port of the panel; the roles' figures take the next ones.")
    ] = roles.PORTS["panel"],
    data: Annotated[Path, typer.Option(help="Folder for the result, the logs and, while it runs, the store.")] = Path(
        ".demo"
    ),
) -> None:
    """Send a car-loan model's real traffic through everything and show what drifted.

    Starts an embedded broker and store and every role, makes a baseline from the reference half of
    the data, sends the monitored half through the client, and reports. Example: `driftgauge demo --keep`
    """
    logging.basicConfig(level="WARNING", format="%(levelname)s %(message)s")
    signal.signal(signal.SIGTERM, _interrupted)
    started = time.monotonic()
    settings = load(panel_port=port)
    ports = {role: port + roles.PORTS[role] - roles.PORTS["panel"] for role in ROLES}
    check_free(settings.bind, list(ports.values()))
    data.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f"run-{os.getpid()}-", dir=data))  # another demo may be running
    try:
        _run(settings, ports, data, folder, keep, started)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def check_free(host: str, ports: Sequence[int]) -> None:
    """Refuse to begin where something else listens already.

    Raises
    ------
    DemoError
        Naming the ports that are taken and the way out.
    """
    taken = []
    for port in ports:
        try:
            socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET).close()
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise DemoError(f"DRIFTGAUGE_BIND: port {port} of {host} cannot be used: {error.strerror}") from None
            taken.append(str(port))
    if taken:
        other = ports[0] + 100 if ports[0] < 65_400 else 8_700
        raise DemoError(
            f"on {host} something listens already on port {', '.join(taken)}, perhaps another demo or "
            f"`driftgauge run`. End it, or choose other ports, as with --port {other}."
        )


def _run(settings: Settings, ports: Mapping[str, int], data: Path, folder: Path, keep: bool, started: float) -> None:
    console.print("[bold]driftgauge demo[/]: a car-loan model, 25,000 reference rows, then 25,000 rows of traffic")
    console.print("starting the embedded broker and store …")
    with Embedded(settings, folder) as services:
        environment = {**services.environment, "DRIFTGAUGE_PANEL_PORT": str(ports["panel"])}
        os.environ.update(environment)
        settings = load()
        workers = [Worker(role, settings.bind, port) for role, port in ports.items()]
        supervisor = Supervisor(workers, services.environment, data / "logs")
        try:
            baseline = _baseline(settings)
            _start(supervisor, data)
            console.print(f"watch it live: [bold]{settings.panel_address}/models/{MODEL}[/]")
            n_rows = _send(settings, supervisor)
            results, alerts, n_stored = asyncio.run(_outcome(settings, supervisor, data))
            _report(baseline, results, alerts, n_rows, n_stored, time.monotonic() - started)
            (data / "result.json").write_bytes(_result(baseline, found(results), n_stored))
            console.print(f"the result stands in {data / 'result.json'}")
            if keep:
                _stay(settings, supervisor)
        except KeyboardInterrupt:
            console.print("stopping …")
        finally:
            supervisor.stop()


def _interrupted(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


def _baseline(settings: Settings) -> Baseline:
    table = read_table(DATA / "reference.parquet")
    baseline = built(table, complete(table, COLUMNS), MODEL, Catalogue(), "the demo's reference")
    asyncio.run(publish(settings, records_of(baseline, 0)))
    console.print("baseline ", end="")
    describe(baseline)
    return baseline


def _start(supervisor: Supervisor, data: Path) -> None:
    """Start the roles and wait until each is ready."""
    supervisor.start()
    deadline = time.monotonic() + READY_TIMEOUT_S
    with console.status("starting the roles …"):
        while waiting := supervisor.waiting():
            supervisor.watch()
            if time.monotonic() > deadline:
                raise DemoError(
                    f"{', '.join(waiting)} did not become ready in {READY_TIMEOUT_S:.0f} s; see {data / 'logs'}"
                )
            time.sleep(0.2)
    console.print(f"running: {', '.join(child.worker.name for child in supervisor.children)}")


def _send(settings: Settings, supervisor: Supervisor) -> int:
    """Send the monitored half in event-time order through the client, as a service would, only faster."""
    try:
        from driftgauge_client import Client  # a distribution of its own, needed here only
    except ImportError:
        raise SettingsError("the demo sends through the client: pip install ./client") from None
    table = read_table(DATA / "monitoring.parquet").sort_by("timestamp")
    table = table.append_column("id", pa.array([f"loan-{n}" for n in range(table.num_rows)]))
    features = [name for name in table.column_names if name not in {*COLUMNS.features_of, "id"}]
    with Client(settings.bootstrap_servers) as client, _progress() as progress:
        task = progress.add_task("sending traffic and feedback", total=table.num_rows)
        for start in range(0, table.num_rows, CHUNK_ROWS):
            part = table.slice(start, CHUNK_ROWS)
            client.log_many(
                MODEL,
                part.select(features),
                predictions=part.column("y_pred_proba"),
                ids=part.column("id"),
                times=part.column("timestamp"),
                version="1",
                wait=True,
            )
            client.feedback_many(
                MODEL,
                ids=part.column("id").to_pylist(),
                values=part.column("repaid").to_pylist(),
                times=part.column("timestamp").to_pylist(),
                wait=True,
            )
            progress.update(task, completed=start + part.num_rows)
            supervisor.watch()
            time.sleep(CHUNK_ROWS / ROWS_PER_S)
        if not client.flush(20.0):
            raise DemoError(f"not everything was delivered: {client.stats()}")
    return int(table.num_rows)


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("rows"), console=console
    )


async def _outcome(settings: Settings, supervisor: Supervisor, data: Path) -> tuple[list[Result], list[Alert], int]:
    """Wait until every complete window is judged and stored; return the results, the alerts and the rows stored."""
    times = read_table(DATA / "monitoring.parquet").column("timestamp").cast(pa.int64()).to_numpy()
    deadline = time.monotonic() + JUDGED_TIMEOUT_S
    async with store_of(settings) as store:
        history = History(store)
        with console.status("waiting for the last verdicts …"):
            while True:
                supervisor.watch()
                try:
                    results = await history.results(model=MODEL, limit=10_000)
                    base = [result for result in results if result.scale == 1]
                    n_stored = (await store.query("SELECT count() FROM predictions FINAL"))[0][0]
                except SinkError:
                    base, n_stored = [], 0
                if base:
                    size = base[0].window_end - base[0].window_start
                    complete_rows = int((times < window_start(int(times.max()), size)).sum())
                    if sum(result.rows for result in base) >= complete_rows and n_stored >= len(times):
                        return results, await history.alerts(model=MODEL), int(n_stored)
                if time.monotonic() > deadline:
                    raise DemoError(
                        f"the last windows were not judged in {JUDGED_TIMEOUT_S:.0f} s; see {data / 'logs'}"
                    )
                await asyncio.sleep(0.3)


def found(results: list[Result]) -> dict[str, Result]:
    """Return the first drifting window of each feature, the finest scale first."""
    first: dict[str, Result] = {}
    for result in sorted(results, key=lambda r: (r.window_end, r.scale)):
        for feature in result.features:
            if feature.verdict == "drift":
                first.setdefault(feature.feature, result)
    return first


def _report(
    baseline: Baseline, results: list[Result], alerts: list[Alert], n_rows: int, n_stored: int, seconds: float
) -> None:
    first = found(results)
    newest = {f.feature: f for r in sorted(results, key=lambda r: r.window_end) if r.scale == 1 for f in r.features}
    rows = []
    for feature in baseline.features:
        verdict: Any = newest.get(feature)
        since = utc(first[feature].window_start) if feature in first else "-"
        rows.append((feature, "drift" if feature in first else "ok", since, verdict.before, verdict.after))
    rows.sort(key=lambda row: row[1])
    show("What was found", ("feature", "verdict", "since", "reference", "now"), rows, False)
    n_windows = len([result for result in results if result.scale == 1])
    console.print(
        f"{n_rows:,} rows sent, {n_stored:,} predictions stored, {n_windows} windows judged, {seconds:.0f} s in all\n"
    )
    for alert in sorted(alerts, key=lambda a: a.sequence)[-1:]:
        console.print("[bold]The Slack message that would have gone out[/] (set DRIFTGAUGE_SLACK_WEBHOOK_URL):")
        for line in alert_in_words(alert, panel_url=load().panel_address, replay_command=replay_line()):
            console.print(f"  {line}", markup=False, highlight=False, soft_wrap=True)
    console.print("\n[bold]Replay it[/] with other settings:")
    console.print(f"  {replay_line()} --budget 0.1", markup=False, highlight=False, soft_wrap=True)
    console.print("[bold]Send your own events[/]: pip install ./client, then")
    console.print(
        "  from driftgauge_client import log\n"
        '  log("my-model", {"age": 41, "city": "Lyon"}, prediction=0.83, id="req-1")',
        markup=False,
    )


def _result(baseline: Baseline, first: Mapping[str, Result], n_rows: int) -> bytes:
    drifted = {feature: result.window_start for feature, result in sorted(first.items())}
    return orjson.dumps(
        {"drifted": drifted, "checked": list(baseline.features), "rows": n_rows}, option=orjson.OPT_INDENT_2
    )


def _stay(settings: Settings, supervisor: Supervisor) -> None:
    console.print(
        f"\neverything keeps running: [bold]{settings.panel_address}[/], broker {settings.bootstrap_servers}. "
        "Ctrl-C ends it."
    )
    while True:
        supervisor.watch()
        time.sleep(0.5)


def replay_line() -> str:
    """Return the command that judges the demo's traffic again, ready to be pasted into a shell."""
    program = sys.argv[0]
    command = [sys.executable, "-m", "streams.cli"] if program.endswith(".py") else [program]
    monitored, reference = DATA.resolve() / "monitoring.parquet", DATA.resolve() / "reference.parquet"
    return shlex.join(
        [
            *command, "replay", str(monitored), "--reference", str(reference), "--model", MODEL,
            "--time", "timestamp", "--prediction", "y_pred_proba", "--ignore", "y_pred", "--ignore", "repaid",
        ]
    )  # fmt: skip
