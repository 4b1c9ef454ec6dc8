"""The composition root: each role's parts, built and joined here and nowhere else."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from typing import Any

import faust
import msgspec
from aiohttp import web
from prometheus_client import CollectorRegistry, ProcessCollector

from schemas import alerts, results, topics
from schemas.codec import Origin
from schemas.events import decode as decode_events
from schemas.feedback import decode as decode_feedback
from schemas.records import Record, Rejected, header
from schemas.topics import Topic
from streams.agents.judge import JudgeStage
from streams.agents.learn import LearnStage
from streams.agents.outputs import Originating, origin_of
from streams.agents.profile import ProfileStage, dead_output
from streams.catalogue import Catalogue
from streams.engine import preflight
from streams.engine.agent import StatefulAgent
from streams.engine.app import RoleApp, attach, build_app, leave
from streams.engine.follow import Follower
from streams.engine.outbox import Outbox, Output
from streams.engine.sink import SinkAgent
from streams.panel.live import Hub
from streams.panel.server import check_bind, create_app
from streams.replay.run import command_for
from streams.settings import Settings, SettingsError
from streams.sinks.clickhouse import ClickHouse, Writer
from streams.sinks.errors import SinkRejected
from streams.sinks.history import History
from streams.sinks.otlp import OtlpForwarder, SpansRejected
from streams.sinks.prometheus import Metrics
from streams.sinks.rows import Rows, merge, rows_of_alerts, rows_of_batch, rows_of_control, rows_of_feedback, rows_of_results
from streams.sinks.slack import DeliveryRejected, SlackWebhook

log = logging.getLogger(__name__)

PORTS = {"panel": 8600, "detect": 8601, "store": 8602, "notify": 8603, "forward": 8604}
ROLES = tuple(PORTS)

NEEDED: dict[str, Sequence[Topic]] = {
    "detect": (topics.EVENTS, topics.EVIDENCE, topics.LEARNING, topics.BASELINES, topics.MONITORS, topics.RESULTS,
               topics.ALERTS, topics.DEAD, *topics.SNAPSHOTS),
    "store": (topics.RESULTS, topics.ALERTS, topics.EVENTS, topics.FEEDBACK, topics.BASELINES, topics.MONITORS, topics.DEAD),
    "notify": (topics.ALERTS,),
    "forward": (topics.SPANS, topics.DEAD),
    "panel": (topics.RESULTS, topics.ALERTS, topics.BASELINES, topics.MONITORS),
}  # fmt: skip


def port_of(role: str, settings: Settings) -> int:
    """Return the port of a role's web server."""
    if role == "panel":
        return settings.panel_port
    return settings.metrics_port or PORTS[role]


def store_of(settings: Settings, metrics: Metrics | None = None) -> ClickHouse:
    """Return the store.

    Raises
    ------
    SettingsError
        When no store is configured; the text names both ways out.
    """
    if not settings.clickhouse_url:
        raise SettingsError(
            "DRIFTGAUGE_CLICKHOUSE_URL: no store is configured. Set it to the HTTP address of a ClickHouse server, as "
            "http://127.0.0.1:8123, or install the embedded one with `pip install 'driftgauge[embedded]'` and use "
            "`driftgauge run all --embedded`."
        )
    return ClickHouse(
        settings.clickhouse_url,
        database=settings.clickhouse_database,
        user=settings.clickhouse_user,
        password=settings.clickhouse_password.get_secret_value(),
        on_retry=metrics.retry if metrics else None,
    )


def _registry() -> CollectorRegistry:
    """Return a registry with the process's own memory, CPU and file descriptors."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    return registry


class Parts:
    """What the roles with a Faust app share."""

    def __init__(self, role: str, settings: Settings) -> None:
        self.role, self.settings = role, settings
        self.n_partitions = preflight.check(settings, NEEDED[role])
        self.registry = _registry()
        self.metrics = Metrics(self.registry)
        self.outbox = Outbox(settings, leave)
        self.catalogue = Catalogue()
        self.app = build_app(role, settings, self.registry, self.outbox, port_of(role, settings))
        self.app.metrics_of_role = self.metrics

    def follow_control(self) -> None:
        """Read the control topics to their end before the first record, and follow them."""
        names = [topics.BASELINES.name, topics.MONITORS.name]
        follower = Follower(self.settings, names, self.catalogue.update, on_failure=leave)
        self.app.before_start.append(follower.start)
        self.app.after_stop.append(follower.stop)

    def originating(self, topic: str, partition: int) -> Originating:
        """Return what numbers the outputs of one input partition."""
        return Originating(topic, partition, self.n_partitions)

    def dead(self, record: Record, reason: str, detail: str, *, keep_value: bool = True) -> Output:
        """Return the dead letter of a record."""
        self.metrics.dead_letter(reason)
        out = self.originating(record.topic, record.partition)
        return dead_output(out, record, Rejected(record.offset, reason, detail), self.role, keep_value=keep_value)


def detect(settings: Settings) -> RoleApp:
    """Return the app that profiles, judges and learns."""
    parts = Parts("detect", settings)
    parts.follow_control()
    catalogue, metrics = parts.catalogue, parts.metrics

    def profile(partition: int, log_end: int) -> ProfileStage:
        return ProfileStage(
            f"{topics.EVENTS.name}/{partition}",
            catalogue,
            parts.originating(topics.EVENTS.name, partition),
            metrics,
            log_end=log_end,
            max_features=settings.max_features,
            max_models=settings.max_models,
        )

    def judge(partition: int, _log_end: int) -> JudgeStage:
        out = parts.originating(topics.EVIDENCE.name, partition)
        return JudgeStage(catalogue, out, metrics, lambda: int(time.time() * 1000))

    def learn(partition: int, _log_end: int) -> LearnStage:
        source = f"{topics.LEARNING.name}/{partition}"
        out = parts.originating(topics.LEARNING.name, partition)
        return LearnStage(source, catalogue, out, metrics, max_features=settings.max_features)

    stages: list[tuple[str, Topic, Any]] = [
        ("profile", topics.EVENTS, profile), ("judge", topics.EVIDENCE, judge), ("learn", topics.LEARNING, learn)
    ]  # fmt: skip
    attach(
        parts.app,
        [
            StatefulAgent(
                parts.app, settings, parts.outbox, name=name, topic=topic.name,
                snapshot_topic=topics.snapshots(name).name, make_stage=make, metrics=metrics, leave=leave,
                poisonous=lambda record, why: [parts.dead(record, "poisonous", why)],
            )
            for name, topic, make in stages
        ],
    )  # fmt: skip
    return parts.app


def store(settings: Settings) -> RoleApp:
    """Return the app that writes results, alerts, predictions, feedback and control records to ClickHouse."""
    parts = Parts("store", settings)
    clickhouse = store_of(settings, parts.metrics)
    parts.app.before_start.append(clickhouse.migrate)
    parts.app.after_stop.append(clickhouse.close)

    def predictions(records: Sequence[Record]) -> Rows:
        batches = decode_events(records, max_features=settings.max_features).batches
        return merge(rows_of_batch(batch, topics.EVENTS.name, records[0].partition) for batch in batches)

    def feedback(records: Sequence[Record]) -> Rows:
        decoded = decode_feedback(records)
        by_offset = {record.offset: record for record in records}
        parts.outbox.put([parts.dead(by_offset[r.offset], r.reason, r.detail) for r in decoded.rejected])
        return rows_of_feedback(decoded.batch)

    def judged(records: Sequence[Record]) -> Rows:
        return rows_of_results([results.decode(record.value) for record in records if record.value])

    def alerted(records: Sequence[Record]) -> Rows:
        return rows_of_alerts([alerts.decode(record.value) for record in records if record.value])

    sources: list[tuple[Topic, Any]] = [
        (topics.RESULTS, judged), (topics.ALERTS, alerted), (topics.EVENTS, predictions), (topics.FEEDBACK, feedback),
        (topics.BASELINES, rows_of_control), (topics.MONITORS, rows_of_control),
    ]  # fmt: skip

    def delivery(topic: Topic, rows_of: Any) -> Any:
        async def deliver(partition: int, records: Sequence[Record]) -> str:
            writer = Writer(clickhouse, topic.name, partition)
            try:
                writer.add(rows_of(records), records[0].offset, records[-1].offset)
                await writer.flush()
            except (SinkRejected, msgspec.DecodeError) as error:
                if len(records) > 1:  # find the one that is at fault
                    for record in records:
                        await deliver(partition, [record])
                else:
                    parts.outbox.put([parts.dead(records[0], "store_rejected", str(error))])
            await parts.outbox.drained()
            return ""

        return deliver

    agents = [
        SinkAgent(parts.app, name=topic.name, topic=topic.name, deliver=delivery(topic, rows_of), leave=leave)
        for topic, rows_of in sources
    ]
    attach(parts.app, agents)
    return parts.app


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


def notify(settings: Settings) -> RoleApp:
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
        max_records=1, wait_s=0.0,
    )  # fmt: skip
    attach(parts.app, [agent])
    return parts.app


def forward(settings: Settings) -> RoleApp:
    """Return the app that sends spans on to an OTLP endpoint."""
    if not settings.otlp_endpoint:
        raise SettingsError("DRIFTGAUGE_OTLP_ENDPOINT: set it to the OTLP/HTTP address to forward to, as http://127.0.0.1:6006")
    parts = Parts("forward", settings)
    headers = {name: secret.get_secret_value() for name, secret in settings.otlp_headers.items()}
    forwarder = OtlpForwarder(
        settings.otlp_endpoint, headers, on_retry=lambda _reason, _wait_s: parts.metrics.retry("otlp")
    )
    parts.app.after_stop.append(forwarder.close)

    async def deliver(_partition: int, records: Sequence[Record]) -> str:
        for record in records:
            if record.value is None:
                continue
            try:
                await forwarder.forward(record.value, header(record, "content-type"))
            except SpansRejected as error:
                parts.outbox.put([parts.dead(record, error.reason, str(error), keep_value=False)])
        await parts.outbox.drained()
        return ""

    agent = SinkAgent(
        parts.app, name="spans", topic=topics.SPANS.name, deliver=deliver, leave=leave, max_records=100, wait_s=0.1
    )
    attach(parts.app, [agent])
    return parts.app


class _NewestBaselines(dict[str, Any]):
    """Model → the baseline in use, read from the catalogue as it stands."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue

    def __missing__(self, model: str) -> Any:
        baseline = self._catalogue.newest(model)
        if baseline is None:
            raise KeyError(model)
        return baseline

    def get(self, model: str, default: Any = None) -> Any:
        """Return the model's baseline, or the default."""
        return self._catalogue.newest(model) or default

    def __contains__(self, model: object) -> bool:
        return isinstance(model, str) and self._catalogue.newest(model) is not None

    def __iter__(self) -> Any:
        return iter([model for model in self._catalogue.models() if self._catalogue.newest(model)])

    def __len__(self) -> int:
        return sum(1 for _ in self)


async def panel(settings: Settings, stop: asyncio.Event) -> None:
    """Serve the panel until told to stop."""
    token = settings.panel_token.get_secret_value() if settings.panel_token else None
    check_bind(settings.bind, token, settings.insecure)
    preflight.check(settings, NEEDED["panel"])
    hub, catalogue = Hub(), Catalogue()
    failed: list[str] = []

    def end(reason: str) -> None:
        failed.append(reason)
        stop.set()

    def heard(record: Record) -> None:
        if record.value is None:
            return
        try:
            hub.publish(results.decode(record.value) if record.topic == topics.RESULTS.name else alerts.decode(record.value))
        except msgspec.DecodeError as error:
            log.error("%s/%s@%s is not shown: %s", record.topic, record.partition, record.offset, error)

    control = Follower(settings, [topics.BASELINES.name, topics.MONITORS.name], catalogue.update, on_failure=end)
    live = Follower(settings, [topics.RESULTS.name, topics.ALERTS.name], heard, on_failure=end)
    clickhouse = store_of(settings)
    registry = _registry()
    app = create_app(
        history=History(clickhouse),
        live=hub,
        baselines=_NewestBaselines(catalogue),
        token=token,
        insecure=settings.insecure,
        registry=registry,
    )
    await control.start()
    await live.start()
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, settings.bind, settings.panel_port).start()
    log.info("panel at %s", settings.panel_address)
    try:
        await stop.wait()
    finally:
        await runner.cleanup()
        await live.stop()
        await control.stop()
        await clickhouse.close()
    if failed:
        leave(failed[0])


APPS = {"detect": detect, "store": store, "notify": notify, "forward": forward}


def serve(app: RoleApp, settings: Settings) -> None:
    """Run a Faust role until a signal stops it."""
    worker = faust.Worker(app, loglevel=settings.log_level.lower(), override_logging=False, redirect_stdouts=False)
    worker.execute_from_commandline()
