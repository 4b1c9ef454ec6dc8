"""`driftgauge acls`: the rights a role needs on Kafka, as commands."""

from __future__ import annotations

from typing import Annotated

import typer

from streams import permissions
from streams.settings import load


def acls(
    role: Annotated[str, typer.Argument(help=", ".join(permissions.TOPICS))],
    principal: Annotated[str, typer.Option(help="Who is to be allowed, as User:drift.")],
) -> None:
    """Print the kafka-acls commands that allow a role, or `commands` and `client`, exactly what it needs.

    Example: `driftgauge acls detect --principal User:drift`
    """
    if role not in permissions.TOPICS:
        raise typer.BadParameter(f"there is no role {role!r}; choose {', '.join(permissions.TOPICS)}")
    settings = load()
    for command in permissions.commands(role, principal, settings.group, settings.bootstrap_servers):
        typer.echo(command)
