"""Everything that touches the world: Kafka, ClickHouse, Slack, HTTP, the command line.

The composition root is `roles`; the stream engine lives in `engine`.
"""
