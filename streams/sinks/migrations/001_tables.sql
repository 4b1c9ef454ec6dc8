-- Every table: a deterministic key, the newest version wins, read with FINAL.
-- Time to live counts from `ingested`, because replayed rows may be years old.
-- The deduplication window makes a repeated insert with the same token harmless on disk as well.

CREATE TABLE IF NOT EXISTS windows
(
    run_id LowCardinality(String),
    model LowCardinality(String),
    version LowCardinality(String),
    baseline_id LowCardinality(String),
    slice LowCardinality(String),
    scale UInt16,
    window_start DateTime64(3, 'UTC'),
    window_end DateTime64(3, 'UTC'),
    revision UInt64,
    sealed Bool,
    state LowCardinality(String),
    rows UInt64,
    late_rows UInt64,
    monitor_version UInt32,
    n_features UInt32,
    n_drifted UInt32,
    unknown_features UInt32,
    flags Array(LowCardinality(String)),
    produced_at DateTime64(3, 'UTC'),
    ingested DateTime DEFAULT now()
)
ENGINE = ReplacingMergeTree(revision)
PARTITION BY toYYYYMM(window_start)
ORDER BY (run_id, model, baseline_id, slice, scale, window_start)
TTL ingested + INTERVAL 400 DAY
SETTINGS non_replicated_deduplication_window = 1000;

CREATE TABLE IF NOT EXISTS results
(
    run_id LowCardinality(String),
    model LowCardinality(String),
    version LowCardinality(String),
    baseline_id LowCardinality(String),
    slice LowCardinality(String),
    feature LowCardinality(String),
    scale UInt16,
    window_start DateTime64(3, 'UTC'),
    window_end DateTime64(3, 'UTC'),
    revision UInt64,
    sealed Bool,
    position UInt32,
    verdict LowCardinality(String),
    severity LowCardinality(String),
    reason LowCardinality(String),
    rows UInt64,
    late_rows UInt64,
    missing UInt64,
    unseen UInt64,
    type_errors UInt64,
    before String,
    after String,
    top_bins Array(Tuple(bin String, reference Float64, current Float64)),
    tests Nested
    (
        name LowCardinality(String),
        value Float64,
        noise Float64,
        line Float64,
        effect Float64,
        low Nullable(Float64),
        high Nullable(Float64),
        drifted Bool
    ),
    flags Array(LowCardinality(String)),
    produced_at DateTime64(3, 'UTC'),
    ingested DateTime DEFAULT now()
)
ENGINE = ReplacingMergeTree(revision)
PARTITION BY toYYYYMM(window_start)
ORDER BY (run_id, model, baseline_id, slice, feature, scale, window_start)
TTL ingested + INTERVAL 400 DAY
SETTINGS non_replicated_deduplication_window = 1000;

CREATE TABLE IF NOT EXISTS profiles
(
    run_id LowCardinality(String),
    model LowCardinality(String),
    baseline_id LowCardinality(String),
    slice LowCardinality(String),
    feature LowCardinality(String),
    scale UInt16,
    window_start DateTime64(3, 'UTC') CODEC(DoubleDelta, ZSTD(1)),
    window_end DateTime64(3, 'UTC') CODEC(DoubleDelta, ZSTD(1)),
    revision UInt64 CODEC(T64, ZSTD(1)),
    counts Array(UInt64) CODEC(ZSTD(3)),
    ingested DateTime DEFAULT now() CODEC(DoubleDelta, ZSTD(1))
)
ENGINE = ReplacingMergeTree(revision)
PARTITION BY toYYYYMM(window_start)
ORDER BY (run_id, model, baseline_id, slice, feature, scale, window_start)
TTL ingested + INTERVAL 400 DAY
SETTINGS non_replicated_deduplication_window = 1000;

CREATE TABLE IF NOT EXISTS warnings
(
    run_id LowCardinality(String),
    model LowCardinality(String),
    version LowCardinality(String),
    baseline_id LowCardinality(String),
    slice LowCardinality(String),
    scale UInt16,
    window_start DateTime64(3, 'UTC'),
    revision UInt64,
    feature LowCardinality(String),
    detector LowCardinality(String),
    time DateTime64(3, 'UTC'),
    before Float64,
    after Float64,
    ingested DateTime DEFAULT now()
)
ENGINE = ReplacingMergeTree(revision)
PARTITION BY toYYYYMM(time)
ORDER BY (run_id, model, baseline_id, slice, scale, feature, detector, time)
TTL ingested + INTERVAL 400 DAY
SETTINGS non_replicated_deduplication_window = 1000;

CREATE TABLE IF NOT EXISTS alerts
(
    episode_id String,
    sequence UInt32,
    state LowCardinality(String),
    previous LowCardinality(String),
    why LowCardinality(String),
    model LowCardinality(String),
    version LowCardinality(String),
    slice LowCardinality(String),
    severity LowCardinality(String),
    opened DateTime64(3, 'UTC'),
    time DateTime64(3, 'UTC'),
    features Array(String),
    `by` String,
    label LowCardinality(String),
    body String CODEC(ZSTD(3)),
    ingested DateTime DEFAULT now()
)
ENGINE = ReplacingMergeTree(time)
PARTITION BY toYYYYMM(opened)
ORDER BY (episode_id, sequence)
TTL ingested + INTERVAL 400 DAY
SETTINGS non_replicated_deduplication_window = 1000;

-- The source position is part of the key, so that predictions without an id stay separate rows.
CREATE TABLE IF NOT EXISTS predictions
(
    model LowCardinality(String),
    id String,
    version LowCardinality(String),
    time DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    prediction Nullable(Float64),
    label LowCardinality(String),
    source_topic LowCardinality(String),
    source_partition UInt32,
    source_offset UInt64 CODEC(Delta, ZSTD(1)),
    ordinal UInt32 CODEC(Delta, ZSTD(1)),
    ingested DateTime DEFAULT now() CODEC(Delta, ZSTD(1))
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(time)
ORDER BY (model, id, version, time, source_topic, source_partition, source_offset, ordinal)
TTL ingested + INTERVAL 90 DAY
SETTINGS non_replicated_deduplication_window = 1000;

-- The newest by time wins; `revision` is the time with the offset as the tie-break.
CREATE TABLE IF NOT EXISTS feedback
(
    model LowCardinality(String),
    id String,
    trace_id String,
    span_id String,
    kind LowCardinality(String),
    source LowCardinality(String),
    time DateTime64(3, 'UTC'),
    revision UInt64,
    value_text Nullable(String),
    value_number Nullable(Float64),
    user String,
    ingested DateTime DEFAULT now()
)
ENGINE = ReplacingMergeTree(revision)
PARTITION BY toYYYYMM(time)
ORDER BY (model, id, trace_id, span_id, kind, source)
TTL ingested + INTERVAL 400 DAY
SETTINGS non_replicated_deduplication_window = 1000;

-- Baselines and monitors as they were on their topics, byte for byte, to seed a broker that forgot them.
CREATE TABLE IF NOT EXISTS control
(
    topic LowCardinality(String),
    key String,
    value String CODEC(ZSTD(3)),
    tombstone Bool,
    time DateTime64(3, 'UTC'),
    source_partition UInt32,
    source_offset UInt64,
    revision UInt64,
    ingested DateTime DEFAULT now()
)
ENGINE = ReplacingMergeTree(revision)
ORDER BY (topic, key)
SETTINGS non_replicated_deduplication_window = 1000;
