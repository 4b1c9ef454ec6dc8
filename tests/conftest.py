"""Fixtures every room may use: brokers, and the strictness of a run."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping

import pytest

from tests.brokers import Broker, Embedded, Kafka, start_kafka
from tests.kafka.secured import SecuredKafka, start_secured
from tests.real import NOT_DEMANDED, STRICT


@pytest.fixture
def embedded_broker() -> Iterator[Callable[[Mapping[str, int]], Embedded]]:
    """Return a function that starts an embedded broker of this test's own with the given topics."""
    started: list[Embedded] = []

    def start(topics: Mapping[str, int], n_brokers: int = 1) -> Embedded:
        started.append(Embedded(topics, n_brokers))
        return started[-1]

    yield start
    for broker in started:
        broker.close()


@pytest.fixture(scope="session")
def shared_embedded_broker() -> Iterator[Embedded]:
    """One embedded broker for the whole run; make topics on it under `unique` names and inject no faults."""
    broker = Embedded({})
    yield broker
    broker.close()


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kafka]:
    """Apache Kafka 4 for the whole run; a test that kills it has to restart it."""
    broker = start_kafka(tmp_path_factory.mktemp("kafka"))
    yield broker
    broker.close()


@pytest.fixture(scope="session")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredKafka]:
    """Apache Kafka with TLS, SASL and an authorizer for the whole run; make topics under `unique` names."""
    broker = start_secured(tmp_path_factory.mktemp("secured"))
    yield broker
    broker.close()


@pytest.fixture(scope="session", params=["embedded", pytest.param("kafka", marks=pytest.mark.kafka)])
def broker(request: pytest.FixtureRequest) -> Broker:
    """Each test that asks for it runs twice: on the embedded broker and on Apache Kafka."""
    name = "kafka" if request.param == "kafka" else "shared_embedded_broker"
    chosen: Broker = request.getfixturevalue(name)
    return chosen


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark every test that uses Apache Kafka, so that ``-m 'not kafka'`` leaves it out.

    A run over everything leaves out what takes long, and says how many tests that is.
    """
    everything = config.args_source == pytest.Config.ArgsSource.TESTPATHS
    for item in items:
        if {"kafka", "secured"} & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.kafka)
    left_out = [item for item in items if everything and _takes_long(item)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in set(left_out)]


def _takes_long(item: pytest.Item) -> bool:
    """Tell whether a test runs only when asked for.

    Scenarios are half-minute kills of whole workers: SCENARIOS=1 runs them, and a strict run those on the real
    broker. Tests of several minutes that vary others run with LONG=1.
    """
    if item.get_closest_marker("long"):
        return os.environ.get("LONG") != "1"
    if not item.get_closest_marker("scenario") or os.environ.get("SCENARIOS") == "1":
        return False
    parameters = item.callspec.params if isinstance(item, pytest.Function) and hasattr(item, "callspec") else {}
    return not STRICT or parameters.get("cluster") == "embedded"


def pytest_runtest_teardown(item: pytest.Item) -> None:
    """Start Apache Kafka again for the tests that follow one that killed it and failed."""
    for value in getattr(item, "funcargs", {}).values():
        if isinstance(value, Kafka) and not value.alive:
            value.restart()


def skips(reporter: pytest.TerminalReporter) -> Counter[str]:
    """Return how many tests were skipped, by reason."""
    reasons: Counter[str] = Counter()
    for report in reporter.stats.get("skipped", []):
        text = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        reasons[str(text).removeprefix("Skipped: ")] += 1
    return reasons


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say loudly what was not tested here and why."""
    reasons = skips(terminalreporter)
    if not reasons:
        return
    terminalreporter.section("NOT TESTED HERE", sep="!", yellow=True, bold=True)
    for reason, count in reasons.most_common():
        demanded = STRICT and NOT_DEMANDED not in reason
        terminalreporter.line(f"{count:4d} {'FAILED, STRICT=1' if demanded else 'skipped'}: {reason}", red=demanded)


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Let a strict run with anything skipped fail."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if not STRICT or exitstatus != pytest.ExitCode.OK or reporter is None:
        return
    if any(NOT_DEMANDED not in reason for reason in skips(reporter)):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
