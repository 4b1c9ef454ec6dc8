"""`driftgauge run`: one role, or all of them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from streams import logs, roles
from streams.commands.printing import console
from streams.embedded.services import Embedded
from streams.roles.stores import store_of
from streams.settings import Settings, load
from streams.supervisor import Supervisor, workers_of

MAX_WORKERS = 64


def run(
    role: Annotated[str, typer.Argument(help=f"{', '.join(roles.ROLES)} or all")],
    workers: Annotated[
        int, typer.Option(min=1, max=MAX_WORKERS, help="Processes of the role; with all: of detect.")
    ] = 1,
    embedded: Annotated[bool, typer.Option(help="With all: bring the broker and the store along.")] = False,
    data: Annotated[Path, typer.Option(help="With --embedded: folder of the store.")] = Path(".driftgauge"),
) -> None:
    """Run a role until SIGTERM. `all` starts one process a role and starts again what ends.

    With several workers, or `all`, SIGHUP restarts the processes one after the other while the others take over;
    the second worker of a role serves its /metrics ten ports above the first.

    Examples: `driftgauge run detect` · `driftgauge run detect --workers 4` · `driftgauge run all --embedded`
    """
    settings = load()
    if role not in (*roles.ROLES, "all"):
        raise typer.BadParameter(f"there is no role {role!r}; choose {', '.join(roles.ROLES)} or all")
    if role == "all":
        _all(settings, workers, embedded, data)
    elif workers > 1:
        _supervise(settings, [role], {role: workers}, {})
    else:
        roles.run(role, settings)


def chosen(settings: Settings) -> list[str]:
    """Return the roles `all` runs: `forward` only where spans have somewhere to go."""
    return [role for role in roles.ROLES if role != "forward" or settings.otlp_endpoint]


def _all(settings: Settings, workers: int, embedded: bool, data: Path) -> None:
    if not embedded:
        store_of(settings)  # say what is missing before anything starts
        _supervise(settings, chosen(settings), {"detect": workers}, {})
        return
    if workers > 1:
        raise typer.BadParameter("the embedded broker serves one worker of detect; use a Kafka of your own for more")
    with Embedded(settings, data) as services:
        console.print(f"broker [bold]{services.environment['DRIFTGAUGE_BOOTSTRAP_SERVERS']}[/]")
        console.print(f"panel  [bold]{settings.panel_address}[/]")
        _supervise(settings, chosen(settings), {}, services.environment)


def _supervise(settings: Settings, names: list[str], n_workers: dict[str, int], environment: dict[str, str]) -> None:
    logs.start(settings, "supervisor")
    Supervisor(workers_of(names, settings, n_workers), environment).run()
