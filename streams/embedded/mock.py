"""The mock Kafka cluster that ships inside confluent-kafka, through its C interface.

confluent-kafka for Python can only start the cluster (``test.mock.num.brokers``), with four partitions
for every topic. The C functions behind it also make topics with exact partition counts and inject faults.

Source: librdkafka, ``src/rdkafka_mock.h``.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from types import TracebackType

from confluent_kafka import cimpl

_PRODUCER = 0
_CONF_OK = 0
_ALL_BROKERS = -1
_ERROR_BYTES = 512


class MockClusterError(RuntimeError):
    """The mock cluster refused a call; the message says which one and why."""


def _library() -> ctypes.CDLL:
    """Return librdkafka as confluent-kafka loaded it, with the signatures used here.

    Symbols are looked up through the extension module, which the linker resolves into whichever
    librdkafka it was built with, so no file name of a wheel is spelled here.
    """
    lib = ctypes.CDLL(cimpl.__file__)
    pointer, text, integer, int16, int64 = (
        ctypes.c_void_p,
        ctypes.c_char_p,
        ctypes.c_int,
        ctypes.c_int16,
        ctypes.c_int64,
    )
    signatures: dict[str, tuple[type | None, list[type]]] = {
        "rd_kafka_conf_new": (pointer, []),
        "rd_kafka_conf_set": (integer, [pointer, text, text, text, ctypes.c_size_t]),
        "rd_kafka_new": (pointer, [integer, pointer, text, ctypes.c_size_t]),
        "rd_kafka_destroy": (None, [pointer]),
        "rd_kafka_err2str": (text, [integer]),
        "rd_kafka_mock_cluster_new": (pointer, [pointer, integer]),
        "rd_kafka_mock_cluster_destroy": (None, [pointer]),
        "rd_kafka_mock_cluster_bootstraps": (text, [pointer]),
        "rd_kafka_mock_topic_create": (integer, [pointer, text, integer, integer]),
        "rd_kafka_mock_topic_set_error": (None, [pointer, text, integer]),
        "rd_kafka_mock_group_initial_rebalance_delay_ms": (None, [pointer, ctypes.c_int32]),
        "rd_kafka_mock_broker_set_down": (integer, [pointer, ctypes.c_int32]),
        "rd_kafka_mock_broker_set_up": (integer, [pointer, ctypes.c_int32]),
        "rd_kafka_mock_broker_set_rtt": (integer, [pointer, ctypes.c_int32, integer]),
        "rd_kafka_mock_push_request_errors_array": (
            None,
            [pointer, int16, ctypes.c_size_t, ctypes.POINTER(integer)],
        ),
        "rd_kafka_mock_clear_request_errors": (None, [pointer, int16]),
        "rd_kafka_mock_partition_delete_records": (integer, [pointer, text, ctypes.c_int32, int64]),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(lib, name)
        function.restype, function.argtypes = result, arguments
    return lib


class MockCluster:
    """A mock cluster in this process, listening on 127.0.0.1 only.

    Parameters
    ----------
    topics
        Topic name to number of partitions.
    n_brokers
        How many brokers to start; each listens on a free port of its own.

    Raises
    ------
    MockClusterError
        When librdkafka refuses the cluster or a topic.

    Notes
    -----
    Limits, of librdkafka 2.16: a partition keeps 5 MiB or 100,000 produced batches, whichever is less, and
    drops the oldest beyond that; both numbers are constants of the library, and a single batch over 5 MiB is
    gone at once. A fetch below what is kept is answered with "offset out of range". No compaction, no retention
    by time, no search by time (every timestamp finds nothing), no LogAppendTime, no static members, no limit on
    commit metadata (Kafka's is 4096 bytes), and none of CreateTopics, DeleteRecords, DescribeConfigs,
    DescribeGroups and ListGroups. A client that asks for an unknown topic and allows its creation gets one with
    four partitions. A second member of a group may be answered INVALID_REQUEST when it joins: one worker a role.
    """

    def __init__(self, topics: Mapping[str, int], n_brokers: int = 1) -> None:
        self._lib = _library()
        error = ctypes.create_string_buffer(_ERROR_BYTES)
        conf = self._lib.rd_kafka_conf_new()
        # The client behind the cluster never connects anywhere; level 3 keeps its advice to do so off stderr.
        if self._lib.rd_kafka_conf_set(conf, b"log_level", b"3", error, _ERROR_BYTES) != _CONF_OK:
            raise MockClusterError(f"librdkafka refused a setting: {error.value.decode()}")
        self._client = self._lib.rd_kafka_new(_PRODUCER, conf, error, _ERROR_BYTES)
        if not self._client:
            raise MockClusterError(f"librdkafka did not start: {error.value.decode()}")
        self._cluster = self._lib.rd_kafka_mock_cluster_new(self._client, n_brokers)
        if not self._cluster:
            self._lib.rd_kafka_destroy(self._client)
            raise MockClusterError(f"librdkafka did not start a mock cluster of {n_brokers} brokers")
        # Members that start together are waited for by the default of 3 s; the first rebalance need not.
        self._lib.rd_kafka_mock_group_initial_rebalance_delay_ms(self._cluster, 100)
        self.bootstrap_servers: str = self._lib.rd_kafka_mock_cluster_bootstraps(self._cluster).decode()
        self.create_topics(topics)

    def create_topics(self, topics: Mapping[str, int]) -> None:
        """Create topics with exactly the given numbers of partitions."""
        for name, n_partitions in topics.items():
            self._check(
                self._lib.rd_kafka_mock_topic_create(self._cluster, name.encode(), n_partitions, 1),
                f"create topic {name!r} with {n_partitions} partitions",
            )

    def set_down(self, broker: int = _ALL_BROKERS) -> None:
        """Cut the connections of a broker (default: all) and accept no new ones."""
        self._check(self._lib.rd_kafka_mock_broker_set_down(self._cluster, broker), "set broker down")

    def set_up(self, broker: int = _ALL_BROKERS) -> None:
        """Let a broker (default: all) accept connections again; its records are still there."""
        self._check(self._lib.rd_kafka_mock_broker_set_up(self._cluster, broker), "set broker up")

    def set_round_trip(self, rtt_ms: int, broker: int = _ALL_BROKERS) -> None:
        """Delay every answer of a broker (default: all) by `rtt_ms` milliseconds."""
        self._check(self._lib.rd_kafka_mock_broker_set_rtt(self._cluster, broker, rtt_ms), "set round trip")

    def push_errors(self, api_key: int, errors: Sequence[int]) -> None:
        """Answer the next requests of one kind with these Kafka error codes, one each.

        `api_key` is the number of the request in the Kafka protocol (0 produce, 1 fetch, 8 offset commit,
        11 join group, 12 heartbeat, 14 sync group); -195 as an error cuts the connection instead.
        """
        array = (ctypes.c_int * len(errors))(*errors)
        self._lib.rd_kafka_mock_push_request_errors_array(self._cluster, api_key, len(errors), array)

    def clear_errors(self, api_key: int) -> None:
        """Forget the errors not answered yet for one kind of request."""
        self._lib.rd_kafka_mock_clear_request_errors(self._cluster, api_key)

    def set_topic_error(self, topic: str, error: int) -> None:
        """Answer requests for one topic with a Kafka error code; 0 heals it."""
        self._lib.rd_kafka_mock_topic_set_error(self._cluster, topic.encode(), error)

    def delete_records(self, topic: str, partition: int, before_offset: int) -> None:
        """Drop the records of a partition below an offset, as retention would."""
        self._check(
            self._lib.rd_kafka_mock_partition_delete_records(self._cluster, topic.encode(), partition, before_offset),
            f"delete records of {topic!r}[{partition}] before {before_offset}",
        )

    def close(self) -> None:
        """Stop the cluster; every record is gone."""
        if self._cluster:
            self._lib.rd_kafka_mock_cluster_destroy(self._cluster)
            self._lib.rd_kafka_destroy(self._client)
            self._cluster = self._client = None

    def _check(self, code: int, what: str) -> None:
        if code:
            reason = self._lib.rd_kafka_err2str(code).decode()
            raise MockClusterError(f"the embedded broker cannot {what}: {reason}")

    def __enter__(self) -> MockCluster:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
