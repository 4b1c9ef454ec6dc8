"""`detect` and the topics that monitors map: which to read, and starting afresh when that changes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

from streams.catalogue import Catalogue
from streams.engine import preflight
from streams.engine.app import RoleApp
from streams.engine.control import read_monitors
from streams.engine.mapped import absent, mapped, prepare, short
from streams.settings import Settings

log = logging.getLogger(__name__)

LOOK_S = 1.0
CLUSTER_S = 15.0


class MappedTopics:
    """The mapped topics a worker reads, and a fresh start when they change.

    Faust fixes what an app consumes when it starts. Nothing is lost by starting afresh: positions, state and what
    was put out are committed as one before. A topic that cannot be read stops nothing else: it is left out, and the
    log says why.

    Parameters
    ----------
    found
        The topics of the cluster with their numbers of partitions.
    """

    def __init__(self, settings: Settings, found: Mapping[str, int]) -> None:
        self._settings = settings
        with ThreadPoolExecutor(1) as thread:  # there is no event loop yet, and the one this takes leaves none behind
            monitors = thread.submit(asyncio.run, read_monitors(settings)).result()
        self._known = mapped(monitors, found)
        self._refused = prepare(settings, self._known, found)
        for topic, why in self._refused.items():
            log.error("%s is not read: %s", topic, why)
        for topic, models in absent(monitors, found).items():
            log.warning("%s does not exist; it is read as soon as it does, for %s", topic, ", ".join(models))
        self._task: asyncio.Task[None] | None = None

    def __iter__(self) -> Iterator[str]:
        """Iterate over the topics to read."""
        return (topic for topic in self._known if topic not in self._refused)

    def follow(self, app: RoleApp, catalogue: Catalogue) -> None:
        """Let the app start afresh once the followed monitors or the cluster ask for other topics."""

        async def start() -> None:
            self._task = asyncio.get_running_loop().create_task(self._watch(app, catalogue))

        async def stop() -> None:
            if self._task is not None:
                self._task.cancel()
                await asyncio.gather(self._task, return_exceptions=True)

        app.before_start.append(start)
        app.after_stop.append(stop)

    async def _watch(self, app: RoleApp, catalogue: Catalogue) -> None:
        loop = asyncio.get_running_loop()
        sources, looked = None, 0.0
        while True:
            now = [source for _, source in catalogue.sources()]
            if (now or self._known) and (now != sources or loop.time() - looked > CLUSTER_S):
                sources, looked = now, loop.time()
                try:
                    found = await asyncio.to_thread(preflight.existing, self._settings)
                except preflight.PreflightError as error:
                    log.warning("whether there are other topics to read is not known: %s", error)
                else:
                    if (why := self._difference(mapped(catalogue, found), found)) is not None:
                        app.start_afresh(why)
                        return
            await asyncio.sleep(LOOK_S)

    def _difference(self, wanted: Mapping[str, int], found: Mapping[str, int]) -> str | None:
        for topic, n_partitions in wanted.items():
            if topic not in self._known:
                return f"{topic} is to be read from now on"
            if n_partitions != self._known[topic]:
                return f"{topic} has {n_partitions} partitions now"
            if topic in self._refused and not short({topic: n_partitions}, found):
                return f"the snapshots of {topic} have somewhere to go now"
        return None
