"""Messages to rows of tables. Pure: the same message gives the same rows, byte for byte."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from schemas import alerts
from schemas.alerts import Alert
from schemas.columns import Batch
from schemas.records import Record
from schemas.results import FeatureVerdict, Result
from streams.sinks import tables

Rows = Mapping[str, pa.RecordBatch | pa.Table]
"""Rows by the name of their table; a table without rows is absent."""

_TIE = 1 << 20


class Feedback(Protocol):
    """What is read of `schemas.feedback.FeedbackBatch`: parallel lists, times in epoch milliseconds."""

    @property
    def model(self) -> Sequence[str]: ...
    @property
    def id(self) -> Sequence[str]: ...
    @property
    def trace_id(self) -> Sequence[str]: ...
    @property
    def span_id(self) -> Sequence[str]: ...
    @property
    def time(self) -> Sequence[int]: ...
    @property
    def kind(self) -> Sequence[str]: ...
    @property
    def value_text(self) -> Sequence[str | None]: ...
    @property
    def value_number(self) -> Sequence[float | None]: ...
    @property
    def source(self) -> Sequence[str]: ...
    @property
    def user(self) -> Sequence[str]: ...
    @property
    def offset(self) -> Sequence[int]: ...


def rows_of_result(result: Result) -> Rows:
    """Return the rows of one result: `results`, `profiles`, `warnings` and `windows`."""
    return rows_of_results([result])


def rows_of_results(results: Sequence[Result]) -> Rows:
    """Return the rows of several results; faster than one by one."""
    features = [(result, n, feature) for result in results for n, feature in enumerate(result.features)]
    return _rows(
        windows=[_window(result) for result in results],
        results=[_feature(*each) for each in features],
        profiles=[_profile(result, feature) for result, _, feature in features if feature.counts],
        warnings=[
            (
                *(*_identity(result), result.slice, result.scale, result.window_start, result.revision),
                *(warning.feature, warning.detector, warning.time, warning.before, warning.after),
            )
            for result in results
            for warning in result.warnings
        ],
    )


def rows_of_alert(alert: Alert) -> Rows:
    """Return the row of one state of an alert; `body` is the message itself."""
    return rows_of_alerts([alert])


def rows_of_alerts(states: Iterable[Alert]) -> Rows:
    """Return the rows of several states of alerts."""
    return _rows(
        alerts=[
            (
                *(alert.episode_id, alert.sequence, alert.state, alert.previous or "", alert.why),
                *(alert.model, alert.version, alert.slice, alert.severity, alert.opened, alert.time),
                *([each.feature for each in alert.features], alert.by or "", alert.label or "", alerts.encode(alert)),
            )
            for alert in states
        ]
    )


def rows_of_batch(batch: Batch, topic: str, partition: int) -> Rows:
    """Return the predictions of a batch of events; nothing when it has none.

    Each row carries its place (topic, partition, offset, ordinal in the record), so that rows without
    an id stay separate and a record read twice is one row.
    """
    column = batch.columns.get("prediction")
    n_rows = len(batch.times)
    if column is None or not n_rows:
        return {}
    if column.numbers is None:
        numbers = pa.nulls(n_rows, tables.F64)
    else:
        numbers = pa.array(column.numbers.astype(np.float64), from_pandas=True)
    labels = pa.repeat(pa.scalar(""), n_rows)
    if column.codes is not None:
        levels = pa.array(["", *column.levels], tables.TEXT)
        labels = levels.take(pa.array(column.codes + 1))
    ids = batch.ids or [""] * n_rows
    arrays = {
        "model": pa.repeat(pa.scalar(batch.model), n_rows),
        "id": pa.array([each or "" for each in ids], tables.TEXT),
        "version": pa.repeat(pa.scalar(batch.version), n_rows),
        "time": pa.array(np.asarray(batch.times, np.int64)).cast(tables.TIME),
        "prediction": numbers,
        "label": labels,
        "source_topic": pa.repeat(pa.scalar(topic), n_rows),
        "source_partition": pa.repeat(pa.scalar(partition, tables.U32), n_rows),
        "source_offset": pa.array(np.asarray(batch.offsets, np.uint64)),
        "ordinal": pa.array(_ordinals(batch.offsets)),
    }
    return {
        "predictions": pa.record_batch([arrays[name] for name in tables.PREDICTIONS.names], schema=tables.PREDICTIONS)
    }


def rows_of_feedback(feedback: Feedback) -> Rows:
    """Return the rows of a batch of feedback; the newest by time wins, at equal times the later offset."""
    revision = [_newest(time, offset) for time, offset in zip(feedback.time, feedback.offset, strict=True)]
    if not revision:
        return {}
    columns = (
        *(feedback.model, feedback.id, feedback.trace_id, feedback.span_id, feedback.kind, feedback.source),
        *(feedback.time, revision, feedback.value_text, feedback.value_number, feedback.user),
    )
    return {"feedback": _batch(tables.FEEDBACK, columns)}


def rows_of_control(records: Iterable[Record]) -> Rows:
    """Return records of baselines and monitors as they are; a tombstone stays as one."""
    return _rows(
        control=[
            (
                *(record.topic, record.key or b"", record.value or b"", record.value is None, record.timestamp),
                *(record.partition, record.offset, _newest(record.timestamp, record.offset)),
            )
            for record in records
        ]
    )


def merge(parts: Iterable[Rows]) -> dict[str, pa.Table]:
    """Return the rows of several messages as one table each, in the given order."""
    pieces: dict[str, list[pa.Table]] = {}
    for rows in parts:
        for table, batch in rows.items():
            whole = pa.Table.from_batches([batch]) if isinstance(batch, pa.RecordBatch) else batch
            pieces.setdefault(table, []).append(whole)
    return {name: pa.concat_tables(pieces[name]) for name in tables.TABLES if name in pieces}


def _rows(**rows: list[tuple[Any, ...]]) -> Rows:
    return {table: _batch(tables.TABLES[table], list(zip(*many, strict=True))) for table, many in rows.items() if many}


def _batch(schema: pa.Schema, columns: Sequence[Sequence[Any]]) -> pa.RecordBatch:
    arrays = [pa.array(values, field.type) for values, field in zip(columns, schema, strict=True)]
    return pa.record_batch(arrays, schema=schema)


def _newest(time_ms: int, offset: int) -> int:
    """Order by time and, at equal times, by offset: a broker that starts over counts offsets from 0 again."""
    return max(0, time_ms) * _TIE + offset % _TIE


def _ordinals(offsets: Any) -> Any:
    """Return the place of each row among the rows with its offset, in the order they are read."""
    values = np.asarray(offsets, np.int64)
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    first = np.r_[True, ordered[1:] != ordered[:-1]]
    place = np.arange(len(values))
    ordinals = np.empty(len(values), np.uint32)
    ordinals[order] = place - np.maximum.accumulate(np.where(first, place, 0))
    return ordinals


def _identity(result: Result) -> tuple[Any, ...]:
    return (result.run_id, result.model, result.version, result.baseline_id)


def _window(result: Result) -> tuple[Any, ...]:
    n_drifted = sum(feature.verdict == "drift" for feature in result.features)
    return (
        *_identity(result),
        *(result.slice, result.scale, result.window_start, result.window_end, result.revision, result.sealed),
        *(result.state, result.rows, result.late_rows, result.monitor_version, len(result.features), n_drifted),
        *(result.unknown_features, result.flags, result.late_after_final),
        *([{"version": version, "time": time} for version, time in result.deployments], result.produced_at),
    )


def _feature(result: Result, position: int, feature: FeatureVerdict) -> tuple[Any, ...]:
    tests = feature.tests.values()
    return (
        *(*_identity(result), result.slice, feature.feature, result.scale, result.window_start, result.window_end),
        *(result.revision, result.sealed, position, feature.verdict, feature.severity, feature.reason),
        *(feature.rows, result.late_rows, feature.missing, feature.unseen, feature.type_errors),
        *(feature.before, feature.after, [dict(zip(_BIN, each, strict=True)) for each in feature.top_bins]),
        *(list(feature.tests), [test.value for test in tests], [test.noise for test in tests]),
        *([test.line for test in tests], [test.effect for test in tests]),
        [None if test.interval is None else test.interval[0] for test in tests],
        [None if test.interval is None else test.interval[1] for test in tests],
        *([test.drifted for test in tests], result.flags, result.produced_at),
    )


_BIN = ("bin", "reference", "current")


def _profile(result: Result, feature: FeatureVerdict) -> tuple[Any, ...]:
    return (
        *(result.run_id, result.model, result.baseline_id, result.slice, feature.feature, result.scale),
        *(result.window_start, result.window_end, result.revision, feature.counts),
    )
