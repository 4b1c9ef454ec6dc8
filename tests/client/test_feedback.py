"""Feedback, from the client to driftgauge's decoder."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pandas as pd
from driftgauge_client import Client

from tests.client.support import Line

T0 = 1_772_366_400_000


def test_feedback_arrives_with_every_field(client: Client, line: Line) -> None:
    client.feedback("m", id=17, value=np.int64(1), time=T0, source="crm", user="u1")
    client.feedback("m", trace_id="ab" * 16, span_id="cd" * 8, kind="verbatim", value="too long", time=T0 + 1)
    client.feedback("m", id="a", kind="thumbs", value=True, time=datetime(2026, 3, 1, 12, tzinfo=UTC))
    assert client.flush()
    batch = line.feedback()
    assert batch.id == ["17", "", "a"]
    assert batch.trace_id == ["", "ab" * 16, ""]
    assert batch.span_id == ["", "cd" * 8, ""]
    assert batch.time == [T0, T0 + 1, T0]
    assert batch.kind == ["label", "verbatim", "thumbs"]
    assert batch.value_number == [1.0, None, 1.0]
    assert batch.value_text == [None, "too long", None]
    assert batch.source == ["crm", "", ""]
    assert batch.user == ["u1", "", ""]
    (record,) = line.records(line.feedback_topic)
    assert record.key == b"m"
    assert record.headers == [("content-type", b"application/json")]


def test_feedback_columns_arrive_in_order(client: Client, line: Line) -> None:
    n_rows = 2_500
    labels = np.arange(n_rows) % 2
    client.feedback_many("m", ids=np.arange(n_rows), values=labels, times=[T0 + row for row in range(n_rows)])
    assert client.flush()
    batch = line.feedback()
    assert batch.id == [str(row) for row in range(n_rows)]
    assert batch.value_number == labels.tolist()
    assert batch.time == [T0 + row for row in range(n_rows)]
    assert set(batch.kind) == {"label"}
    assert client.stats().delivered == n_rows


def test_feedback_columns_may_differ_in_kind_and_source(client: Client, line: Line) -> None:
    client.feedback_many("m", ids=["a", "b"], values=[1, "x"], kind=["thumbs", "verbatim"], source="app", times=T0)
    assert client.flush()
    batch = line.feedback()
    assert batch.kind == ["thumbs", "verbatim"]
    assert batch.source == ["app", "app"]
    assert (batch.value_number, batch.value_text) == ([1.0, None], [None, "x"])


def test_missing_labels_are_left_out_and_counted(client: Client, line: Line) -> None:
    labels = pd.Series([1.0, np.nan, 0.0, 1.0])
    client.feedback_many("m", ids=["a", "b", "c", "d"], values=labels, times=[T0, T0, 5, T0])
    assert client.flush()
    assert line.feedback().id == ["a", "d"]
    assert client.stats().invalid == 2
