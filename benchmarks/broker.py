"""The real broker a benchmark measures with."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from benchmarks.throughput.watched import BenchmarkError
from tests.brokers import Kafka, start_kafka


class Measured(NamedTuple):
    """A fresh Apache Kafka and a folder, both gone at the end."""

    kafka: Kafka
    folder: Path


@contextmanager
def own_kafka() -> Iterator[Measured]:
    """Start Apache Kafka; without one, and when a measurement fails, end the process with the reason."""
    with tempfile.TemporaryDirectory(prefix="driftgauge-bench-") as scratch:
        folder = Path(scratch)
        try:
            kafka = start_kafka(folder)
        except (pytest.skip.Exception, pytest.fail.Exception) as missing:
            sys.exit(f"no broker to measure with: {missing}")
        try:
            yield Measured(kafka, folder)
        except BenchmarkError as error:
            sys.exit(f"error: {error}")
        finally:
            kafka.close()
