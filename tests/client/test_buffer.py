"""The bounded memory."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from driftgauge_client import Client
from driftgauge_client.buffer import Buffer, Group, Message

ROW = b"x" * 952  # 1,000 bytes with what it takes to keep it


def message(n_rows: int = 10) -> Message:
    return Message("event", "m", ROW, "application/json", n_rows)


def test_newest_row_is_dropped_and_counted_when_full() -> None:
    buffer = Buffer(3_000, batch_rows=10, linger_s=0.0)
    taken = [buffer.add_row("event", "m", "", ROW[:-1] + letter) for letter in (b"a", b"b", b"c", b"d", b"e")]
    assert taken == [True, True, True, False, False]
    group = buffer.take()
    assert isinstance(group, Group)
    assert [row[-1:] for row in group.rows] == [b"a", b"b", b"c"]
    assert buffer.stats().dropped == 2
    assert buffer.stats().buffered == 3
    assert buffer.stats().buffered_bytes == 3_000


def test_messages_with_kafkas_library_still_count_as_memory() -> None:
    buffer = Buffer(2_500, batch_rows=10, linger_s=0.0)
    for _ in range(2):
        assert buffer.add_message(message(), wait=False)
    first = buffer.take()
    assert isinstance(first, Message)
    buffer.handed_over(first)
    assert not buffer.add_message(message(), wait=False)
    buffer.settled(first, delivered=True)
    assert buffer.add_message(message(), wait=False)
    stats = buffer.stats()
    assert (stats.sent, stats.delivered, stats.dropped, stats.buffered) == (10, 10, 10, 20)


def test_group_is_due_when_full_or_old() -> None:
    buffer = Buffer(1 << 20, batch_rows=2, linger_s=60.0)
    buffer.add_row("event", "m", "", b"a")
    assert buffer.take() is None
    assert 0 < (buffer.due_in_s() or 0) <= 60
    buffer.add_row("event", "m", "", b"b")
    group = buffer.take()
    assert isinstance(group, Group)
    assert group.rows == [b"a", b"b"]
    assert buffer.due_in_s() is None


def test_flush_mark_waits_only_for_what_came_before() -> None:
    buffer = Buffer(1 << 20, batch_rows=2, linger_s=60.0)
    buffer.add_message(message(), wait=False)
    mark = buffer.seal_all()
    buffer.add_message(message(), wait=False)
    first = buffer.take()
    assert isinstance(first, Message)
    buffer.handed_over(first)
    assert not buffer.is_settled(mark)
    buffer.settled(first, delivered=False)
    assert buffer.is_settled(mark)
    assert not buffer.is_settled(buffer.seal_all())


def test_group_that_became_several_messages_settles_with_the_last() -> None:
    buffer = Buffer(1 << 20, batch_rows=2, linger_s=0.0)
    buffer.add_row("event", "m", "", b"a")
    buffer.add_row("event", "m", "", b"b")
    mark = buffer.seal_all()
    group = buffer.take()
    assert isinstance(group, Group)
    parts = [Message("event", "m", b"a", "", 1, group.epoch), Message("event", "m", b"b", "", 1, group.epoch)]
    buffer.replace(group, parts)
    for part in parts:
        assert not buffer.is_settled(mark)
        buffer.handed_over(part)
        buffer.settled(part, delivered=True)
    assert buffer.is_settled(mark)
    assert buffer.stats().buffered_bytes == 0


def test_rows_that_could_not_be_encoded_are_invalid_and_settled() -> None:
    buffer = Buffer(1 << 20, batch_rows=2, linger_s=0.0)
    buffer.add_row("event", "m", "", b"not json")
    mark = buffer.seal_all()
    group = buffer.take()
    assert isinstance(group, Group)
    buffer.replace(group, [])
    assert buffer.is_settled(mark)
    assert (buffer.stats().invalid, buffer.stats().buffered, buffer.stats().buffered_bytes) == (1, 0, 0)


def test_closing_counts_what_is_left() -> None:
    buffer = Buffer(1 << 20, batch_rows=2, linger_s=60.0)
    for _ in range(3):
        buffer.add_row("event", "m", "", b"a")
    buffer.add_message(message(10), wait=False)
    late = message(5)
    buffer.add_message(late, wait=False)
    for _ in range(3):
        taken = buffer.take()
    assert isinstance(taken, Message)
    buffer.handed_over(taken)
    assert buffer.close() == 18
    buffer.settled(taken, delivered=True)
    assert not buffer.add_row("event", "m", "", b"a")
    stats = buffer.stats()
    assert (stats.dropped, stats.delivered, stats.buffered) == (19, 0, 0)


def test_full_client_says_so_once(unreachable: Callable[..., Client], caplog: pytest.LogCaptureFixture) -> None:
    client = unreachable(buffer_bytes=2 * 1024 * 1024)
    for _ in range(60):
        client.log("m", {"text": "x" * 50_000})
    stats = client.stats()
    assert stats.dropped > 0
    assert stats.dropped + stats.buffered == 60
    assert stats.buffered_bytes <= 2 * 1024 * 1024
    assert len([record for record in caplog.records if "buffer is full" in record.message]) == 1
