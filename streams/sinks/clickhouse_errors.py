"""What a failed attempt at ClickHouse means: it passes, the rows are at fault, or the configuration is."""

from __future__ import annotations

import re

from clickhouse_connect.driver.exceptions import Error

from streams.sinks.errors import SinkMisconfigured, SinkRejected
from streams.sinks.retries import TryAgain

_STATUS = re.compile(r"HTTP status (\d+)")
# Error codes of ClickHouse (`system.errors` names them). What is in neither set is taken to pass.
_ROWS_AT_FAULT = frozenset(
    [6, 25, 26, 27, 38, 41, 53, 69, 70, 72, 117, 130, 131, 190, 307, 321, 349, 396, 441, 469, 691]
)
_TABLES = "the tables are not those of this version: run the store role's migrations"
_SETTING_AT_FAULT = {
    **dict.fromkeys(
        [192, 193, 194, 497, 516], "check DRIFTGAUGE_CLICKHOUSE_USER, DRIFTGAUGE_CLICKHOUSE_PASSWORD and grants"
    ),
    **dict.fromkeys([8, 10, 16, 20, 36, 43, 44, 46, 47, 50, 60, 62, 73, 81, 377], _TABLES),
    **dict.fromkeys([115, 164], "the user may not use a setting of ours (async_insert, insert_deduplication_token)"),
}


def judged(error: Error, what: str) -> Exception:
    """Return what a failed attempt means: temporary, the rows' fault, or the configuration's."""
    text = str(error)
    if error.code is None:
        status = _STATUS.search(text)
        if status is None or int(status[1]) >= 500 or int(status[1]) in (408, 425, 429):
            return TryAgain(text)
        return SinkMisconfigured(f"DRIFTGAUGE_CLICKHOUSE_URL: what answers there is no ClickHouse: {text}")
    if error.code in _SETTING_AT_FAULT:
        return SinkMisconfigured(f"ClickHouse, {what}: {text}; {_SETTING_AT_FAULT[error.code]}")
    if error.code in _ROWS_AT_FAULT:
        kind = SinkRejected if what.startswith("insert") else SinkMisconfigured
        return kind(f"ClickHouse, {what}: {text}")
    return TryAgain(text)
