"""Episodes: when drift becomes an alert, grows worse and ends. A pure state machine.

One episode per model and slice opens at the first drifting verdict. Its `k_star` is the finest scale
that has drifted in it. It closes after two consecutive base windows in which the latest verdict of
`k_star` and of every finer scale is calm: not drifting, every effect under its gate.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import msgspec

from detectors.errors import IncompatibleState
from detectors.rule import gates
from schemas.alerts import Alert, AlertFeature, State
from schemas.monitors import Monitor
from schemas.results import FeatureVerdict, Result, Severity

CALM_WINDOWS = 2
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

    def update_all(self, results: Iterable[Result], *, may_open: bool = True) -> list[Alert]:
        """Add results of several scales in the order `update` wants them."""
        alerts: list[Alert] = []
        for result in sorted(results, key=lambda r: (r.window_end, -r.scale, r.slice)):
            alerts.extend(self.update(result, may_open=may_open))
        return alerts

    def update(self, result: Result, *, may_open: bool = True) -> list[Alert]:
        """Add the first judgement of one window; return the alert states it causes.

        Windows come by their end; of those that end together the merged ones first, the base
        window last. Judgements of a provisional baseline are given with ``may_open=False``: they
        can neither open an episode nor make one worse.
        """
        if result.state == "insufficient" or result.state in ("no_baseline", "reference_too_short"):
            return []
        quiet_from = self.state.quiet_from.get(result.slice, 0)
        if result.scale > 1 and result.window_start < quiet_from:
            return []
        drifted = [verdict for verdict in result.features if verdict.verdict == "drift"]
        episode = self.state.open.get(result.slice)
        if drifted and may_open:
            if episode is None:
                return [self._open(result, drifted)]
            return self._add(episode, result, drifted)
        if episode is None:
            return []
        return self._calm(episode, result)

    def acknowledge(self, episode_id: str, *, by: str, time: int) -> list[Alert]:
        """Mark an open episode as seen by a person; none or unknown episodes change nothing."""
        for slice_name, episode in self.state.open.items():
            if episode.episode_id == episode_id and episode.state == "open":
                episode.sequence += 1
                episode.state = "acknowledged"
                return [self._alert(episode, slice_name, "open", "acknowledged", time, by)]
        return []

    def _open(self, result: Result, drifted: list[FeatureVerdict]) -> Alert:
        self.state.n_opened += 1
        episode = Episode(
            episode_id=f"{result.model}/{_minute(result.window_end)}/{self.state.n_opened}",
            sequence=1,
            state="open",
            opened=result.window_end,
            version=result.version,
            baseline_id=result.baseline_id,
            severity="",
            features={},
            k_star=result.scale,
            calm={result.scale: False},
        )
        self._note(episode, result, drifted)
        self.state.open[result.slice] = episode
        return self._alert(episode, result.slice, None, "drift", result.window_end)

    def _add(self, episode: Episode, result: Result, drifted: list[FeatureVerdict]) -> list[Alert]:
        episode.k_star = min(episode.k_star, result.scale)
        episode.calm[result.scale] = False
        if result.scale <= episode.k_star:
            episode.n_calm = 0
        if not self._note(episode, result, drifted):
            return []
        previous, episode.state = episode.state, "open"
        episode.sequence += 1
        return [self._alert(episode, result.slice, previous, "worse", result.window_end)]

    def _note(self, episode: Episode, result: Result, drifted: list[FeatureVerdict]) -> bool:
        """Take over drifted features; return whether one is new or the severity has risen."""
        worse = False
        for verdict in drifted:
            known = episode.features.get(verdict.feature)
            higher = known is None or _RANK[verdict.severity] > _RANK[known.severity]
            if known is None or higher:
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

    def _calm(self, episode: Episode, result: Result) -> list[Alert]:
        limits = gates(self.monitor.sensitivity)._asdict()
        episode.calm[result.scale] = all(
            verdict.verdict != "drift" and all(test.effect <= limits[name] for name, test in verdict.tests.items())
            for verdict in result.features
            if verdict.verdict in ("ok", "drift")
        )
        if result.scale != 1:
            return []
        if not all(calm for scale, calm in episode.calm.items() if scale <= episode.k_star):
            episode.n_calm = 0
            return []
        episode.n_calm += 1
        if episode.n_calm == 1:
            episode.first_calm_start = result.window_start
        if episode.n_calm < CALM_WINDOWS:
            return []
        previous, episode.state = episode.state, "resolved"
        episode.sequence += 1
        del self.state.open[result.slice]
        self.state.quiet_from[result.slice] = episode.first_calm_start
        return [self._alert(episode, result.slice, previous, "recovered", result.window_end)]

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
