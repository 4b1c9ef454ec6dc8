"""Every metric we export, once: name, labels, what it means, and what to do about it.

Names follow Prometheus' conventions: base units, ``_total`` on what only grows. A label's values
are bounded: by a limit on models, slices and features, or because they come from a fixed set.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

PREFIX = "driftgauge_"
SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 7200.0)


class Metric(NamedTuple):
    """One metric; its full name has the prefix before it."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    labels: tuple[str, ...]
    meaning: str
    remedy: str
    buckets: tuple[float, ...] = SECONDS

    @property
    def help(self) -> str:
        """Return meaning and remedy, as Prometheus shows them."""
        return f"{self.meaning} {self.remedy}"


FEATURE = ("model", "slice", "feature")

DRIFT_EFFECT = Metric(
    "drift_effect",
    "gauge",
    (*FEATURE, "statistic"),
    "Effect of the newest windows after subtracting what noise explains, at the scale where it is nearest its line.",
    "Compare with drift_threshold, and look at the feature's page in the panel.",
)
DRIFT_THRESHOLD = Metric(
    "drift_threshold",
    "gauge",
    (*FEATURE, "statistic"),
    "Alarm line that belongs to drift_effect.",
    "It follows from the monitor's budget and sensitivity; change those, not the line.",
)
DRIFT_STATE = Metric(
    "drift_state",
    "gauge",
    FEATURE,
    "0 no drift, 1 drift at any scale, 2 not judged (too few rows, or no baseline yet).",
    "At 1 see the alert; at 2 for long choose a longer window or create a baseline.",
)
ROWS = Metric(
    "rows_total", "counter", ("model",), "Rows counted.", "When it stands still, check the producer and lag_records."
)
LATE_ROWS = Metric(
    "late_rows_total",
    "counter",
    ("model",),
    "Rows that came after their window was sealed and were not counted.",
    "Raise the monitor's lateness, or find the producer that is slow or has a wrong clock.",
)
MISSING_RATIO = Metric(
    "missing_ratio",
    "gauge",
    FEATURE,
    "Share of rows without a value in the newest base window, 0 to 1.",
    "When it rises, look at the join or the sensor that feeds the feature.",
)
TYPE_ERRORS = Metric(
    "type_errors_total",
    "counter",
    ("model",),
    "Values of a type the feature does not have.",
    "Compare a row with the monitor's schema; a producer has changed.",
)
WINDOW_ROWS = Metric(
    "window_rows",
    "gauge",
    ("model", "slice"),
    "Rows in the newest base window.",
    "Below about 500, tests find little: choose a longer window.",
)
ALERTS = Metric(
    "alerts_total", "counter", ("severity",), "Alerts opened.", "See them in the panel; label the false ones."
)
ALERTS_OPEN = Metric(
    "alerts_open",
    "gauge",
    (),
    "Alerts that are open or acknowledged.",
    "Acknowledge, silence, or accept the change as the new normal.",
)
LAG = Metric(
    "lag_records",
    "gauge",
    ("role", "topic", "partition"),
    "Records a role has yet to read.",
    "When it grows, start more workers of the role, or repair what it writes to.",
)
EVENT_TO_RESULT = Metric(
    "event_to_result_seconds",
    "histogram",
    (),
    "Time from the end of a window to its first result being seen.",
    "When it grows, see lag_records of detect; long after a stop it only shows the backlog.",
)
CHECKPOINT_SECONDS = Metric(
    "checkpoint_seconds",
    "histogram",
    (),
    "Time a checkpoint took, from encoding to the commit.",
    "When it grows, check the brokers' latency and checkpoint_bytes.",
)
CHECKPOINT_BYTES = Metric(
    "checkpoint_bytes",
    "gauge",
    (),
    "Size of the last checkpoint.",
    "When it grows without new models, a feature has ever new levels: ignore it or make it text.",
)
CHECKPOINT_AGE = Metric(
    "checkpoint_age_seconds",
    "gauge",
    ("role", "topic", "partition"),
    "For how long records of a partition have been taken that no checkpoint covers yet.",
    "When it grows beyond the time between checkpoints, see the brokers and the log.",
)
INGEST_PAUSE = Metric(
    "ingest_pause_seconds",
    "histogram",
    ("cause",),
    "Time records waited while a flush told results or a checkpoint cut the state.",
    "When it grows, spread the models over more workers.",
)
LOOP_STALL = Metric(
    "loop_stall_seconds",
    "histogram",
    (),
    "Time the event loop was late: one piece of work held everything else up for that long.",
    "Above the session time-out a worker loses its partitions: send smaller messages.",
)
STUCK = Metric(
    "stuck_seconds",
    "gauge",
    (),
    "For how long records have waited and none was taken; at 120 s the watchdog ends the process.",
    "Read the log of that time; when it comes back after a restart, report it.",
)
DEAD_LETTERS = Metric(
    "dead_letters_total",
    "counter",
    ("reason",),
    "Messages that could not be used.",
    "List them with `driftgauge dead list`, repair the producer, then requeue.",
)
SINK_RETRIES = Metric(
    "sink_retries_total",
    "counter",
    ("sink",),
    "Sends repeated because a destination did not take them.",
    "Run `driftgauge doctor`; nothing is lost while it grows, but that role falls behind.",
)
TOMBSTONES = Metric(
    "tombstones_total",
    "counter",
    (),
    "Records without a value, passed over.",
    "Harmless; a producer deletes keys of a topic that is not compacted.",
)
LATE_AFTER_FINAL = Metric(
    "late_after_final_total",
    "counter",
    (),
    "Counts that came for windows the judge keeps no more.",
    "Bring history in with `driftgauge replay`, not through the live topics.",
)
STATE_LOST = Metric(
    "state_lost_records_total",
    "counter",
    ("agent",),
    "Records whose effect on the state could not be restored.",
    "Windows of that time are incomplete: replay them. Check the retention of the input and snapshot topics.",
)
LAST_EVENT = Metric(
    "last_event_timestamp_seconds",
    "gauge",
    ("model",),
    "Event time of the model's newest row, in seconds since 1970.",
    "When it falls behind the clock, the model has gone silent or its producer's clock is wrong.",
)
PERFORMANCE = Metric(
    "performance",
    "gauge",
    ("model", "slice", "metric"),
    "Measured quality of the model on rows whose labels have come.",
    "When it falls, compare with the drift of the features.",
)
LLM_TOKENS = Metric(
    "llm_tokens_total",
    "counter",
    ("model", "direction"),
    "Tokens in and out, as the spans report them.",
    "A jump points to longer prompts or answers.",
)
LLM_COST = Metric(
    "llm_cost_dollars_total",
    "counter",
    ("model",),
    "Cost by the configured prices.",
    "Compare with llm_tokens_total; check the price table when it differs from the bill.",
)
LIMITED = Metric(
    "limited_total",
    "counter",
    ("limit",),
    "How often a limit was met that drops no row: on versions of a model, on unseen levels kept of a feature.",
    "Send releases, no request identities, as versions; ignore a feature that has ever new levels, or make it text.",
)
SERIES_DROPPED = Metric(
    "series_dropped_total",
    "counter",
    ("limit",),
    "Observations not exported because a limit on label values was reached.",
    "Raise the limit named, or ignore features nobody watches; verdicts and alerts are not affected.",
)

ALL: tuple[Metric, ...] = (
    DRIFT_EFFECT,
    DRIFT_THRESHOLD,
    DRIFT_STATE,
    ROWS,
    LATE_ROWS,
    MISSING_RATIO,
    TYPE_ERRORS,
    WINDOW_ROWS,
    ALERTS,
    ALERTS_OPEN,
    LAG,
    EVENT_TO_RESULT,
    CHECKPOINT_SECONDS,
    CHECKPOINT_BYTES,
    CHECKPOINT_AGE,
    INGEST_PAUSE,
    LOOP_STALL,
    STUCK,
    DEAD_LETTERS,
    SINK_RETRIES,
    TOMBSTONES,
    LATE_AFTER_FINAL,
    STATE_LOST,
    LAST_EVENT,
    PERFORMANCE,
    LLM_TOKENS,
    LLM_COST,
    LIMITED,
    SERIES_DROPPED,
)
