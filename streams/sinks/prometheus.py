"""What the roles tell Prometheus, with a bounded number of series whatever arrives.

Source: Prometheus' naming and instrumentation practices.
"""

from __future__ import annotations

from collections import Counter as Counts
from collections import OrderedDict
from typing import TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.metrics import MetricWrapperBase

from schemas.alerts import Alert
from schemas.results import FeatureVerdict, Result, Test
from streams.sinks import metrics
from streams.sinks.metrics import PREFIX, Metric

OTHER = "other"
MAX_WORDS = 50
MAX_EPISODES = 10_000

Family = TypeVar("Family", bound=MetricWrapperBase)
Series = tuple[str, tuple[str, ...]]


class Exported:
    """What of one model is exported: the newest verdicts by slice, feature and scale, and every series."""

    def __init__(self) -> None:
        self.slices: dict[str, dict[str, dict[int, FeatureVerdict]]] = {}
        self.n_slices_of: Counts[str] = Counts()
        self.shown: dict[tuple[str, str], set[str]] = {}
        self.windows: dict[tuple[str, int], tuple[int, int]] = {}
        self.newest_ms = 0
        self.series: set[Series] = set()


class Metrics:
    """Every metric of `streams.sinks.metrics`, registered once and set by the roles.

    Parameters
    ----------
    registry
        Where the metrics are registered.
    max_models, max_slices_per_model, max_features_per_model
        Beyond these nothing is exported, and ``series_dropped_total`` counts it.
    """

    def __init__(
        self,
        registry: CollectorRegistry,
        *,
        max_models: int = 1_000,
        max_slices_per_model: int = 50,
        max_features_per_model: int = 200,
    ) -> None:
        self._max_models = max_models
        self._max_slices = max_slices_per_model
        self._max_features = max_features_per_model
        self._counters = _families(Counter, "counter", registry)
        self._gauges = _families(Gauge, "gauge", registry)
        self._histograms = {
            one.name: Histogram(PREFIX + one.name, one.help, one.labels, registry=registry, buckets=one.buckets)
            for one in metrics.ALL
            if one.kind == "histogram"
        }
        self._models: dict[str, Exported] = {}
        self._words: dict[str, set[str]] = {}
        self._episodes: OrderedDict[str, int] = OrderedDict()
        self._open: set[str] = set()

    def rows(self, model: str, n_rows: int, newest_ms: int | None = None) -> None:
        """Count rows of a model; `newest_ms` is the largest event time among them."""
        if (exported := self._exported(model)) is None:
            return
        self._add(metrics.ROWS, n_rows, model)
        if newest_ms is not None and newest_ms > exported.newest_ms:
            exported.newest_ms = newest_ms
            self._set(metrics.LAST_EVENT, newest_ms / 1000, model)

    def late_rows(self, model: str, n_rows: int) -> None:
        """Count rows that came too late."""
        self._add(metrics.LATE_ROWS, n_rows, model)

    def limited(self, limit: str, n: int) -> None:
        """Count how often a limit was met without a dead letter."""
        if n:
            self._counters[metrics.LIMITED.name].labels(limit).inc(n)

    def type_errors(self, model: str, n_values: int) -> None:
        """Count values of a wrong type."""
        self._add(metrics.TYPE_ERRORS, n_values, model)

    def performance(self, model: str, slice_: str, metric: str, value: float) -> None:
        """Set one measure of a model's quality."""
        exported = self._exported(model)
        if exported is not None and self._admits_slice(exported, slice_):
            self._set(metrics.PERFORMANCE, value, model, slice_, self._word("metric", metric))

    def llm(self, model: str, *, n_tokens_in: int = 0, n_tokens_out: int = 0, dollars: float = 0.0) -> None:
        """Count tokens and cost of a language model."""
        self._add(metrics.LLM_TOKENS, n_tokens_in, model, "in")
        self._add(metrics.LLM_TOKENS, n_tokens_out, model, "out")
        self._add(metrics.LLM_COST, dollars, model)

    def lag(self, role: str, topic: str, partition: int, records: int) -> None:
        """Set how many records a role has yet to read of a partition."""
        self._gauges[metrics.LAG.name].labels(role, topic, str(partition)).set(records)

    def forget_partition(self, role: str, topic: str, partition: int) -> None:
        """Remove what is said of a partition this worker no longer has."""
        for metric in (metrics.LAG, metrics.CHECKPOINT_AGE):
            _remove(self._gauges[metric.name], (role, topic, str(partition)))

    def checkpoint_age(self, role: str, topic: str, partition: int, seconds: float) -> None:
        """Set for how long records of a partition have been taken since its last checkpoint."""
        self._gauges[metrics.CHECKPOINT_AGE.name].labels(role, topic, str(partition)).set(seconds)

    def pause(self, cause: str, seconds: float) -> None:
        """Record for how long records had to wait; `cause` is ``flush`` or ``checkpoint``."""
        self._histograms[metrics.INGEST_PAUSE.name].labels(cause).observe(seconds)

    def loop_stall(self, seconds: float) -> None:
        """Record how late the event loop was."""
        self._histograms[metrics.LOOP_STALL.name].observe(seconds)

    def stuck(self, seconds: float) -> None:
        """Set for how long records have waited and none was taken."""
        self._gauges[metrics.STUCK.name].set(seconds)

    def checkpoint(self, seconds: float, size_bytes: int) -> None:
        """Record one checkpoint."""
        self._histograms[metrics.CHECKPOINT_SECONDS.name].observe(seconds)
        self._gauges[metrics.CHECKPOINT_BYTES.name].set(size_bytes)

    def dead_letter(self, reason: str, n_messages: int = 1) -> None:
        """Count messages that could not be used."""
        self._counters[metrics.DEAD_LETTERS.name].labels(self._word("reason", reason)).inc(n_messages)

    def retry(self, sink: str) -> None:
        """Count one repeated send."""
        self._counters[metrics.SINK_RETRIES.name].labels(self._word("sink", sink)).inc()

    def tombstones(self, n_records: int) -> None:
        """Count records without a value."""
        self._counters[metrics.TOMBSTONES.name].inc(n_records)

    def late_after_final(self, n_windows: int) -> None:
        """Count counts that came for windows nobody keeps any more."""
        self._counters[metrics.LATE_AFTER_FINAL.name].inc(n_windows)

    def state_lost(self, agent: str, n_records: int) -> None:
        """Count records whose effect on an agent's state is lost."""
        self._counters[metrics.STATE_LOST.name].labels(agent).inc(n_records)

    def observe_alert(self, alert: Alert) -> None:
        """Take one state of an alert; a state seen before or overtaken changes nothing."""
        known = self._episodes.get(alert.episode_id)
        if known is not None and alert.sequence <= known:
            return
        self._episodes[alert.episode_id] = alert.sequence
        self._episodes.move_to_end(alert.episode_id)
        if known is None and alert.previous is None:
            self._counters[metrics.ALERTS.name].labels(alert.severity or "none").inc()
        if alert.state in ("open", "acknowledged"):
            self._open.add(alert.episode_id)
        else:
            self._open.discard(alert.episode_id)
        if len(self._episodes) > MAX_EPISODES:
            self._open.discard(self._episodes.popitem(last=False)[0])
        self._gauges[metrics.ALERTS_OPEN.name].set(len(self._open))

    def observe_result(self, result: Result, now_ms: int) -> None:
        """Show the newest window of each scale; older windows and replayed ones change nothing.

        `now_ms` is the wall clock, for the time from the window's end to its first result.
        """
        if result.run_id != "live" or (exported := self._exported(result.model)) is None:
            return
        if not self._admits_slice(exported, result.slice):
            return
        key = (result.slice, result.scale)
        start, revision = exported.windows.get(key, (-1, -1))
        if (result.window_start, result.revision) < (start, revision):
            return
        exported.windows[key] = (result.window_start, result.revision)
        finest = result.scale == min(scale for slice_, scale in exported.windows if slice_ == result.slice)
        if finest:
            self._set(metrics.WINDOW_ROWS, result.rows, result.model, result.slice)
            if result.window_start > start and not result.slice:
                self._histograms[metrics.EVENT_TO_RESULT.name].observe(max(now_ms - result.window_end, 0) / 1000)
        self._observe_features(result, exported, finest)

    def forget(self, model: str) -> None:
        """Remove every series of a model, as when its partition went to another worker."""
        exported = self._models.pop(model, None)
        for name, labels in exported.series if exported else ():
            _remove(self._counters.get(name) or self._gauges[name], labels)

    def _observe_features(self, result: Result, exported: Exported, finest: bool) -> None:
        features = exported.slices[result.slice]
        for gone in features.keys() - {one.feature for one in result.features}:
            features[gone].pop(result.scale, None)
            self._show(result.model, result.slice, gone, exported)
            if not features[gone]:
                del features[gone]
                exported.n_slices_of[gone] -= 1
                exported.n_slices_of += Counts()  # drops what has come to zero
        for one in result.features:
            if one.feature not in features:
                if one.feature not in exported.n_slices_of and len(exported.n_slices_of) >= self._max_features:
                    self._dropped("features")
                    continue
                exported.n_slices_of[one.feature] += 1
                features[one.feature] = {}
            features[one.feature][result.scale] = one
            self._show(result.model, result.slice, one.feature, exported)
            if finest and result.rows > 0:
                ratio = min(one.missing / result.rows, 1.0)
                self._set(metrics.MISSING_RATIO, ratio, result.model, result.slice, one.feature)

    def _show(self, model: str, slice_: str, feature: str, exported: Exported) -> None:
        """Set a feature's state and tests from its newest verdicts at all scales, and remove what has none."""
        labels = (model, slice_, feature)
        verdicts = exported.slices[slice_][feature].values()
        strongest: dict[str, Test] = {}
        for name, test in (pair for one in verdicts for pair in one.tests.items()):
            if name not in strongest or _strength(test) > _strength(strongest[name]):
                strongest[name] = test
        for stale in exported.shown.get((slice_, feature), set()) - strongest.keys():
            for metric in (metrics.DRIFT_EFFECT, metrics.DRIFT_THRESHOLD):
                self._drop((metric.name, (*labels, stale)), exported)
        exported.shown[slice_, feature] = set(strongest)
        if not verdicts:
            del exported.shown[slice_, feature]
            for metric in (metrics.DRIFT_STATE, metrics.MISSING_RATIO):
                self._drop((metric.name, labels), exported)
            return
        judged = {one.verdict for one in verdicts}
        self._set(metrics.DRIFT_STATE, 1 if "drift" in judged else 0 if "ok" in judged else 2, *labels)
        for name, test in strongest.items():
            self._set(metrics.DRIFT_EFFECT, test.effect, *labels, name)
            self._set(metrics.DRIFT_THRESHOLD, test.line, *labels, name)

    def _admits_slice(self, exported: Exported, slice_: str) -> bool:
        if slice_ not in exported.slices:
            if len(exported.slices) >= self._max_slices:
                self._dropped("slices")
                return False
            exported.slices[slice_] = {}
        return True

    def _exported(self, model: str) -> Exported | None:
        if model not in self._models:
            if len(self._models) >= self._max_models:
                self._dropped("models")
                return None
            self._models[model] = Exported()
        return self._models[model]

    def _dropped(self, limit: str) -> None:
        self._counters[metrics.SERIES_DROPPED.name].labels(limit).inc()

    def _add(self, metric: Metric, amount: float, *labels: str) -> None:
        if amount > 0 and (exported := self._exported(labels[0])) is not None:
            exported.series.add((metric.name, labels))
            self._counters[metric.name].labels(*labels).inc(amount)

    def _set(self, metric: Metric, value: float, *labels: str) -> None:
        if (exported := self._exported(labels[0])) is not None:
            exported.series.add((metric.name, labels))
            self._gauges[metric.name].labels(*labels).set(value)

    def _drop(self, series: Series, exported: Exported) -> None:
        if series in exported.series:
            exported.series.discard(series)
            _remove(self._gauges[series[0]], series[1])

    def _word(self, label: str, word: str) -> str:
        """Return the word, or ``other`` when it is new and its label has had its fill of words."""
        seen = self._words.setdefault(label, set())
        if word not in seen:
            if len(seen) >= MAX_WORDS:
                self._dropped(label)
                return OTHER
            seen.add(word)
        return word


def _strength(test: Test) -> float:
    return test.effect / test.line if test.line else test.effect


def _families(kind: type[Family], name: str, registry: CollectorRegistry) -> dict[str, Family]:
    return {
        one.name: kind(PREFIX + one.name, one.help, one.labels, registry=registry)
        for one in metrics.ALL
        if one.kind == name
    }


def _remove(family: MetricWrapperBase, labels: tuple[str, ...]) -> None:
    try:
        family.remove(*labels)
    except KeyError:
        return
