"""`detect`: profiles rows, judges windows, learns baselines."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from schemas import topics
from schemas.mapped import MappedDecoder
from streams.agents.decoding import Decoder
from streams.agents.judge import JudgeStage
from streams.agents.learn import LearnStage
from streams.agents.profile import DEFAULT_LIMITS, Limits, ProfileStage
from streams.engine.agent import StatefulAgent
from streams.engine.app import RoleApp, attach, leave
from streams.engine.stage import Stage
from streams.roles.mapped import MappedTopics
from streams.roles.parts import Parts
from streams.settings import Settings

EMBEDDED_GATHER_BYTES = 250_000
"""The embedded broker keeps little, so snapshots on it stay small."""


def build(settings: Settings) -> RoleApp:
    """Return the app that profiles, judges and learns."""
    parts = Parts("detect", settings)
    parts.follow_control()
    catalogue, metrics = parts.catalogue, parts.metrics

    mapped = MappedTopics(settings, parts.n_partitions)
    mapped.follow(parts.app, catalogue)
    limits = Limits(
        features=settings.max_features,
        models=settings.max_models,
        versions=settings.max_versions,
        future_ms=round(settings.future_guard_s * 1000),
        gather_bytes=EMBEDDED_GATHER_BYTES if settings.embedded else DEFAULT_LIMITS.gather_bytes,
    )

    profiled = [topics.EVENTS.name, *mapped]
    sources = [f"{topic}/{partition}" for topic in profiled for partition in range(parts.n_partitions[topic])]

    def profile(topic: str, decoder: Callable[[], Decoder] | None = None) -> Callable[[int, int], ProfileStage]:
        def make(partition: int, log_end: int) -> ProfileStage:
            return ProfileStage(
                f"{topic}/{partition}",
                catalogue,
                parts.originating(topic, partition),
                metrics,
                log_end=log_end,
                limits=limits,
                decoder=decoder() if decoder is not None else None,
            )

        return make

    def mapping(topic: str) -> Callable[[], Decoder]:
        return lambda: MappedDecoder(lambda: catalogue.mappings(topic), max_features=settings.max_features)

    def judge(partition: int, _log_end: int) -> JudgeStage:
        out = parts.originating(topics.EVIDENCE.name, partition)
        return JudgeStage(catalogue, out, metrics, lambda: int(time.time() * 1000), sources=sources)

    def learn(partition: int, _log_end: int) -> LearnStage:
        source = f"{topics.LEARNING.name}/{partition}"
        out = parts.originating(topics.LEARNING.name, partition)
        return LearnStage(source, catalogue, out, metrics, max_features=settings.max_features)

    def gone(stage: Stage) -> None:
        if isinstance(stage, JudgeStage):
            for model in stage.segments():
                metrics.forget(model)

    agents: list[tuple[str, str, Any]] = [
        ("profile", topics.EVENTS.name, profile(topics.EVENTS.name)),
        *((topics.profile_of(topic), topic, profile(topic, mapping(topic))) for topic in mapped),
        ("judge", topics.EVIDENCE.name, judge),
        ("learn", topics.LEARNING.name, learn),
    ]
    attach(
        parts.app,
        [
            StatefulAgent(
                parts.app, settings, parts.outbox, name=name, topic=topic,
                snapshot_topic=topics.snapshots(name).name, make_stage=make, metrics=metrics, leave=leave, gone=gone,
                poisonous=lambda record, why: [parts.dead(record, "poisonous", why)],
            )
            for name, topic, make in agents
        ],
    )  # fmt: skip
    return parts.app
