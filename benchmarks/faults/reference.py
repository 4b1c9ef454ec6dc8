"""The uninterrupted run over the same input, in a process of its own: ``python -m benchmarks.faults.reference``.

Two things are asked of it. The events, replayed by the product's own replay under the baselines and monitors
that came to hold: what every window must say at last. And the evidence, judged record by record by a judge
that nothing interrupts: exactly which alert states there must be.
"""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path

import msgspec

from schemas import alerts, topics
from schemas.alerts import Alert
from schemas.results import Result
from streams.agents.judge import JudgeStage
from streams.agents.outputs import Originating
from streams.catalogue import Catalogue
from streams.engine.control import read_catalogue
from streams.engine.preflight import planned
from streams.replay.run import Replay, Silent, last_revisions
from streams.replay.topic import records_between
from streams.settings import Settings, load


class Reference(msgspec.Struct):
    """What an uninterrupted run makes of the input."""

    results: list[Result]
    alerts: list[Alert]


async def made(settings: Settings) -> Reference:
    """Read the topics to their ends and run both."""
    catalogue = await read_catalogue(settings)
    run = Replay(catalogue, "reference")
    outcome: list[Result | Alert] = []
    async for turn in records_between(settings, [topics.EVENTS.name], None, None):
        for records in turn:
            outcome += run.add(records)
        outcome += run.judge()
    return Reference(last_revisions(outcome), await judged(settings, catalogue))


async def judged(settings: Settings, catalogue: Catalogue) -> list[Alert]:
    """Return the alert states that follow from the evidence as it stands in its topic."""
    n_partitions, metrics = planned(settings), Silent()
    sources = [f"{topics.EVENTS.name}/{partition}" for partition in range(n_partitions[topics.EVENTS.name])]
    judges: dict[int, JudgeStage] = {}
    found: list[Alert] = []
    async for turn in records_between(settings, [topics.EVIDENCE.name], None, None):
        for records in turn:
            partition = records[0].partition
            if partition not in judges:
                out = Originating(topics.EVIDENCE.name, partition, n_partitions)
                judges[partition] = JudgeStage(catalogue, out, metrics, lambda: 0, sources=sources)
            outputs = judges[partition].update(records)
            found += [alerts.decode(o.value) for o in outputs if o.topic == topics.ALERTS.name and o.value]
    return found


def read(path: Path) -> Reference:
    """Read what another process has written."""
    return msgspec.json.decode(path.read_bytes(), type=Reference)


def main() -> None:
    """Write the reference to a file."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faults.reference", description=__doc__)
    parser.add_argument("--bootstrap-servers", required=True)
    parser.add_argument("--partitions", type=int, required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    settings = load(bootstrap_servers=arguments.bootstrap_servers, partitions=arguments.partitions)
    arguments.out.write_bytes(msgspec.json.encode(asyncio.run(made(settings))))


if __name__ == "__main__":
    main()
