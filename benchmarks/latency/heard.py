"""When results, alerts, the page's events and Slack's messages arrive; all moments are of the monotonic clock."""

from __future__ import annotations

import threading
import time
import urllib.request
from collections.abc import Callable
from types import TracebackType
from typing import Self

import orjson
from confluent_kafka import Consumer, TopicPartition

from schemas import alerts, results, topics
from schemas.alerts import Alert

Window = tuple[str, int]
POLL_S = 0.02


class Heard:
    """Listens to the results and alerts topics and to the page's event stream, each in a thread."""

    def __init__(self, bootstrap_servers: str, n_partitions: int, panel_url: str) -> None:
        self._bootstrap_servers, self._n_partitions, self._panel_url = bootstrap_servers, n_partitions, panel_url
        self._over = threading.Event()
        self._threads = [
            threading.Thread(target=self._listen, args=(topic, take), daemon=True)
            for topic, take in ((topics.RESULTS.name, self._result), (topics.ALERTS.name, self._alert))
        ]
        self._threads.append(threading.Thread(target=self._page, daemon=True))
        self.results: dict[Window, float] = {}
        self.pages: dict[Window, float] = {}
        self.alerts: dict[tuple[str, int], Alert] = {}
        self.connected = threading.Event()

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        for thread in self._threads[:2]:
            thread.join(10)

    def _listen(self, topic: str, take: Callable[[bytes, float], None]) -> None:
        consumer = Consumer(
            {
                "bootstrap.servers": self._bootstrap_servers,
                "broker.address.family": "v4",
                "group.id": "unused",
                "enable.auto.commit": False,
                "fetch.wait.max.ms": 10,
            }
        )
        consumer.assign([TopicPartition(topic, n, 0) for n in range(self._n_partitions)])
        while not self._over.is_set():
            for message in consumer.consume(100, POLL_S):
                value = message.value()
                if not message.error() and value:
                    take(value, time.monotonic())
        consumer.close()

    def _result(self, value: bytes, moment: float) -> None:
        result = results.decode(value)
        if result.scale == 1:
            self.results.setdefault((result.model, result.window_end), moment)

    def _alert(self, value: bytes, moment: float) -> None:
        del moment
        alert = alerts.decode(value)
        self.alerts.setdefault((alert.episode_id, alert.sequence), alert)

    def _page(self) -> None:
        kind = ""
        with urllib.request.urlopen(f"{self._panel_url}/api/stream", timeout=600) as stream:
            for raw in stream:
                name, _, text = raw.decode().rstrip("\r\n").partition(": ")
                if name == "event":
                    kind = text
                    self.connected.set()
                elif name == "data" and kind == "result":
                    data = orjson.loads(text)
                    if data["scale"] == 1:
                        self.pages.setdefault((data["model"], data["window_end"]), time.monotonic())
                if self._over.is_set():
                    return
