"""Apache Kafka in a container, for machines with Docker and without Java."""

from __future__ import annotations

import subprocess
import time

from tests.kafka.server import READY_S, KafkaUnavailable, answers, free_port, version

SETTINGS = {
    "KAFKA_NODE_ID": "1",
    "KAFKA_PROCESS_ROLES": "broker,controller",
    "KAFKA_LISTENERS": "PLAINTEXT://:9092,CONTROLLER://:9093",
    "KAFKA_CONTROLLER_LISTENER_NAMES": "CONTROLLER",
    "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
    "KAFKA_CONTROLLER_QUORUM_VOTERS": "1@localhost:9093",
    "KAFKA_AUTO_CREATE_TOPICS_ENABLE": "false",
    "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR": "1",
    "KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1",
    "KAFKA_TRANSACTION_STATE_LOG_MIN_ISR": "1",
    "KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS": "0",
    "KAFKA_GROUP_MIN_SESSION_TIMEOUT_MS": "1000",
    "KAFKA_BROKER_HEARTBEAT_INTERVAL_MS": "500",
    "KAFKA_BROKER_SESSION_TIMEOUT_MS": "2000",
}


class ContainerKafka:
    """One Kafka node in a container that publishes its port on 127.0.0.1."""

    def __init__(self, docker: str) -> None:
        self._docker = docker
        if subprocess.run([docker, "info"], capture_output=True, timeout=20, check=False).returncode:
            raise KafkaUnavailable("Docker's command is here but no engine answers it")
        port = free_port()
        self.bootstrap_servers = f"127.0.0.1:{port}"
        settings = SETTINGS | {"KAFKA_ADVERTISED_LISTENERS": f"PLAINTEXT://{self.bootstrap_servers}"}
        environment = [part for name, value in settings.items() for part in ("--env", f"{name}={value}")]
        publish = ["--publish", f"{self.bootstrap_servers}:9092"]
        self._id = self._run("run", "--detach", *publish, *environment, f"apache/kafka:{version()}", timeout_s=600)
        self._wait_until_ready()

    @property
    def alive(self) -> bool:
        """Whether the container runs."""
        return self._run("inspect", "--format", "{{.State.Running}}", self._id) == "true"

    def restart(self) -> None:
        """Start the container again if it is not running, and wait until it answers."""
        self._run("start", self._id)
        self._wait_until_ready()

    def kill(self) -> None:
        """End the broker with SIGKILL."""
        self._run("kill", "--signal", "KILL", self._id)

    def close(self) -> None:
        """Remove the container."""
        self._run("rm", "--force", "--volumes", self._id)

    def _run(self, *arguments: str, timeout_s: float = 60.0) -> str:
        done = subprocess.run(
            [self._docker, *arguments], capture_output=True, text=True, timeout=timeout_s, check=False
        )
        if done.returncode:
            raise KafkaUnavailable(f"docker {arguments[0]} failed: {done.stderr[-400:]}")
        return done.stdout.strip()

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + READY_S
        while time.monotonic() < deadline:
            if answers(self.bootstrap_servers, 0.5):
                return
        raise KafkaUnavailable(f"the Kafka container did not answer within {READY_S:g} s")
