"""`store`: results, alerts, predictions, feedback and control records into ClickHouse."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from schemas import alerts, results, topics
from schemas.events import decode as decode_events
from schemas.feedback import decode as decode_feedback
from schemas.records import Record
from schemas.topics import Topic
from streams.engine.app import RoleApp, attach, leave
from streams.engine.sink import SinkAgent
from streams.roles.parts import Parts
from streams.roles.stores import store_of
from streams.settings import Settings
from streams.sinks.clickhouse import Writer
from streams.sinks.errors import SinkRejected
from streams.sinks.rows import (
    Rows,
    merge,
    rows_of_alerts,
    rows_of_batch,
    rows_of_control,
    rows_of_feedback,
    rows_of_results,
)


def build(settings: Settings) -> RoleApp:
    """Return the app that writes results, alerts, predictions, feedback and control records to ClickHouse."""
    parts = Parts("store", settings)
    parts.follow_control()  # says which values may stand in a dead letter
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
                    quoted = parts.catalogue.keeps_value(records[0])  # the store's text may hold the row
                    detail = str(error) if quoted else f"{type(error).__name__}; its text may quote the row"
                    parts.outbox.put([parts.dead(records[0], "store_rejected", detail)])
            await parts.outbox.drained()
            return ""

        return deliver

    agents = [
        SinkAgent(
            parts.app, name=topic.name, topic=topic.name, deliver=delivery(topic, rows_of), leave=leave,
            lost=parts.metrics.state_lost,
        )
        for topic, rows_of in sources
    ]  # fmt: skip
    attach(parts.app, agents)
    return parts.app
