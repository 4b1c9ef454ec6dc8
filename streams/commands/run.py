"""`driftgauge run`: one role, or all of them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from streams import roles
from streams.commands.printing import console
from streams.embedded.services import Embedded
from streams.roles.stores import store_of
from streams.settings import Settings, load
from streams.supervisor import Supervisor


def run(
    role: Annotated[str, typer.Argument(help=f"{', '.join(roles.ROLES)} or all")],
    embedded: Annotated[bool, typer.Option(help="With all: bring the broker and the store along.")] = False,
    data: Annotated[Path, typer.Option(help="With --embedded: folder of the store.")] = Path(".driftgauge"),
) -> None:
    """Run a role until SIGTERM. `all` starts one process a role and starts again what ends.

    Examples: `driftgauge run detect` · `driftgauge run all --embedded`
    """
    settings = load()
    if role == "all":
        _all(settings, embedded, data)
    elif role in roles.ROLES:
        roles.run(role, settings)
    else:
        raise typer.BadParameter(f"there is no role {role!r}; choose {', '.join(roles.ROLES)} or all")


def chosen(settings: Settings) -> list[str]:
    """Return the roles `all` runs: `forward` only where spans have somewhere to go."""
    return [role for role in roles.ROLES if role != "forward" or settings.otlp_endpoint]


def _all(settings: Settings, embedded: bool, data: Path) -> None:
    if not embedded:
        store_of(settings)  # say what is missing before anything starts
        Supervisor(chosen(settings), {}).run()
        return
    with Embedded(settings, data) as services:
        console.print(f"broker [bold]{services.environment['DRIFTGAUGE_BOOTSTRAP_SERVERS']}[/]")
        console.print(f"panel  [bold]{settings.panel_address}[/]")
        Supervisor(chosen(settings), services.environment).run()
