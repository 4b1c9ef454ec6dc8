"""Runs a role that ends itself with SIGKILL at a named point.

As in ``python -m tests.engine.programs.crashing detect after_commit 2``.

The points are those at which output, snapshot and commit can part. Only commits that move an input
forward are counted, so the process dies with work behind it.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from streams import roles
from streams.engine import agent, checkpoint, private
from streams.engine.outbox import Outbox, Output
from streams.engine.stage import Stage
from streams.settings import load
from streams.sinks.clickhouse import ClickHouse

POINTS = (
    "never",
    "after_outputs",
    "between_chunks",
    "after_snapshot",
    "after_commit",
    "taken_on",
    "after_decision",
    "during_restore",
    "after_insert",
)


class Bomb:
    """Goes off at the n-th time its point is reached."""

    def __init__(self, point: str, n: int) -> None:
        self.point, self._left = point, n

    def reach(self, point: str) -> None:
        """End the process if this is the point and its time has come."""
        if point == self.point:
            self._left -= 1
            if self._left <= 0:
                os.kill(os.getpid(), signal.SIGKILL)


def arm(bomb: Bomb) -> None:
    """Put the bomb's points into the engine."""
    checkpoint.CHUNK_BYTES = 1_000  # several chunks a segment, as with a large state
    put, write, commit = checkpoint.Snapshots._put, Outbox.put, private.commit
    read, insert = checkpoint.Snapshots.read, ClickHouse.insert
    cut, commit_cut = agent.StatefulAgent._cut, agent.StatefulAgent.commit
    positions: dict[tuple[str, int], int] = {}

    async def put_snapshot(self: checkpoint.Snapshots, *args: Any) -> Any:
        await self._outbox.drained()
        bomb.reach("after_outputs")
        return await put(self, *args)

    def put_chunks(self: Outbox, outputs: Sequence[Output], on_offset: Any = None) -> None:
        if bomb.point == "between_chunks" and len(outputs) > 1 and outputs[0].topic.startswith("drift.snapshots"):
            write(self, outputs[:1], on_offset)
            self._producer.flush(10)
            bomb.reach("between_chunks")
            outputs = outputs[1:]
        write(self, outputs, on_offset)

    async def commit_once(app: Any, topic: str, partition: int, offset: int, *rest: Any) -> None:
        forward = offset > positions.get((topic, partition), 0)
        positions[topic, partition] = offset
        if forward:
            bomb.reach("after_snapshot")
        await commit(app, topic, partition, offset, *rest)
        if forward:
            bomb.reach("after_commit")

    async def commit_later(self: agent.StatefulAgent, partition: int, offset: int, pointer: Any) -> None:
        held = self.held.get(partition)
        for _ in range(200 if bomb.point == "taken_on" and offset and held else 0):
            if held and held.position > offset:
                bomb.reach("taken_on")
                break
            await asyncio.sleep(0.005)
        await commit_cut(self, partition, offset, pointer)

    async def cut_and_decide(self: agent.StatefulAgent, partition: int, held: Any) -> Any:
        made, decided = await cut(self, partition, held)
        if decided and made.position:
            self._outbox._producer.flush(10)
            bomb.reach("after_decision")
        return made, decided

    async def read_snapshot(self: checkpoint.Snapshots, partition: int, pointer: Any, stage: Stage) -> Any:
        index = await read(self, partition, pointer, stage)
        if index.position:
            bomb.reach("during_restore")
        return index

    async def insert_rows(self: ClickHouse, table: str, rows: Any, token: str) -> int:
        n = await insert(self, table, rows, token)
        bomb.reach("after_insert")
        return n

    replaced: Mapping[tuple[Any, str], Any] = {
        (checkpoint.Snapshots, "_put"): put_snapshot,
        (checkpoint.Snapshots, "read"): read_snapshot,
        (Outbox, "put"): put_chunks,
        (private, "commit"): commit_once,
        (agent.StatefulAgent, "commit"): commit_later,
        (agent.StatefulAgent, "_cut"): cut_and_decide,
        (ClickHouse, "insert"): insert_rows,
    }
    for (owner, name), function in replaced.items():
        setattr(owner, name, function)


def main(role: str, point: str, n: str) -> None:
    """Run a role with a bomb in it."""
    if point not in POINTS:
        raise SystemExit(f"{point}: no point; choose one of {', '.join(POINTS)}")
    arm(Bomb(point, int(n)))
    roles.run(role, load())


if __name__ == "__main__":
    main(*sys.argv[1:])
