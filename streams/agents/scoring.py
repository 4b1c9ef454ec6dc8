"""Counts of several windows become the verdicts of one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from detectors import profile
from schemas.baselines import Baseline
from schemas.codec import compress, decompress
from schemas.monitors import Monitor
from schemas.results import FeatureVerdict
from streams.agents.merging import Pair, Window
from streams.agents.sources import Source
from streams.agents.vectors import parts
from streams.agents.windows import Key
from streams.catalogue import Catalogue

MAX_SCORED_BYTES = 200_000_000

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[FeatureVerdict]).decode


class Scores:
    """Scores windows of one model; what was scored is kept, compressed, until it is final.

    Every window is told a second time when it closes, mostly with the same counts.
    """

    def __init__(self, model: str, catalogue: Catalogue) -> None:
        self._model, self._catalogue = model, catalogue
        self._scored: dict[tuple[Key, int], tuple[int, Pair, bytes]] = {}

    def score(
        self,
        key: Key,
        scale: int,
        last: Window,
        inside: Sequence[Window],
        sources: Mapping[str, Source],
        *,
        sealed: bool,
    ) -> list[FeatureVerdict] | None:
        """Return the verdicts over the windows `inside`, the last of which is at `key`; None when they do not merge."""
        if any(window.mixed or not self._merges(window, last) for window in inside):
            return None
        n_counted = sum(window.n_counted for window in inside)
        known = self._scored.pop((key, scale), None)
        if known is not None and known[:2] == (n_counted, last.pair):
            verdicts, packed = _decode(decompress(known[2], MAX_SCORED_BYTES)), known[2]
        else:
            verdicts = self._verdicts(scale, last, inside, sources)
            packed = b"" if sealed else compress(_encode(verdicts))
        if not sealed:
            self._scored[key, scale] = n_counted, last.pair, packed
        return verdicts

    def forget(self, key: Key) -> None:
        """Drop what was kept of the windows that end with this one."""
        for known in [known for known in self._scored if known[0] == key]:
            del self._scored[known]

    def _verdicts(
        self, scale: int, last: Window, inside: Sequence[Window], sources: Mapping[str, Source]
    ) -> list[FeatureVerdict]:
        baseline, monitor = self._catalogue.under(self._model, *last.pair)
        counts, unseen = self._counted(baseline, inside, sources)
        rule = self._catalogue.rule(baseline, monitor)
        rows = sum(window.rows for window in inside)
        return _discreet(rule.score(counts, rows=rows, scale=scale, unseen=unseen), baseline, monitor)

    def _merges(self, window: Window, last: Window) -> bool:
        """Tell whether counts of two windows may be added: of the same baseline, in windows of the same kind."""
        if window.pair == last.pair:
            return True
        one, under_one = self._catalogue.under(self._model, *window.pair)
        other, under_other = self._catalogue.under(self._model, *last.pair)
        alike = (one.baseline_id, one.window_ms, under_one.timezone)
        return alike == (other.baseline_id, other.window_ms, under_other.timezone)

    def _counted(
        self, baseline: Baseline, inside: Sequence[Window], sources: Mapping[str, Source]
    ) -> tuple[NDArray[np.int64], profile.Unseen]:
        layout = self._catalogue.layout(baseline)
        ranges = parts(layout)
        total = layout.zeros()
        unseen: profile.Unseen = {}
        for window in inside:
            window.settle(sources)
            window.add_to(total, ranges)
            if levels := window.unseen_levels():
                unseen = profile.merge_unseen(unseen, levels)
        return total, unseen


def _discreet(verdicts: list[FeatureVerdict], baseline: Baseline, monitor: Monitor) -> list[FeatureVerdict]:
    """Leave out the values of features that became sensitive after the baseline was built."""
    hidden = {
        name
        for name, wanted in monitor.features.items()
        if wanted.sensitive and name in baseline.features and not baseline.features[name].sensitive
    }
    if not hidden:
        return verdicts
    return [
        msgspec.structs.replace(verdict, before="", after="", top_bins=[]) if verdict.feature in hidden else verdict
        for verdict in verdicts
    ]
