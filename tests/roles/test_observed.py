"""A role's own spans and JSON log lines, as whoever runs it receives them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

from schemas import alerts, topics
from schemas.codec import ORIGIN_HEADER, Origin
from schemas.spans import located
from tests.brokers import eventually_async
from tests.engine import traffic
from tests.engine.running import Cluster
from tests.sinks.alerts import alert
from tests.sinks.otlp_server import otlp_endpoint
from tests.sinks.slack_server import PATH, slack_server


async def test_notify_traces_its_deliveries_and_logs_objects(embedded_cluster: Callable[..., Cluster]) -> None:
    async with otlp_endpoint() as endpoint, slack_server() as slack:
        cluster = embedded_cluster(
            slack_webhook_url=slack.url, traces_endpoint=endpoint.url, log_format="json", sasl_password=PATH[-10:]
        )
        headers: list[Any] = [(ORIGIN_HEADER, Origin(topics.EVIDENCE.name, 0, 4, 0).encode())]
        cluster.produce([traffic.Message(0, alerts.encode(alert()), headers)], topics.ALERTS.name)
        worker = await asyncio.to_thread(cluster.start, "notify")
        await eventually_async(lambda: {"deliver", "send"} <= set(endpoint.names), 90.0)
        assert await asyncio.to_thread(cluster.stop, worker) == 0, cluster.log("notify")

    spans = {one.span.name: one.span for request in endpoint.requests for one in located(request)}
    assert spans["send"].parent_span_id == spans["deliver"].span_id
    found = {pair.key: pair.value.int_value or pair.value.string_value for pair in spans["deliver"].attributes}
    assert (found["agent"], found["topic"], found["records"]) == ("alerts", topics.ALERTS.name, 1)
    assert b"credit-risk is drifting" not in b"".join(request.SerializeToString() for request in endpoint.requests)

    lines = [json.loads(line) for line in cluster.log("notify").splitlines()]
    assert {line["role"] for line in lines} == {"notify"}
    [sent] = [line for line in lines if line["message"].startswith("alert ")]
    assert (sent["model"], sent["topic"], sent["partition"], sent["offset"]) == (
        alert().model,
        topics.ALERTS.name,
        0,
        0,
    )
    assert slack.url not in cluster.log("notify")


async def test_detect_traces_what_it_takes_and_every_checkpoint(embedded_cluster: Callable[..., Cluster]) -> None:
    async with otlp_endpoint() as endpoint:
        cluster = embedded_cluster(traces_endpoint=endpoint.url, traces_sample=1.0)
        await asyncio.to_thread(cluster.publish_baselines, ["alpha"])
        cluster.produce(traffic.messages(["alpha"], n_partitions=1, minutes=3))
        worker = await asyncio.to_thread(cluster.start, "detect")
        wanted = {"take", "update", "flush", "checkpoint", "cut", "durable", "commit", "restore"}
        await eventually_async(lambda: wanted <= set(endpoint.names), 120.0)
        assert await asyncio.to_thread(cluster.stop, worker) == 0, cluster.log("detect")

    spans = [one.span for request in endpoint.requests for one in located(request)]
    names = {span.span_id: span.name for span in spans}
    parents = {(span.name, names.get(span.parent_span_id, "")) for span in spans}
    assert {("take", ""), ("update", "take"), ("flush", ""), ("restore", "")} <= parents
    assert {("cut", "checkpoint"), ("durable", "checkpoint"), ("commit", "checkpoint")} <= parents
    taken = [span for span in spans if span.name == "take"]
    found = {pair.key: pair.value.int_value or pair.value.string_value for pair in taken[0].attributes}
    assert {"agent", "topic", "partition", "first_offset", "last_offset", "records"} == set(found)
    assert b"Lyon" not in b"".join(request.SerializeToString() for request in endpoint.requests)
