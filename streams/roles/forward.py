"""`forward`: spans on to any OTLP/HTTP endpoint."""

from __future__ import annotations

from collections.abc import Sequence

from schemas import topics
from schemas.records import Record, header
from streams.engine.app import RoleApp, attach, leave
from streams.engine.sink import SinkAgent
from streams.roles.parts import Parts
from streams.settings import Settings, SettingsError
from streams.sinks.otlp import OtlpForwarder, SpansRejected


def build(settings: Settings) -> RoleApp:
    """Return the app that sends spans on to an OTLP endpoint."""
    if not settings.otlp_endpoint:
        raise SettingsError(
            "DRIFTGAUGE_OTLP_ENDPOINT: set it to the OTLP/HTTP address to forward to, as http://127.0.0.1:6006"
        )
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
        parts.app,
        name="spans",
        topic=topics.SPANS.name,
        deliver=deliver,
        leave=leave,
        lost=parts.metrics.state_lost,
        max_records=100,
        wait_s=0.1,
    )
    attach(parts.app, [agent])
    return parts.app
