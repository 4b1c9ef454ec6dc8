"""`detect`: profiles rows, judges windows, learns baselines."""

from __future__ import annotations

import time
from typing import Any

from schemas import topics
from streams.agents.judge import JudgeStage
from streams.agents.learn import LearnStage
from streams.agents.profile import DEFAULT_LIMITS, Limits, ProfileStage
from streams.engine.agent import StatefulAgent
from streams.engine.app import RoleApp, attach, leave
from streams.roles.parts import Parts
from streams.settings import Settings

EMBEDDED_GATHER_BYTES = 250_000
"""The embedded broker keeps little, so snapshots on it stay small."""


def build(settings: Settings) -> RoleApp:
    """Return the app that profiles, judges and learns."""
    parts = Parts("detect", settings)
    parts.follow_control()
    catalogue, metrics = parts.catalogue, parts.metrics

    limits = Limits(
        features=settings.max_features,
        models=settings.max_models,
        versions=settings.max_versions,
        future_ms=round(settings.future_guard_s * 1000),
        gather_bytes=EMBEDDED_GATHER_BYTES if settings.embedded else DEFAULT_LIMITS.gather_bytes,
    )

    def profile(partition: int, log_end: int) -> ProfileStage:
        return ProfileStage(
            f"{topics.EVENTS.name}/{partition}",
            catalogue,
            parts.originating(topics.EVENTS.name, partition),
            metrics,
            log_end=log_end,
            limits=limits,
        )

    def judge(partition: int, _log_end: int) -> JudgeStage:
        out = parts.originating(topics.EVIDENCE.name, partition)
        return JudgeStage(catalogue, out, metrics, lambda: int(time.time() * 1000))

    def learn(partition: int, _log_end: int) -> LearnStage:
        source = f"{topics.LEARNING.name}/{partition}"
        out = parts.originating(topics.LEARNING.name, partition)
        return LearnStage(source, catalogue, out, metrics, max_features=settings.max_features)

    stages: dict[str, Any] = {"profile": profile, "judge": judge, "learn": learn}
    attach(
        parts.app,
        [
            StatefulAgent(
                parts.app, settings, parts.outbox, name=name, topic=topics.INPUTS[name].name,
                snapshot_topic=topics.snapshots(name).name, make_stage=make, metrics=metrics, leave=leave,
                poisonous=lambda record, why: [parts.dead(record, "poisonous", why)],
            )
            for name, make in stages.items()
        ],
    )  # fmt: skip
    return parts.app
