"""The files `driftgauge init` writes to start from: every line that is not needed is a comment."""

from __future__ import annotations

MONITOR = """\
# What to watch for one model. Every field but `model` has a default; change what you need, then
#   driftgauge monitor apply monitor.yaml --dry-run
model: my-model
# owner: team-credit            # shown with alerts
# runbook_url: https://…
# timezone: UTC                 # windows of a day and more begin at its midnight, as Europe/Paris
# window: auto                  # or 1m, 5m, 15m, 1h, 6h, 1d, 7d
# scales: [1, 5, 25]            # merged base windows, judged as well
# lateness_windows: 1           # how long late rows are waited for
# budget: 1                     # expected false alarms a week, over every monitored series
# sensitivity: default          # high, strict
# learn_rows: 10000             # rows a baseline is learned from where none was given
# features:
#   city: {sensitive: true}     # kept only as hashed levels or counts
#   internal_id: {ignore: true}
#   legacy_score: {type: categorical}
# sources:                      # rows from topics that exist already; `driftgauge init --from-topic T` proposes this
#   - topic: scores             # or pattern: "scores\\\\..*"
#     format: json              # cloudevents, open-inference
#     time_format: auto         # rfc3339, utc, s, ms, us, record
#     fields:
#       id: request_id
#       time: created_at
#       features: input         # a path to an object, or a path for each feature
#       prediction: output.score
"""

SETTINGS = """\
# Settings of all roles; environment variables DRIFTGAUGE_… win. Secrets belong into the environment or into files
# of the folder DRIFTGAUGE_SECRETS_DIR. `driftgauge doctor` says what is missing or wrong.
bootstrap_servers = "127.0.0.1:9092"
# security_protocol = "SASL_SSL"
# sasl_mechanism = "SCRAM-SHA-512"
# sasl_username = "driftgauge"
# ssl_ca_file = "/etc/ssl/kafka-ca.pem"
# group = "driftgauge"                    # prefix of the consumer groups
# partitions = 8                          # of topics made by `driftgauge topics create`
# replication = 1
# clickhouse_url = "http://127.0.0.1:8123"
# clickhouse_user = "default"
# otlp_endpoint = "http://127.0.0.1:6006"
# bind = "127.0.0.1"                      # of the panel and of every role's /metrics
# panel_port = 8600
"""
