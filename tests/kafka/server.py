"""Apache Kafka in KRaft mode as a child process: one node, 127.0.0.1 only, free ports, its own folder."""

from __future__ import annotations

import base64
import os
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Sequence
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
POM = HERE / "pom.xml"
READY_S = 120.0
MAVEN_S = 420.0

JAVA = (
    "-Xms128m",
    "-Xmx512m",
    "-XX:+UseSerialGC",
    "-XX:+ExitOnOutOfMemoryError",
    "-Djava.net.preferIPv4Stack=true",
    f"-Dlog4j2.configurationFile={HERE / 'log4j2.properties'}",
)

# Short sessions let a test lose a worker quickly; a short broker session lets a killed broker come back
# without waiting out its own old registration (9 s by default).
PROPERTIES = """\
process.roles=broker,controller
node.id=1
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
controller.quorum.voters=1@127.0.0.1:{controller_port}
log.dirs={data}
auto.create.topics.enable=false
num.partitions=1
default.replication.factor=1
min.insync.replicas=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=2
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
broker.heartbeat.interval.ms=500
broker.session.timeout.ms=2000
log.retention.check.interval.ms=5000
log.cleaner.dedupe.buffer.size=33554432
"""


class KafkaUnavailable(RuntimeError):
    """A real Kafka broker cannot be had this way; the message says why."""


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def version() -> str:
    """Return the Kafka version that `pom.xml` names."""
    return POM.read_text().partition("<kafka.version>")[2].partition("<")[0]


def jars(maven: str) -> Path:
    """Return the folder with the broker's jars, filled through Maven on first use (43 MB).

    Raises
    ------
    KafkaUnavailable
        When Maven cannot bring them.
    """
    folder = Path(os.environ.get("DRIFTGAUGE_KAFKA_JARS") or ROOT / ".cache" / "kafka" / version())
    if any(folder.glob("kafka_2.13-*.jar")):
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix="incoming-") as incoming:
        target = Path(incoming) / "jars"
        command = [maven, "--batch-mode", "--quiet", "--file", str(POM), "dependency:copy-dependencies"]
        try:
            done = subprocess.run(
                [*command, f"-DoutputDirectory={target}", "-DincludeScope=runtime"],
                capture_output=True,
                text=True,
                timeout=MAVEN_S,
                check=False,
            )
        except subprocess.TimeoutExpired as late:
            raise KafkaUnavailable(f"Maven brought no Kafka jars within {MAVEN_S:g} s") from late
        if done.returncode:
            raise KafkaUnavailable(f"Maven brought no Kafka jars: {(done.stdout + done.stderr)[-800:]}")
        try:
            target.rename(folder)
        except OSError:  # another run of the tests was faster
            if not any(folder.glob("kafka_2.13-*.jar")):
                raise
    return folder


class JavaKafka:
    """One Kafka node in `folder`; `kill` and `restart` keep its data and its port.

    `properties` are added to its settings, where `{port}` and `{controller_port}` stand for its ports; the last
    value of a name holds. `options` are of the Java machine.
    """

    def __init__(
        self, folder: Path, jar_folder: Path, java: str, properties: str = "", options: Sequence[str] = ()
    ) -> None:
        self._folder = folder
        log = f"-Ddriftgauge.log={folder / 'kafka.log'}"
        self._java = [java, *JAVA, *options, log, "-cp", f"{jar_folder}/*"]
        self._process: subprocess.Popen[bytes] | None = None
        port = free_port()
        self.bootstrap_servers = f"127.0.0.1:{port}"
        self._settings = folder / "server.properties"
        self._settings.write_text(
            (PROPERTIES + properties).format(port=port, controller_port=free_port(), data=folder / "data"),
            encoding="utf-8",
        )
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=").replace("-", "x")
        formatted = subprocess.run(
            [*self._java, "kafka.tools.StorageTool", "format", "-t", cluster, "-c", str(self._settings)],
            capture_output=True,
            text=True,
            timeout=READY_S,
            check=False,
        )
        if formatted.returncode:
            raise KafkaUnavailable(f"Kafka did not format its storage: {(formatted.stdout + formatted.stderr)[-800:]}")
        self.restart()

    @property
    def alive(self) -> bool:
        """Whether the broker's process runs."""
        return self._process is not None and self._process.poll() is None

    def restart(self) -> None:
        """Start the broker if it is not running, and wait until it answers."""
        if not self.alive:
            with (self._folder / "out").open("ab") as out:
                self._process = subprocess.Popen(
                    [*self._java, "kafka.Kafka", str(self._settings)],
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=out,
                    start_new_session=True,
                )
        self._wait_until_ready()

    def kill(self) -> None:
        """End the broker with SIGKILL."""
        self._end(signal.SIGKILL)

    def close(self) -> None:
        """End the broker; nothing in its folder is needed any more."""
        self._end(signal.SIGKILL)

    def _end(self, number: signal.Signals) -> None:
        if self._process is not None:
            if self._process.poll() is None:
                self._process.send_signal(number)
            self._process.wait(30)

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + READY_S
        while self.alive and time.monotonic() < deadline:
            if answers(self.bootstrap_servers, 0.5):
                return
        raise KafkaUnavailable(f"Kafka is not ready; the end of its log:\n{self._log_tail()}")

    def _log_tail(self) -> str:
        files = [self._folder / "kafka.log", self._folder / "out"]
        return "\n".join(file.read_text(errors="replace")[-1500:] for file in files if file.exists())


def answers(bootstrap_servers: str, timeout_s: float) -> bool:
    """Return whether a broker there answers a metadata request within the time."""
    admin = AdminClient({"bootstrap.servers": bootstrap_servers, "log_level": 0, "reconnect.backoff.max.ms": 200})
    try:
        return bool(admin.list_topics(timeout=timeout_s).brokers)
    except KafkaException:
        return False
