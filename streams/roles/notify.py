"""`notify`: one message for each state of an alert."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import msgspec

from schemas import alerts, topics
from schemas.alerts import Alert
from schemas.codec import CorruptError, Origin
from schemas.records import Record
from streams import tracing
from streams.agents.outputs import origin_of
from streams.engine.app import RoleApp, attach, leave
from streams.engine.sink import SinkAgent
from streams.replay.command import command_for
from streams.roles.parts import Parts
from streams.settings import Settings
from streams.sinks.slack import DeliveryRejected, SlackWebhook

log = logging.getLogger(__name__)

MAX_METADATA_BYTES = 3_500  # a broker takes 4,096 with a commit


class InvalidAlert(ValueError):
    """A record of the alerts topic that is no alert of ours."""


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
        """Remember a delivery; the newest stand last."""
        self._newest[partition].pop(str(origin.partition), None)
        self._newest[partition][str(origin.partition)] = (origin.offset, origin.ordinal)

    def encode(self, partition: int) -> str:
        """Return the commit metadata; when it grows too long, the origins not heard of for longest are forgotten."""
        newest = self._newest[partition]
        while len(encoded := msgspec.json.encode(newest)) >= MAX_METADATA_BYTES:
            del newest[next(iter(newest))]
        return encoded.decode()


def read_alert(record: Record) -> tuple[Origin, Alert]:
    """Return what made a record of the alerts topic, and the alert in it.

    Raises
    ------
    InvalidAlert
        When the record names no origin or holds no alert.
    """
    try:
        origin = origin_of(record)
        if origin is None:
            raise InvalidAlert("it names no origin")
        return origin, alerts.decode(record.value or b"")
    except (msgspec.DecodeError, CorruptError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidAlert(f"{type(error).__name__}: {error}") from None


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
            if record.value is None:
                continue
            try:
                origin, alert = read_alert(record)
            except InvalidAlert as error:
                place = {"topic": record.topic, "partition": partition, "offset": record.offset}
                log.error("%s/%s@%s is not sent: %s", record.topic, partition, record.offset, error, extra=place)
                parts.metrics.dead_letter("alert_invalid")
                continue
            if seen.old(partition, origin):
                continue
            place = {"model": alert.model, "topic": record.topic, "partition": partition, "offset": record.offset}
            log.info("alert %s #%d: %s", alert.episode_id, alert.sequence, alert.state, extra=place)
            if slack is not None:
                try:
                    with tracing.span("send", sink="slack", episode=alert.episode_id, sequence=alert.sequence):
                        await slack.send(alert)
                except DeliveryRejected as error:
                    log.error("alert %s was not delivered: %s", alert.episode_id, error, extra=place)
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
