"""Kafka and Faust live here: consuming, exact checkpoints, outputs, control topics.

Nothing outside this folder imports Faust, aiokafka or confluent-kafka's consumers.
"""
