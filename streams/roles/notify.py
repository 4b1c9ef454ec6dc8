"""`notify`: one message for each state of an alert."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import msgspec

from schemas import alerts, topics
from schemas.codec import Origin
from schemas.records import Record
from streams.agents.outputs import origin_of
from streams.engine.app import RoleApp, attach, leave
from streams.engine.sink import SinkAgent
from streams.replay.command import command_for
from streams.roles.parts import Parts
from streams.settings import Settings
from streams.sinks.slack import DeliveryRejected, SlackWebhook

log = logging.getLogger(__name__)


class _Seen:
    """The newest origin delivered, per partition of the judge: a state that was published twice is sent once."""

    def __init__(self) -> None:
        self._newest: dict[int, dict[str, tuple[int, int]]] = {}

    def begin(self, partition: int, metadata: str) -> None:
        """Take what was committed."""
        try:
            self._newest[partition] = msgspec.json.decode(metadata or "{}", type=dict[str, tuple[int, int]])
        except msgspec.DecodeError:
            self._newest[partition] = {}

    def old(self, partition: int, origin: Origin) -> bool:
        """Tell whether this or a later output of the same judge partition was delivered."""
        known = self._newest[partition].get(str(origin.partition))
        return known is not None and (origin.offset, origin.ordinal) <= known

    def add(self, partition: int, origin: Origin) -> None:
        """Remember a delivery."""
        self._newest[partition][str(origin.partition)] = (origin.offset, origin.ordinal)

    def encode(self, partition: int) -> str:
        """Return the commit metadata."""
        return msgspec.json.encode(self._newest[partition]).decode()


def build(settings: Settings) -> RoleApp:
    """Return the app that sends one message for each state of an alert."""
    parts = Parts("notify", settings)
    slack = None
    if settings.slack_webhook_url is not None:
        slack = SlackWebhook(
            settings.slack_webhook_url.get_secret_value(),
            panel_url=settings.panel_address,
            replay_command=command_for,
            on_retry=lambda _reason, _wait_s: parts.metrics.retry("slack"),
        )
    else:
        log.warning("DRIFTGAUGE_SLACK_WEBHOOK_URL is not set: alerts are only logged")
    seen = _Seen()

    async def deliver(partition: int, records: Sequence[Record]) -> str:
        for record in records:
            origin = origin_of(record)
            if record.value is None or origin is None or seen.old(partition, origin):
                continue
            alert = alerts.decode(record.value)
            log.info("alert %s #%d: %s", alert.episode_id, alert.sequence, alert.state)
            if slack is not None:
                try:
                    await slack.send(alert)
                except DeliveryRejected as error:
                    log.error("alert %s was not delivered: %s", alert.episode_id, error)
                    parts.metrics.dead_letter("slack_rejected")
            seen.add(partition, origin)
        return seen.encode(partition)

    agent = SinkAgent(
        parts.app, name="alerts", topic=topics.ALERTS.name, deliver=deliver, begin=seen.begin, leave=leave,
        lost=parts.metrics.state_lost,
        max_records=1, wait_s=0.0,
    )  # fmt: skip
    attach(parts.app, [agent])
    return parts.app
