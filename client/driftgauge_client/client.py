"""The client: checks, counts, and never lets a problem of the monitoring reach the service."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Any

from driftgauge_client import processes, values
from driftgauge_client.arguments import mapping_of, model_of, n_rows_of, now_ms, reason_of, version_of
from driftgauge_client.arrow import ARROW, ArrowColumns, arrow_columns, table_of
from driftgauge_client.buffer import Buffer, Message, Stats
from driftgauge_client.columns import Given, JSONColumns, event_columns, feedback_columns
from driftgauge_client.notices import Notices, logger
from driftgauge_client.rows import JSON, Kind, RowError, Unusable, encode_event, encode_feedback
from driftgauge_client.sender import Sender, check_kafka
from driftgauge_client.settings import KafkaValue, read_settings

TEARDOWN_S = 0.5


class Client:
    """Sends inferences and feedback to driftgauge in the background.

    Parameters
    ----------
    bootstrap_servers, events_topic, feedback_topic, buffer_bytes, linger_ms, batch_rows
        Each is read from ``DRIFTGAUGE_<NAME>`` when it is not given.
    kafka
        More librdkafka settings, such as TLS and SASL; also ``DRIFTGAUGE_KAFKA_SASL_PASSWORD`` and so on.

    Raises
    ------
    SettingsError
        When a setting cannot work. Nothing else ever raises: rows that cannot be sent are counted in `stats()`
        and logged, at most once a minute per reason.

    Notes
    -----
    One client serves any number of threads and event loops, and goes on working in forked children.
    """

    def __init__(
        self,
        bootstrap_servers: str | None = None,
        *,
        events_topic: str | None = None,
        feedback_topic: str | None = None,
        buffer_bytes: int | None = None,
        linger_ms: int | None = None,
        batch_rows: int | None = None,
        kafka: Mapping[str, KafkaValue] | None = None,
    ) -> None:
        given = {
            "bootstrap_servers": bootstrap_servers,
            "events_topic": events_topic,
            "feedback_topic": feedback_topic,
            "buffer_bytes": buffer_bytes,
            "linger_ms": linger_ms,
            "batch_rows": batch_rows,
            "kafka": kafka,
        }
        self.settings = read_settings(given, os.environ)
        check_kafka(self.settings)
        self._closed = False
        self._begin()
        processes.follow(self)

    def _begin(self) -> None:
        """Make everything that belongs to this process alone."""
        self._notices = Notices()
        self._buffer = Buffer(self.settings.buffer_bytes, self.settings.batch_rows, self.settings.linger_ms / 1000)
        self._buffer.closed = self._closed
        self._sender = Sender(self.settings, self._buffer, self._notices)

    def log(
        self,
        model: str,
        features: Mapping[str, object],
        *,
        prediction: object = None,
        id: object = None,
        time: object = None,
        version: object = "",
        latency_ms: object = None,
        error: object = None,
        slices: Mapping[str, object] | None = None,
        entity: object = None,
        feature_version: object = None,
        metadata: Mapping[str, object] | None = None,
    ) -> None:
        """Send one inference. Takes microseconds, never blocks, never raises.

        Parameters
        ----------
        model, version
            What answered.
        features
            Names to numbers, texts, bools, None, lists of numbers; numpy scalars and arrays as well.
        prediction
            A number, a label, or class probabilities (a mapping, or a sequence for classes 0, 1, …).
        id
            Needed to join feedback later.
        time
            Epoch milliseconds, RFC 3339 text or a datetime (without a zone: UTC); now when left out.
        latency_ms, error
            How long it took; text or an exception when it failed.
        slices, entity, feature_version, metadata
            Named parts of the traffic to watch apart, whom the inference is about, and what is kept beside it.
        """
        try:
            name, release = model_of(model), version_of(version)
            moment = now_ms() if time is None else values.time_ms(time)
            unusable = Unusable()
            row = encode_event(
                features, prediction, id, moment, latency_ms, error, slices, entity, feature_version, metadata, unusable
            )
            self._add("event", name, release, row, unusable)
        except Exception as problem:
            self._refuse("log", problem, 1)

    def feedback(
        self,
        model: str,
        *,
        id: object = None,
        trace_id: str | None = None,
        span_id: str | None = None,
        kind: str = "label",
        value: object = None,
        time: object = None,
        source: str | None = None,
        user: object = None,
    ) -> None:
        """Send what became of one prediction (`id`) or span (`trace_id` and `span_id`); like `log`, never raises.

        Parameters
        ----------
        kind
            ``label`` is the ground truth; ``thumbs``, ``rating``, ``click`` or any other word.
        value
            A number, text or bool.
        """
        try:
            name = model_of(model)
            moment = now_ms() if time is None else values.time_ms(time)
            person = values.identity(user)
            row = encode_feedback(id, trace_id, span_id, moment, kind, value, source, person)
            self._add("feedback", name, "", row, None)
        except Exception as problem:
            self._refuse("feedback", problem, 1)

    def log_many(
        self,
        model: str,
        columns: Any,
        *,
        predictions: Any = None,
        ids: Any = None,
        times: Any = None,
        version: object = "",
        latencies_ms: Any = None,
        errors: Any = None,
        entities: Any = None,
        slices: Mapping[str, Any] | None = None,
        wait: bool = False,
    ) -> None:
        """Send many inferences given as columns, in their order; encodes in the calling thread, never raises.

        Parameters
        ----------
        columns
            A mapping of names to lists or arrays (sent as JSON columns), or a pyarrow Table or RecordBatch, a pandas
            or other DataFrame (sent as Arrow when pyarrow is installed). Every column that is not used otherwise is
            a feature.
        predictions, ids, times, latencies_ms, errors, entities
            A column each, or the name of one in `columns`. `predictions` may also be a mapping of classes to columns
            or an array of rows by classes. `times` may be one moment for all rows.
        slices
            Names to columns, or to names of columns.
        wait
            Block until there is room instead of dropping: for loading data sets, not for services.
        """
        n_rows = n_rows_of(columns)
        try:
            name, release = model_of(model), version_of(version)
            given = Given(predictions, ids, times, latencies_ms, errors, entities, slices or {})
            unusable = Unusable()
            table = None if isinstance(columns, Mapping) else table_of(columns)
            if table is not None:
                self._add_many("event", name, ARROW, arrow_columns(name, release, table, given), unusable, wait)
            else:
                mapping = event_columns(name, release, mapping_of(columns), given, unusable)
                self._add_many("event", name, JSON, mapping, unusable, wait)
        except Exception as problem:
            self._refuse("log_many", problem, n_rows)

    def feedback_many(
        self,
        model: str,
        *,
        values: Any,
        ids: Any = None,
        trace_ids: Any = None,
        span_ids: Any = None,
        kind: Any = "label",
        times: Any = None,
        source: Any = None,
        users: Any = None,
        wait: bool = False,
    ) -> None:
        """Send feedback given as columns; `kind` and `source` may be one text for all rows. Never raises."""
        n_rows = n_rows_of({"values": values})
        try:
            name = model_of(model)
            lists = {
                "values": values,
                "ids": ids,
                "trace_ids": trace_ids,
                "span_ids": span_ids,
                "kind" if isinstance(kind, str) else "kinds": kind,
                "source" if isinstance(source, str) else "sources": source,
                "users": users,
            }
            if ids is None and (trace_ids is None or span_ids is None):
                raise RowError("ids: give the predictions' ids, or trace_ids and span_ids")
            unusable = Unusable()
            self._add_many("feedback", name, JSON, feedback_columns(name, lists, times, unusable), unusable, wait)
        except Exception as problem:
            self._refuse("feedback_many", problem, n_rows)

    def _add(self, kind: Kind, model: str, version: str, row: bytes, unusable: Unusable | None) -> None:
        if len(row) > self.settings.message_bytes:
            raise RowError(f"features: the row has {len(row)} bytes; at most {self.settings.message_bytes} can be sent")
        if unusable is not None and unusable.n_values:
            self._unusable(unusable, model)
        taken = self._buffer.add_row(kind, model, version, row)
        self._after_adding(taken)

    def _add_many(
        self,
        kind: Kind,
        model: str,
        content_type: str,
        many: ArrowColumns | JSONColumns,
        unusable: Unusable,
        wait: bool,
    ) -> None:
        if many.n_refused:
            self._refuse("times", RowError("times: outside 1973 to 2200, or no times"), many.n_refused)
        for value, n_rows in many.messages(self.settings.batch_rows, self.settings.message_bytes):
            if len(value) > self.settings.message_bytes:
                self._refuse("size", RowError(f"columns: a row has {len(value)} bytes"), n_rows)
                continue
            self._start()  # before a wait for room
            taken = self._buffer.add_message(Message(kind, model, value, content_type, n_rows), wait)
            self._after_adding(taken)
        if unusable.n_values:
            self._unusable(unusable, model)

    def _after_adding(self, taken: bool) -> None:
        if not taken:
            why = "the client is closed" if self._closed else "the buffer is full"
            self._notices.say("dropped", f"{why}; {self._buffer.stats().dropped} rows were dropped so far")
            return
        self._start()

    def _start(self) -> None:
        if not self._sender.started and not self._closed:
            self._sender.start()
            processes.close_at_end_of_child()

    def _refuse(self, where: str, problem: Exception, n_rows: int) -> None:
        try:
            self._buffer.count("invalid", n_rows)
            self._notices.say(where, f"{n_rows} rows refused by {where}: {reason_of(problem)}")
        except Exception:  # a logging handler of the service may raise; the service must not notice
            return

    def _unusable(self, unusable: Unusable, model: str) -> None:
        self._buffer.count("unusable_values", unusable.n_values)
        self._notices.say("unusable", f"{unusable.n_values} values of {model!r} cannot be sent and became null")

    def flush(self, timeout: float = 10.0) -> bool:
        """Send all that is buffered; blocks up to `timeout` seconds.

        Returns
        -------
        Whether everything buffered before the call was delivered.
        """
        dropped_before = self._buffer.stats().dropped
        settled = self._sender.settle(time.monotonic() + timeout)
        return settled and self._buffer.stats().dropped == dropped_before

    def close(self, timeout: float = 5.0) -> None:
        """Send what is buffered and end, within `timeout` seconds; what is left by then is lost, counted and logged.

        Runs by itself when the process ends normally.
        """
        if self._closed:
            return
        deadline_s = time.monotonic() + timeout
        self._sender.settle(deadline_s - min(TEARDOWN_S, timeout / 2))
        self._closed = True
        n_lost = self._buffer.close()
        self._sender.stop(deadline_s)
        processes.forget(self)
        if n_lost:
            logger.warning(
                "driftgauge: closed with %d rows not delivered to %s", n_lost, self.settings.bootstrap_servers
            )

    def stats(self) -> Stats:
        """Return what became of the rows so far in this process."""
        return self._buffer.stats()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Client({self.settings.bootstrap_servers!r}, events_topic={self.settings.events_topic!r})"

    def before_fork(self) -> None:
        """Let no producer be half made while the process is copied."""
        self._sender.turning.acquire(timeout=1.0)

    def after_fork_in_parent(self) -> None:
        """Go on."""
        try:
            self._sender.turning.release()
        except RuntimeError:  # it was not acquired in time
            return

    def after_fork_in_child(self) -> None:
        """Begin anew: no rows, no thread; the parent sends its own rows, its producer must never be touched here."""
        processes.abandon(self._sender.producer)
        processes.abandon(self._sender)
        self._begin()
