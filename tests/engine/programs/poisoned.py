"""Runs `detect` with a profile stage that cannot bear one value: ``python -m tests.engine.programs.poisoned detect``.

Stands for a defect of ours that one record brings out.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from schemas.records import Record
from streams import roles
from streams.agents.profile import ProfileStage
from streams.engine.outbox import Output
from streams.settings import load
from tests.engine.programs.crashing import Bomb, arm

MARKER = b"unbearable"


def poison() -> None:
    """Let the stage raise on a record with the marker, after it has changed its state."""
    update = ProfileStage.update

    def update_or_raise(self: ProfileStage, records: Sequence[Record]) -> list[Output]:
        outputs = update(self, records)
        if any(MARKER in (record.value or b"") for record in records):
            raise ZeroDivisionError("a defect that one record brings out")
        return outputs

    ProfileStage.update = update_or_raise  # type: ignore[method-assign]  # that is what this program is for


def main(role: str, point: str = "never", n: str = "1") -> None:
    """Run a role, poisoned and with a bomb in it."""
    poison()
    arm(Bomb(point, int(n)))
    roles.run(role, load())


if __name__ == "__main__":
    main(*sys.argv[1:])
