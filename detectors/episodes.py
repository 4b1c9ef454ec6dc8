"""Episodes: when drift becomes an alert, grows worse and ends. A pure state machine.

One episode per model and slice opens at the first drifting verdict. Its `k_star` is the finest scale
that has drifted in it. It closes after two consecutive base windows in which the latest verdict of
`k_star` and of every finer scale is calm: nothing drifts, and every effect of the episode's features
is under its gate (of psi, ks, location and scale: the rise of the most conspicuous of many small cells
exceeds a point by chance).
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from itertools import groupby

import msgspec

from detectors.errors import IncompatibleState
from detectors.rule import gates
from schemas.alerts import Alert, AlertFeature, State
from schemas.monitors import Monitor
from schemas.results import FeatureVerdict, Result, Severity

CALM_WINDOWS = 2
GATED = ("psi", "ks", "location", "scale")
_RANK: dict[Severity, int] = {"": 0, "minor": 1, "moderate": 2, "major": 3}


class Episode(msgspec.Struct):
    """One open episode. `calm` tells, per scale, whether its latest verdict was calm."""

    episode_id: str
    sequence: int
    state: State
    opened: int
    version: str
    baseline_id: str
    severity: Severity
    features: dict[str, AlertFeature]
    k_star: int
    calm: dict[int, bool] = {}
    n_calm: int = 0
    first_calm_start: int = 0


class EpisodesState(msgspec.Struct):
    """All state of a model: open episodes and, after a close, where merged windows may begin, per slice."""

    n_opened: int = 0
    open: dict[str, Episode] = {}
    quiet_from: dict[str, int] = {}


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(EpisodesState).decode


class Episodes:
    """Turns the first judgements of a model's windows into alert states.

    Parameters
    ----------
    monitor
        Gives budget, sensitivity, owner and runbook.
    state
        To go on from; fresh by default.
    """

    def __init__(self, monitor: Monitor, state: EpisodesState | None = None) -> None:
        self.monitor = monitor
        self.state = state or EpisodesState()

    def snapshot(self) -> bytes:
        """Return the state as MessagePack."""
        return _encode(self.state)

    def restore(self, data: bytes) -> None:
        """Go on from a `snapshot`.

        Raises
        ------
        IncompatibleState
            When the bytes are not one.
        """
        try:
            self.state = _decode(data)
        except msgspec.DecodeError as error:
            raise IncompatibleState(f"not a snapshot of episodes: {error}") from error

    def update(self, *results: Result, may_open: bool = True) -> list[Alert]:
        """Add first judgements; return the alert states they cause.

        Give all results of a model that end at the same time together, so that a change is one
        alert state and not one per scale. Several ends are taken in order. Judgements of a
        provisional baseline are given with ``may_open=False``: they can neither open an episode nor
        make one worse.
        """
        alerts: list[Alert] = []
        order = sorted(results, key=lambda result: (result.window_end, result.slice, result.scale))
        for (_, slice_name), group in groupby(order, key=lambda result: (result.window_end, result.slice)):
            alerts.extend(self._update(slice_name, self._judged(slice_name, group), may_open))
        return alerts

    def _judged(self, slice_name: str, results: Iterable[Result]) -> list[Result]:
        quiet_from = self.state.quiet_from.get(slice_name, 0)
        return [
            result
            for result in results
            if result.state in ("ok", "drift") and (result.scale == 1 or result.window_start >= quiet_from)
        ]

    def _update(self, slice_name: str, results: list[Result], may_open: bool) -> list[Alert]:
        drifted = [
            (result, verdict)
            for result in results
            for verdict in result.features
            if verdict.verdict == "drift" and may_open
        ]
        episode = self.state.open.get(slice_name)
        if episode is None:
            return [self._open(slice_name, drifted)] if drifted else []
        for result in results:
            episode.calm[result.scale] = self._is_calm(episode, result)
        alerts = []
        if drifted:
            episode.k_star = min(episode.k_star, *(result.scale for result, _ in drifted))
            if self._note(episode, drifted):
                previous, episode.state = episode.state, "open"
                episode.sequence += 1
                alerts.append(self._alert(episode, slice_name, previous, "worse", drifted[0][0].window_end))
        base = next((result for result in results if result.scale == 1), None)
        if base is not None:
            alerts.extend(self._close(episode, base))
        return alerts

    def acknowledge(self, episode_id: str, *, by: str, time: int) -> list[Alert]:
        """Mark an open episode as seen by a person; none or unknown episodes change nothing."""
        for slice_name, episode in self.state.open.items():
            if episode.episode_id == episode_id and episode.state == "open":
                episode.sequence += 1
                episode.state = "acknowledged"
                return [self._alert(episode, slice_name, "open", "acknowledged", time, by)]
        return []

    def _open(self, slice_name: str, drifted: list[tuple[Result, FeatureVerdict]]) -> Alert:
        first = drifted[0][0]
        self.state.n_opened += 1
        episode = Episode(
            episode_id=f"{first.model}/{_minute(first.window_end)}/{self.state.n_opened}",
            sequence=1,
            state="open",
            opened=first.window_end,
            version=first.version,
            baseline_id=first.baseline_id,
            severity="",
            features={},
            k_star=min(result.scale for result, _ in drifted),
            calm={result.scale: False for result, _ in drifted},
        )
        self._note(episode, drifted)
        self.state.open[slice_name] = episode
        return self._alert(episode, slice_name, None, "drift", first.window_end)

    def _note(self, episode: Episode, drifted: list[tuple[Result, FeatureVerdict]]) -> bool:
        """Take over drifted features; return whether one is new or the severity has risen."""
        worse = False
        for result, verdict in drifted:
            known = episode.features.get(verdict.feature)
            if known is None or _RANK[verdict.severity] > _RANK[known.severity]:
                test = verdict.tests[verdict.reason]
                episode.features[verdict.feature] = AlertFeature(
                    feature=verdict.feature,
                    since=known.since if known else result.window_start,
                    effect=test.effect,
                    line=test.line,
                    severity=verdict.severity,
                    reason=verdict.reason,
                    before=verdict.before,
                    after=verdict.after,
                )
            worse = worse or known is None
            if _RANK[verdict.severity] > _RANK[episode.severity]:
                episode.severity, worse = verdict.severity, True
        return worse

    def _is_calm(self, episode: Episode, result: Result) -> bool:
        limits = gates(self.monitor.sensitivity)._asdict()
        return not any(
            verdict.verdict == "drift"
            or (
                verdict.verdict == "ok"
                and verdict.feature in episode.features
                and any(verdict.tests[name].effect > limits[name] for name in GATED if name in verdict.tests)
            )
            for verdict in result.features
        )

    def _close(self, episode: Episode, base: Result) -> list[Alert]:
        if not all(calm for scale, calm in episode.calm.items() if scale <= episode.k_star):
            episode.n_calm = 0
            return []
        episode.n_calm += 1
        if episode.n_calm == 1:
            episode.first_calm_start = base.window_start
        if episode.n_calm < CALM_WINDOWS:
            return []
        previous, episode.state = episode.state, "resolved"
        episode.sequence += 1
        del self.state.open[base.slice]
        self.state.quiet_from[base.slice] = episode.first_calm_start
        return [self._alert(episode, base.slice, previous, "recovered", base.window_end)]

    def _alert(
        self, episode: Episode, slice_name: str, previous: State | None, why: str, time: int, by: str | None = None
    ) -> Alert:
        features = sorted(episode.features.values(), key=lambda f: (-_RANK[f.severity], -f.effect, f.feature))
        return Alert(
            episode_id=episode.episode_id,
            sequence=episode.sequence,
            state=episode.state,
            previous=previous,
            why=why,
            model=self.monitor.model,
            version=episode.version,
            slice=slice_name,
            severity=episode.severity,
            opened=episode.opened,
            time=time,
            features=features,
            baseline_id=episode.baseline_id,
            expected_false_alarms_per_week=self.monitor.budget,
            owner=self.monitor.owner,
            runbook_url=self.monitor.runbook_url,
            by=by,
        )


def _minute(time_ms: int) -> str:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=time_ms)).strftime("%Y-%m-%dT%H:%MZ")
