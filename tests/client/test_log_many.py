"""Many inferences at once: columns, DataFrames and Arrow tables."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from driftgauge_client import Client
from driftgauge_client.arrow import ARROW

from schemas import events
from schemas.columns import Batch
from tests.brokers import Broker
from tests.client.support import Line

T0 = 1_772_366_400_000
N = 3_000
X = np.random.default_rng(7).normal(size=N)
CITIES = [("Lyon", "Paris", None)[row % 3] for row in range(N)]
TIMES = [T0 + 1_000 * row for row in range(N)]


def frame() -> pd.DataFrame:
    return pd.DataFrame({"id": range(N), "at": TIMES, "x": X, "city": CITIES, "score": X / 2})


def as_table() -> pa.Table:
    return pa.Table.from_pandas(frame(), preserve_index=False)


def as_columns() -> dict[str, Any]:
    return {"id": list(range(N)), "at": np.array(TIMES), "x": X, "city": CITIES, "score": (X / 2).tolist()}


def with_categories_and_timestamps() -> pd.DataFrame:
    table = frame()
    table["city"] = table["city"].astype("category")
    table["at"] = pd.to_datetime(table["at"], unit="ms", utc=True)
    return table


SHAPES: dict[str, tuple[Callable[[], Any], bytes]] = {
    "mapping": (as_columns, b"application/json"),
    "DataFrame": (frame, ARROW.encode()),
    "DataFrame with categories": (with_categories_and_timestamps, ARROW.encode()),
    "Table": (as_table, ARROW.encode()),
    "RecordBatch": (lambda: as_table().to_batches()[0], ARROW.encode()),
}


def joined(batches: list[Batch], column: str) -> list[float]:
    numbers = [batch.columns[column].numbers for batch in batches]
    return [float(value) for part in numbers if part is not None for value in part]


def test_events_of_one_model_keep_their_order_on_every_broker(broker: Broker) -> None:
    line = Line.on(broker)
    with Client(**line.arguments(), batch_rows=100) as client:
        for version in ("1", "2"):
            client.log_many("columns", as_columns(), ids="id", times="at", version=version, wait=True)
            client.log_many("arrow", as_table(), ids="id", times="at", version=version, wait=True)
        client.feedback_many("columns", ids=range(N), values=X, times=TIMES, wait=True)
    assert client.stats().delivered == 5 * N
    for batch in line.batches():
        assert batch.ids == [str(row) for row in range(N)]
    assert line.feedback().value_number == X.tolist()
    assert len({(record.key, record.partition) for record in line.records(line.events_topic)}) == 2


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_arrives_exactly_and_in_order(client: Client, line: Line, shape: str) -> None:
    make, content_type = SHAPES[shape]
    client.log_many("m", make(), ids="id", times="at", predictions="score", version="3", latencies_ms=X * X)
    assert client.flush()
    batches = line.batches()
    assert {(batch.model, batch.version) for batch in batches} == {("m", "3")}
    assert [one for batch in batches for one in batch.ids or []] == [str(row) for row in range(N)]
    assert [int(time) for batch in batches for time in batch.times] == TIMES
    assert joined(batches, "x") == X.tolist()
    assert joined(batches, "prediction") == (X / 2).tolist()
    assert joined(batches, "latency_ms") == (X * X).tolist()
    cities = [
        column.levels[code] if code >= 0 else None
        for batch in batches
        if (column := batch.columns["city"]).codes is not None
        for code in column.codes
    ]
    assert cities == CITIES
    assert set(batches[0].columns) == {"x", "city", "prediction", "latency_ms"}
    assert {dict(record.headers)["content-type"] for record in line.records(line.events_topic)} == {content_type}
    assert client.stats().delivered == N


def test_messages_stay_below_the_limit(line: Line) -> None:
    rng = np.random.default_rng(1)
    n_rows = 1_000  # the embedded broker keeps 5 MB of a partition
    wide = {f"feature {number}": rng.normal(size=n_rows) for number in range(150)}
    with Client(**line.arguments(), batch_rows=10_000) as client:
        client.log_many("json", wide, ids=range(n_rows))
        client.log_many("arrow", pd.DataFrame(wide), ids=range(n_rows))
    records = line.records(line.events_topic)
    assert max(len(record.value or b"") for record in records) <= 900_000
    assert len(records) > 5
    assert sorted(line.ids(), key=str) == sorted([str(row) for row in range(n_rows)] * 2)


@pytest.mark.parametrize("make", [as_columns, as_table])
def test_rows_with_impossible_times_are_left_out_and_counted(
    client: Client, line: Line, make: Callable[[], Any], caplog: pytest.LogCaptureFixture
) -> None:
    times: list[Any] = [*TIMES[:-2], None, 12]
    client.log_many("m", make(), ids="id", times=times)
    assert client.flush()
    assert line.ids() == [str(row) for row in range(N - 2)]
    assert client.stats().invalid == 2
    assert "2 rows refused" in caplog.text


@pytest.mark.parametrize("wrap", [dict, pd.DataFrame])
def test_class_probabilities_arrive_per_class(client: Client, line: Line, wrap: Callable[[Any], Any]) -> None:
    probabilities = np.array([[0.25, 0.75], [0.5, 0.5]])
    client.log_many("array", wrap({"x": [1.0, 2.0]}), predictions=probabilities)
    client.log_many("mapping", wrap({"x": [1.0, 2.0], "p": [0.25, 0.5]}), predictions={"0": "p", "1": [0.75, 0.5]})
    assert client.flush()
    for batch in line.batches():
        assert joined([batch], "prediction.1") == [0.75, 0.5]
        assert set(batch.columns) == {"x", "prediction.0", "prediction.1", "confidence", "entropy", "prediction"}


def test_a_frame_with_columns_of_mixed_types_goes_as_json(client: Client, line: Line) -> None:
    mixed = pd.DataFrame({"odd": [1, "a", None], "x": [0.1, np.nan, 0.3]})
    client.log_many("m", mixed)
    assert client.flush()
    assert line.messages()[0]["columns"] == {"odd": [1, "a", None], "x": [0.1, None, 0.3]}


def test_slices_errors_and_entities_are_kept(client: Client, line: Line) -> None:
    columns = {"x": [1, 2], "land": ["FR", "DE"]}
    client.log_many("m", columns, slices={"country": "land"}, errors=[None, "late"], entities=[7, 8], times=T0)
    assert client.flush()
    (message,) = line.messages()
    assert message["slices"] == {"country": ["FR", "DE"]}
    assert message["errors"] == [None, "late"]
    assert message["entities"] == ["7", "8"]
    assert message["times"] == [T0, T0]
    assert message["columns"] == {"x": [1, 2]}


def test_dates_of_arrow_become_epoch_milliseconds(client: Client, line: Line) -> None:
    moment = datetime(2026, 3, 1, 12, tzinfo=UTC)
    table = pa.table({"seen": pa.array([moment], pa.timestamp("us", tz="UTC")), "day": pa.array([moment.date()])})
    client.log_many("m", table, times=moment)
    assert client.flush()
    (batch,) = line.batches()
    assert joined([batch], "seen") == [float(T0)]
    assert joined([batch], "day") == [float(T0 - 43_200_000)]
    assert batch.times.tolist() == [T0]


def test_rows_of_log_and_log_many_keep_their_order(line: Line) -> None:
    with Client(**line.arguments(), linger_ms=60_000) as client:
        client.log("m", {"x": 1}, id="a")
        client.log_many("m", {"x": [1, 2]}, ids=["b", "c"])
        client.log("m", {"x": 1}, id="d")
        client.log_many("m", pd.DataFrame({"x": [1, 2]}), ids=["e", "f"])
    decoded = [events.decode([record]).batches[0] for record in line.records(line.events_topic)]
    ids = [one for batch in decoded for one in batch.ids or []]
    assert ids == ["a", "b", "c", "d", "e", "f"]


def test_wait_blocks_for_room_and_loses_nothing(line: Line) -> None:
    rng = np.random.default_rng(3)
    n_rows = 40_000
    columns = {f"f{number}": rng.normal(size=n_rows) for number in range(20)}
    with Client(**line.arguments(), buffer_bytes=2 * 1024 * 1024) as client:
        client.log_many("patient", columns, wait=True)
        assert client.stats().dropped == 0
        client.log_many("hasty", columns)
        assert client.flush(30)
        stats = client.stats()
        assert stats.delivered + stats.dropped == 2 * n_rows
        assert stats.dropped > 0


def test_wait_ends_when_the_client_is_closed(unreachable: Callable[..., Client]) -> None:
    client = unreachable(buffer_bytes=2 * 1024 * 1024)
    columns = {"text": ["x" * 1_000] * 5_000}
    waiting = threading.Thread(target=client.log_many, args=("m", columns), kwargs={"wait": True})
    waiting.start()
    client.close(0.2)
    waiting.join(5)
    assert not waiting.is_alive()
    assert client.stats().dropped == 5_000


def test_pandas_and_pyarrow_are_not_imported_for_columns() -> None:
    program = """
import sys
from driftgauge_client import Client
client = Client("127.0.0.1:9")
client.log("m", {"x": 1})
client.log_many("m", {"x": [1, 2]})
assert client.stats().buffered == 3
client.close(0)
print(sorted({"numpy", "pandas", "pyarrow"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout == "[]\n"
