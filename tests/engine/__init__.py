"""The engine on the embedded broker and on Apache Kafka: exactness, recovery, refusals."""
