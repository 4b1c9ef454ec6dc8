"""What Faust leaves unnoticed: a failed coordinator, work that stands still, a loop that is late, a stop that hangs."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from typing import TYPE_CHECKING, Any

from streams.engine import private
from streams.engine.agent import StatefulAgent

if TYPE_CHECKING:
    from streams.engine.app import RoleApp

log = logging.getLogger(__name__)

STUCK_AFTER_S = 120.0
UNASSIGNED_AFTER_S = 60.0
STOP_TIMEOUT_S = 9.0
ASLEEP_AFTER_S = 60.0  # longer than a start takes
FENCED_WITHIN_S = 60.0
MAX_FENCED = 3
PROBE_S = 0.05


class Watchdog:
    """Looks after one role's app and leaves when it cannot go on.

    Sinks are not judged by progress: they wait for their destinations, however long these are down.
    """

    def __init__(self, app: RoleApp, now: float) -> None:
        self._app = app
        self._positions: dict[Any, Any] = {}
        self._moved = self._started = self.looked = now
        self._shown: set[tuple[str, int]] = set()
        self._warned = False

    async def watch(self) -> None:
        """Look once a second until the app stops."""
        while not self._stopping():
            await asyncio.sleep(1.0)
            try:
                await private.check_coordinator(self._app)
            except Exception as error:
                if self._stopping():  # the consumer's thread has ended under the question
                    return
                self._app.leave(f"the group coordinator failed: {type(error).__name__}: {error}")
            self.looked = time.monotonic()
            self.look(self.looked)

    def awake(self, now: float) -> bool:
        """Tell whether it still looks; it does not when the consumer's thread answers no more."""
        return now - self.looked < ASLEEP_AFTER_S or self._stopping()

    def _stopping(self) -> bool:
        return bool(self._app.should_stop)

    def look(self, now: float) -> None:
        """Show what every partition has to wait for, and leave when nothing moves."""
        app = self._app
        stateful = [agent for agent in app.agents_of_role if isinstance(agent, StatefulAgent)]
        positions = {key: value for agent in stateful for key, value in agent.positions().items()}
        lag, shown = 0, set()
        for agent in app.agents_of_role:
            for partition, records in agent.lags().items():
                lag += records if agent in stateful else 0
                app.metrics_of_role.lag(app.role, agent.topic, partition, records)
                shown.add((agent.topic, partition))
        for agent in stateful:
            for partition, held in agent.held.items():
                app.metrics_of_role.checkpoint_age(app.role, agent.topic, partition, held.age_s())
        for topic, partition in self._shown - shown:
            app.metrics_of_role.forget_partition(app.role, topic, partition)
        self._shown = shown
        if positions != self._positions or not lag or not app.ready:
            self._moved, self._positions = now, positions
        app.metrics_of_role.stuck(now - self._moved)
        if now - self._moved > STUCK_AFTER_S:
            app.leave(f"no progress for {STUCK_AFTER_S:.0f} s with {lag} records waiting")
        if not shown and not self._warned and now - self._started > UNASSIGNED_AFTER_S:
            self._warned = True
            log.warning(
                "no partition was assigned to this worker: there are as many workers as partitions, "
                "or the group may not be joined (permissions on group %s)",
                app.conf.id,
            )

    async def measure_stalls(self) -> None:
        """Measure how late the event loop is, until the app stops."""
        while not self._app.should_stop:
            due = time.perf_counter() + PROBE_S
            await asyncio.sleep(PROBE_S)
            self._app.metrics_of_role.loop_stall(max(0.0, time.perf_counter() - due))

    def stopping(self) -> None:
        """End the process when stopping in order takes too long, as without brokers; nothing is lost by it."""
        why = f"stopping took longer than {STOP_TIMEOUT_S:.0f} s; what is not committed is done again"
        timer = threading.Timer(STOP_TIMEOUT_S, self._app.leave, [why])
        timer.daemon = True
        timer.start()


class FencingGuard:
    """Counts how often this worker lost its place in the group; with a static membership that may never end.

    Two live workers with one `group_instance_id` fence each other about every second, each doing again what
    the other has done. Source: KIP-345.
    """

    def __init__(self, group_instance_id: str | None) -> None:
        self._id = group_instance_id
        self._times: list[float] = []

    def fenced(self, now: float) -> str | None:
        """Take note of a loss; return why to leave when it was one too many."""
        self._times = [at for at in self._times if now - at < FENCED_WITHIN_S] + [now]
        if self._id is None or len(self._times) < MAX_FENCED:
            return None
        return (
            f"fenced {MAX_FENCED} times within {FENCED_WITHIN_S:.0f} s: another live worker has the same "
            f"DRIFTGAUGE_GROUP_INSTANCE_ID, {self._id!r}. Give each worker its own, or none"
        )
