"""`driftgauge dead`: messages that could not be used, and why."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from schemas import topics
from schemas.dead import DeadLetter, read_dead
from schemas.records import Record
from streams.commands.printing import Json, console, show, utc
from streams.engine import preflight
from streams.engine.follow import newest_records
from streams.settings import Settings, load

app = typer.Typer(no_args_is_help=True, help="Dead letters: messages that could not be used.")

COLUMNS = ("time", "reason", "topic", "partition", "offset", "stage", "detail")


@app.command("list")
def list_(
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=10_000, help="How many of the newest.")] = 20,
    reason: Annotated[str | None, typer.Option(help="Only those with this reason.")] = None,
    as_json: Json = False,
) -> None:
    """List the newest dead letters: where each message stands, and why it could not be used.

    Example: `driftgauge dead list --limit 50 --reason wrong_type`
    """
    letters = asyncio.run(_newest(load(), limit, reason))
    rows = [
        (utc(record.timestamp), dead.reason, dead.topic, dead.partition, dead.offset, dead.stage, dead.detail)
        for record, dead in letters
    ]
    show("Dead letters", COLUMNS, rows, as_json)
    if not rows and not as_json:
        console.print("There are none." if reason is None else f"None has the reason {reason}.", markup=False)


async def _newest(settings: Settings, limit: int, reason: str | None) -> list[tuple[Record, DeadLetter]]:
    preflight.check(settings, (topics.DEAD,))

    def wanted(record: Record) -> bool:
        try:
            return reason is None or read_dead(record).reason == reason
        except ValueError:
            return False

    letters = []
    for record in await newest_records(settings, topics.DEAD.name, limit, wanted):
        try:
            letters.append((record, read_dead(record)))
        except ValueError as error:  # something else wrote to the topic
            letters.append((record, _foreign(record, str(error))))
    return letters


def _foreign(record: Record, why: str) -> DeadLetter:
    return DeadLetter(record.topic, record.partition, record.offset, "", "foreign", why, "", False, None, None, [], 0)
