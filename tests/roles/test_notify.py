"""`notify`: each state of an alert once; what is no alert costs itself only; what is remembered fits a commit."""

from __future__ import annotations

import threading
import urllib.request
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import orjson
import pytest

from schemas import alerts, topics
from schemas.codec import ORIGIN_HEADER, Origin
from streams.roles.notify import MAX_METADATA_BYTES, _Seen
from tests.brokers import eventually
from tests.engine.running import Cluster, committed, free_port
from tests.engine.traffic import Message
from tests.sinks.alerts import alert


def _origin(partition: int, offset: int) -> Origin:
    return Origin(topics.EVIDENCE.name, partition, offset, 0)


def test_what_is_remembered_fits_a_commit_and_the_newest_stay() -> None:
    seen = _Seen()
    seen.begin(0, "")
    for partition in range(1_024):
        seen.add(0, _origin(partition, 10**12))
    seen.add(0, _origin(0, 10**12 + 1))
    metadata = seen.encode(0)
    assert len(metadata.encode()) < MAX_METADATA_BYTES
    again = _Seen()
    again.begin(0, metadata)
    assert again.old(0, _origin(0, 10**12 + 1))
    assert all(again.old(0, _origin(partition, 10**12)) for partition in range(960, 1_024))
    assert not again.old(0, _origin(0, 10**12 + 2))
    assert not again.old(0, _origin(1, 10**12)), "the oldest are forgotten first"
    again.add(0, _origin(1_023, 10**12 + 5))
    assert len(again.encode(0).encode()) < MAX_METADATA_BYTES


def test_few_partitions_are_all_remembered() -> None:
    seen = _Seen()
    seen.begin(0, "")
    for partition in range(64):
        seen.add(0, _origin(partition, 10**12))
    assert orjson.loads(seen.encode(0)).keys() == {str(partition) for partition in range(64)}


@pytest.fixture
def slack() -> Iterator[tuple[str, list[Any]]]:
    """A webhook's address, and what it was sent."""
    bodies: list[Any] = []

    class Webhook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(orjson.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"ok")

        def log_message(self, *_args: Any) -> None:
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Webhook)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/services/T0/B0/X", bodies
    server.shutdown()
    thread.join()
    server.server_close()


def test_records_that_are_no_alerts_are_named_counted_and_skipped(
    embedded_cluster: Callable[..., Cluster], slack: tuple[str, list[Any]]
) -> None:
    address, bodies = slack
    cluster = embedded_cluster(slack_webhook_url=address)
    good = alerts.encode(alert())
    origin: list[Any] = [(ORIGIN_HEADER, _origin(1, 4).encode())]
    cluster.produce(
        [
            Message(0, good, []),
            Message(0, good, [(ORIGIN_HEADER, b"no origin")]),
            Message(0, b"{not json", origin),
            Message(0, b'{"episode_id": 5}', origin),
            Message(0, None, origin),
            Message(0, good, origin),
        ],
        topics.ALERTS.name,
    )
    port = free_port()
    worker = cluster.start("notify", DRIFTGAUGE_METRICS_PORT=str(port))
    eventually(lambda: committed(cluster, "notify", topics.ALERTS.name, 0)[0] == 6, 60.0)
    assert len(bodies) == 1, "the good one after them went out"
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        assert 'driftgauge_dead_letters_total{reason="alert_invalid"} 4.0' in answer.read().decode()
    assert all(f"{topics.ALERTS.name}/0@{offset}" in cluster.log("notify") for offset in range(4))
    assert cluster.stop(worker) == 0
