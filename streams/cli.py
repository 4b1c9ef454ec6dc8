"""The command line: every command hangs here, and errors become words and exit codes."""

from __future__ import annotations

import sys

import typer

from detectors.errors import DetectorError
from streams.commands import acls, alerts, baselines, dead, demo, doctor, init, monitors, replay, run, topics
from streams.commands.printing import errors
from streams.embedded.broker import EmbeddedBrokerError
from streams.embedded.clickhouse import EmbeddedStoreError
from streams.engine.preflight import PreflightError, UnreachableError
from streams.panel.access import UnsafeBind
from streams.replay.files import FileError
from streams.settings import SettingsError
from streams.sinks.errors import SinkError, SinkUnavailable

USAGE, UNREACHABLE = 2, 3
WRONG = (
    SettingsError, PreflightError, FileError, DetectorError, SinkError, UnsafeBind, TimeoutError,
    EmbeddedBrokerError, EmbeddedStoreError,
)  # fmt: skip

app = typer.Typer(
    name="driftgauge",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Drift detection for models on Kafka. Start with `driftgauge demo`.",
)
app.command()(demo.demo)
app.command()(init.init)
app.command()(run.run)
app.command()(replay.replay)
app.command()(doctor.doctor)
app.command()(acls.acls)
app.add_typer(baselines.app, name="baseline")
app.add_typer(monitors.app, name="monitor")
app.add_typer(topics.app, name="topics")
app.add_typer(alerts.app, name="alerts")
app.add_typer(dead.app, name="dead")


def main() -> None:
    """Run a command; exit code 2 for a wrong setting or use, 3 for a system that does not answer."""
    try:
        app()
    except (UnreachableError, SinkUnavailable) as error:
        errors.print(f"[bold red]error:[/] {_plain(error)}")
        sys.exit(UNREACHABLE)
    except WRONG as error:
        errors.print(f"[bold red]error:[/] {_plain(error)}")
        sys.exit(USAGE)


def _plain(error: Exception) -> str:
    return str(error).replace("[", "\\[")


if __name__ == "__main__":
    main()
