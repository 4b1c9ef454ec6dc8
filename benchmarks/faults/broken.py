"""Roles of an engine with a defect: ``python -m benchmarks.faults.broken DEFECT ROLE``.

A benchmark that nothing can fail measures nothing: each defect must show in its figures.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Sequence
from typing import Any

from schemas import topics
from streams import roles
from streams.agents.profile import ProfileStage
from streams.engine.outbox import Outbox, Output
from streams.settings import load

SHARE = 0.1


def drops_outputs() -> None:
    """Let a tenth of the evidence get lost on its way out."""
    put, rng = Outbox.put, random.Random(1)

    def put_most(self: Outbox, outputs: Sequence[Output], *arguments: Any) -> None:
        kept = [output for output in outputs if output.topic != topics.EVIDENCE.name or rng.random() > SHARE]
        put(self, kept, *arguments)

    Outbox.put = put_most  # type: ignore[assignment, method-assign]  # that is what this program is for


def counts_again() -> None:
    """Count the first records after a restart twice, as if positions below the snapshot's were not skipped."""
    update, restore = ProfileStage.update, ProfileStage.restore
    fresh: set[int] = set()

    def restored(self: ProfileStage, segments: Any) -> None:
        restore(self, segments)
        fresh.add(id(self))

    def update_twice(self: ProfileStage, records: Any) -> list[Output]:
        outputs = update(self, records)
        if id(self) in fresh:
            fresh.discard(id(self))
            outputs += update(self, records)
        return outputs

    ProfileStage.update = update_twice  # type: ignore[method-assign]  # that is what this program is for
    ProfileStage.restore = restored  # type: ignore[method-assign]  # that is what this program is for


DEFECTS: dict[str, Callable[[], None]] = {"drops_outputs": drops_outputs, "counts_again": counts_again}

if __name__ == "__main__":
    DEFECTS[sys.argv[1]]()
    roles.run(sys.argv[2], load())
