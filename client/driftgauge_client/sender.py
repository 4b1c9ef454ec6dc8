"""The background thread: groups become messages, messages go to Kafka, confirmations are counted."""

from __future__ import annotations

import threading
import time
from collections import deque
from contextlib import suppress
from functools import partial
from queue import Empty

from confluent_kafka import KafkaError, KafkaException, Producer

from driftgauge_client.buffer import Buffer, Group, Message
from driftgauge_client.notices import Notices, logger
from driftgauge_client.rows import JSON, encode_rows
from driftgauge_client.settings import MIB, Settings, SettingsError

IDLE_S = 1.0
POLL_S = 0.05
BREATH_S = 0.000_05


def check_kafka(settings: Settings) -> None:
    """Raise SettingsError when Kafka's library refuses the settings; no connection is needed.

    Notes
    -----
    A producer is only ever made in a thread other than the main one: a signal handler's exception, SystemExit say,
    would be lost inside confluent-kafka.
    """
    reasons: list[str] = []

    def check() -> None:
        try:
            Producer(settings.producer_config(), logger=logger).purge()
        except (KafkaException, TypeError, ValueError) as error:
            reasons.append(error.args[0].str() if isinstance(error, KafkaException) else type(error).__name__)

    thread = threading.Thread(target=check, name="driftgauge-client-check", daemon=True)
    try:
        thread.start()
    except RuntimeError:  # the interpreter ends: there are no new threads, and nothing to refuse any more
        return
    thread.join()
    if reasons:
        raise SettingsError(f"kafka: {reasons[0]}")


class Sender:
    """Owns the producer and the thread; both are made when the first row comes."""

    def __init__(self, settings: Settings, buffer: Buffer, notices: Notices) -> None:
        self.producer: Producer | None = None
        self.turning = threading.RLock()
        self._settings = settings
        self._buffer = buffer
        self._notices = notices
        self._topics = {"event": settings.events_topic, "feedback": settings.feedback_topic}
        self._unsent: deque[Message] = deque()
        self._starting = threading.Lock()  # taken once, for good
        self._thread: threading.Thread | None = None
        self._stopping = False
        self._fatal = False

    @property
    def started(self) -> bool:
        """Return whether the thread was asked to run."""
        return self._thread is not None

    @property
    def running(self) -> bool:
        """Return whether the thread runs."""
        return self._thread is not None and self._thread.is_alive()

    def start(self) -> None:
        """Start the thread once. While the interpreter ends there can be none: `settle` does its work then.

        A signal handler may close the client in the middle of this: no lock the thread needs is held.
        """
        if self._stopping or not self._starting.acquire(blocking=False):
            return
        self._thread = threading.Thread(target=self._run, name="driftgauge-client", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:
            self._notices.say("thread", "no background thread can be started; rows are sent at flush or close")

    def _run(self) -> None:
        while not self._stopping:
            try:
                self.turn()
                self._wait()
            except Exception as error:
                self._notices.say("sender", f"sending failed and is tried again: {type(error).__name__}: {error}")
                time.sleep(IDLE_S)

    def _wait(self) -> None:
        due_s = self._buffer.due_in_s()
        if self.producer is not None and (self._buffer.in_flight_bytes or due_s == 0.0):
            self.producer.poll(POLL_S)  # returns at the first confirmation
            return
        wake = self._buffer.wake
        with suppress(Empty):
            wake.get(timeout=IDLE_S if due_s is None else max(due_s, 0.001))
            while True:
                wake.get_nowait()

    def turn(self) -> None:
        """Send what is due, as far as Kafka's library has room, and count what was confirmed."""
        with self.turning:
            while self._buffer.in_flight_bytes < self._settings.in_flight_bytes:
                if not self._unsent and not self._encode_next():
                    break
                if not self._produce(self._unsent[0]):
                    break
                self._unsent.popleft()
            if self.producer is not None:
                self.producer.poll(0)
            if self._fatal:
                self._renew()

    def _encode_next(self) -> bool:
        item = self._buffer.take()
        if item is None:
            return False
        if isinstance(item, Message):
            self._unsent.append(item)
            return True
        messages = self._encode(item)
        self._buffer.replace(item, messages)
        self._unsent.extend(messages)
        return bool(self._unsent) or self._encode_next()

    def _encode(self, group: Group) -> list[Message]:
        try:
            encoded = list(
                encode_rows(
                    group.kind, group.model, group.version, group.rows, self._settings.message_bytes, self._breathe
                )
            )
        except (TypeError, ValueError) as error:
            self._notices.say("encode", f"{len(group.rows)} rows could not be encoded: {error}")
            return []
        return [Message(group.kind, group.model, value, JSON, n_rows, group.epoch) for value, n_rows in encoded]

    def _breathe(self) -> None:
        """Give the interpreter's lock to the service's threads, unless the memory fills up."""
        if not self._buffer.crowded:
            time.sleep(BREATH_S)

    def _produce(self, message: Message) -> bool:
        """Hand a message to Kafka's library; False when it has no room."""
        if self.producer is None:
            self.producer = Producer({**self._settings.producer_config(), "error_cb": self._on_error}, logger=logger)
        try:
            self.producer.produce(
                self._topics[message.kind],
                message.value,
                message.model.encode(),
                headers=[("content-type", message.content_type.encode())],
                on_delivery=partial(self._on_delivery, message),
            )
        except BufferError:
            return False
        except KafkaException as error:
            if error.args[0].fatal() or self._fatal:
                self._fatal = True
                return False
            self._buffer.settled(message, delivered=False, in_flight=False)
            self._lost(message, error.args[0])
            return True
        self._buffer.handed_over(message)
        return True

    def _on_delivery(self, message: Message, error: KafkaError | None, _: object) -> None:
        self._buffer.settled(message, delivered=error is None)
        if error is not None and not self._stopping:
            self._lost(message, error)

    def _lost(self, message: Message, error: KafkaError) -> None:
        topic = self._topics[message.kind]
        self._notices.say("lost", f"{message.n_rows} rows of {message.model!r} not delivered to {topic}: {error.str()}")

    def _on_error(self, error: KafkaError) -> None:
        self._fatal = self._fatal or error.fatal()
        self._notices.say(
            "kafka",
            f"Kafka at {self._settings.bootstrap_servers}: {error.str()}; up to "
            f"{self._settings.buffer_bytes // MIB} MiB of rows wait in memory",
        )

    def _renew(self) -> None:
        """Replace a producer that reported a fatal error; what it held is lost and counted."""
        if self.producer is not None:
            self.producer.purge()
            self.producer.flush(0)
        self.producer = None
        self._fatal = False

    def settle(self, deadline_s: float) -> bool:
        """Send everything buffered by now; return whether it left before the deadline (`time.monotonic`)."""
        mark = self._buffer.seal_all()
        while not self._buffer.is_settled(mark):
            left_s = deadline_s - time.monotonic()
            if left_s <= 0:
                return False
            if self.running and threading.current_thread() is not self._thread:
                self._buffer.wait_settled(mark, min(left_s, 0.25))
                continue
            self.turn()
            if self.producer is not None:
                self.producer.poll(min(left_s, 0.05))
        return True

    def stop(self, deadline_s: float) -> None:
        """End the thread and give up what Kafka's library holds."""
        self._stopping = True
        self._buffer.wake.put(None)
        if self.running and threading.current_thread() is not self._thread and self._thread is not None:
            self._thread.join(max(deadline_s - time.monotonic(), 0.05))
        if self.producer is not None and not self.running:
            self.producer.purge()
            self.producer.poll(0)
            self.producer = None
