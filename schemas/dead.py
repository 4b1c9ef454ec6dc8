"""A message that could not be used, kept as it came, with where it was and why.

Key, value and headers stay byte for byte; what we know is added as Kafka Connect's error headers,
so that tools which read Connect's dead letters read these. Where the value may hold what must not
be copied (spans, models with sensitive features) key, value and headers stay behind: topic,
partition and offset say where the original is.

Source: Kafka Connect, KIP-298 (error handling) and its `DeadLetterQueueReporter`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from schemas.records import Record

Headers = list[tuple[str, bytes]]

PREFIX = "__connect.errors."
TOPIC = f"{PREFIX}topic"
PARTITION = f"{PREFIX}partition"
OFFSET = f"{PREFIX}offset"
STAGE = f"{PREFIX}stage"
STAGE_CLASS = f"{PREFIX}class.name"
ERROR_CLASS = f"{PREFIX}exception.class.name"
MESSAGE = f"{PREFIX}exception.message"
REASON = "driftgauge.reason"
KEPT = "driftgauge.kept"

MAX_DETAIL = 1_000


class DeadLetter(NamedTuple):
    """A dead letter as read back.

    `reason` is one word of a small fixed set, `detail` is for people. `key`, `value` and `headers`
    are the original's; where `kept` is false they stayed behind and are empty here. `n_deaths`
    counts the times it died: one that is put back with its headers and dies again has more than one.
    """

    topic: str
    partition: int
    offset: int
    stage: str
    reason: str
    detail: str
    error_class: str
    kept: bool
    key: bytes | None
    value: bytes | None
    headers: Headers
    n_deaths: int


def dead_letter(
    key: bytes | None,
    value: bytes | None,
    headers: Sequence[tuple[str, bytes]] | None,
    *,
    topic: str,
    partition: int,
    offset: int,
    stage: str,
    reason: str,
    error_class: str,
    detail: str = "",
    keep_value: bool = True,
) -> tuple[bytes | None, bytes | None, Headers]:
    """Build the record for the dead-letter topic.

    Parameters
    ----------
    key, value, headers
        Of the message that could not be used.
    topic, partition, offset
        Where it was read.
    stage
        What failed, as ``profile`` or ``forward``.
    reason
        One word of a small fixed set; it labels a metric.
    error_class
        The class of the error, without its message.
    detail
        For people; cut at 1,000 characters. Must quote nothing of a message that is not kept.
    keep_value
        False leaves out key, value and headers of the original.

    Returns
    -------
    Key, value and headers to produce. Ours stand last and begin with the topic, so that the
    original's are what stands before, whatever their names.
    """
    ours: Headers = [
        (TOPIC, topic.encode()),
        (PARTITION, str(partition).encode()),
        (OFFSET, str(offset).encode()),
        (STAGE, stage.encode()),
        (STAGE_CLASS, f"driftgauge.{stage}".encode()),
        (ERROR_CLASS, error_class.encode(errors="replace")),
        (MESSAGE, (detail or reason)[:MAX_DETAIL].encode(errors="replace")),
        (REASON, reason.encode(errors="replace")),
        (KEPT, b"1" if keep_value else b"0"),
    ]
    if not keep_value:
        return None, None, ours
    return key, value, [*(headers or ()), *ours]


def read_dead(record: Record) -> DeadLetter:
    """Read a record of the dead-letter topic.

    Raises
    ------
    ValueError
        A header of a dead letter is missing or no number: something else wrote this record.
    """
    headers = list(record.headers or ())
    starts = [index for index, (name, _) in enumerate(headers) if name == TOPIC]
    where = f"{record.topic}[{record.partition}]@{record.offset} is no dead letter"
    if not starts:
        raise ValueError(f"{where}: header {TOPIC} is missing")
    text = {name: (value or b"").decode(errors="replace") for name, value in headers[starts[-1] :]}
    for name in (PARTITION, OFFSET):
        if not text.get(name, "").removeprefix("-").isdecimal():
            raise ValueError(f"{where}: header {name} is not a whole number")
    kept = text.get(KEPT, "1") == "1"
    return DeadLetter(
        topic=text[TOPIC],
        partition=int(text[PARTITION]),
        offset=int(text[OFFSET]),
        stage=text.get(STAGE, ""),
        reason=text.get(REASON, ""),
        detail=text.get(MESSAGE, ""),
        error_class=text.get(ERROR_CLASS, ""),
        kept=kept,
        key=record.key if kept else None,
        value=record.value if kept else None,
        headers=headers[: starts[-1]] if kept else [],
        n_deaths=len(starts),
    )
