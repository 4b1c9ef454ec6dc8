"""The tables as we fill them: column names and Arrow types, once. `migrations/` says how they are stored.

The types are exact (Arrow to ClickHouse without guessing): times are integer epoch milliseconds in UTC.
"""

from __future__ import annotations

import pyarrow as pa

TEXT = pa.string()
TIME = pa.timestamp("ms", "UTC")
U32, U64, F64 = pa.uint32(), pa.uint64(), pa.float64()
DEPLOYMENT = pa.struct([("version", TEXT), ("time", TIME)])
BIN = pa.struct([("bin", TEXT), ("reference", F64), ("current", F64)])

WINDOWS = pa.schema(
    [
        ("run_id", TEXT),
        ("model", TEXT),
        ("version", TEXT),
        ("baseline_id", TEXT),
        ("slice", TEXT),
        ("scale", pa.uint16()),
        ("window_start", TIME),
        ("window_end", TIME),
        ("revision", U64),
        ("sealed", pa.bool_()),
        ("state", TEXT),
        ("rows", U64),
        ("late_rows", U64),
        ("monitor_version", U32),
        ("n_features", U32),
        ("n_drifted", U32),
        ("unknown_features", U32),
        ("flags", pa.list_(TEXT)),
        ("late_after_final", U64),
        ("deployments", pa.list_(DEPLOYMENT)),
        ("produced_at", TIME),
    ]
)
RESULTS = pa.schema(
    [
        ("run_id", TEXT),
        ("model", TEXT),
        ("version", TEXT),
        ("baseline_id", TEXT),
        ("slice", TEXT),
        ("feature", TEXT),
        ("scale", pa.uint16()),
        ("window_start", TIME),
        ("window_end", TIME),
        ("revision", U64),
        ("sealed", pa.bool_()),
        ("position", U32),
        ("verdict", TEXT),
        ("severity", TEXT),
        ("reason", TEXT),
        ("rows", U64),
        ("late_rows", U64),
        ("missing", U64),
        ("unseen", U64),
        ("type_errors", U64),
        ("before", TEXT),
        ("after", TEXT),
        ("top_bins", pa.list_(BIN)),
        ("tests.name", pa.list_(TEXT)),
        ("tests.value", pa.list_(F64)),
        ("tests.noise", pa.list_(F64)),
        ("tests.line", pa.list_(F64)),
        ("tests.effect", pa.list_(F64)),
        ("tests.low", pa.list_(F64)),
        ("tests.high", pa.list_(F64)),
        ("tests.drifted", pa.list_(pa.bool_())),
        ("flags", pa.list_(TEXT)),
        ("produced_at", TIME),
    ]
)
PROFILES = pa.schema(
    [
        ("run_id", TEXT),
        ("model", TEXT),
        ("baseline_id", TEXT),
        ("slice", TEXT),
        ("feature", TEXT),
        ("scale", pa.uint16()),
        ("window_start", TIME),
        ("window_end", TIME),
        ("revision", U64),
        ("counts", pa.list_(U64)),
    ]
)
WARNINGS = pa.schema(
    [
        ("run_id", TEXT),
        ("model", TEXT),
        ("version", TEXT),
        ("baseline_id", TEXT),
        ("slice", TEXT),
        ("scale", pa.uint16()),
        ("window_start", TIME),
        ("revision", U64),
        ("feature", TEXT),
        ("detector", TEXT),
        ("time", TIME),
        ("before", F64),
        ("after", F64),
    ]
)
ALERTS = pa.schema(
    [
        ("episode_id", TEXT),
        ("sequence", U32),
        ("state", TEXT),
        ("previous", TEXT),
        ("why", TEXT),
        ("model", TEXT),
        ("version", TEXT),
        ("slice", TEXT),
        ("severity", TEXT),
        ("opened", TIME),
        ("time", TIME),
        ("features", pa.list_(TEXT)),
        ("by", TEXT),
        ("label", TEXT),
        ("body", pa.binary()),
    ]
)
PREDICTIONS = pa.schema(
    [
        ("model", TEXT),
        ("id", TEXT),
        ("version", TEXT),
        ("time", TIME),
        ("prediction", F64),
        ("label", TEXT),
        ("source_topic", TEXT),
        ("source_partition", U32),
        ("source_offset", U64),
        ("ordinal", U32),
    ]
)
FEEDBACK = pa.schema(
    [
        ("model", TEXT),
        ("id", TEXT),
        ("trace_id", TEXT),
        ("span_id", TEXT),
        ("kind", TEXT),
        ("source", TEXT),
        ("time", TIME),
        ("revision", U64),
        ("value_text", TEXT),
        ("value_number", F64),
        ("user", TEXT),
    ]
)
CONTROL = pa.schema(
    [
        ("topic", TEXT),
        ("key", pa.binary()),
        ("value", pa.binary()),
        ("tombstone", pa.bool_()),
        ("time", TIME),
        ("source_partition", U32),
        ("source_offset", U64),
        ("revision", U64),
    ]
)

TABLES: dict[str, pa.Schema] = {
    "results": RESULTS,
    "profiles": PROFILES,
    "warnings": WARNINGS,
    "alerts": ALERTS,
    "predictions": PREDICTIONS,
    "feedback": FEEDBACK,
    "control": CONTROL,
    "windows": WINDOWS,
}
"""In the order they are written: `windows` last, so that a window in it has its features."""
