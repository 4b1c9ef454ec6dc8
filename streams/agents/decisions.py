"""Numbers and dates what people decide about a model: monitors applied, baselines promoted."""

from __future__ import annotations

import msgspec

from detectors.windows import future_guard_ms, window_end, window_start
from streams.catalogue import Catalogue


class Decisions(msgspec.Struct, array_like=True):
    """The last numbers given, and from when the last decision holds."""

    monitor_version: int = 0
    sequence: int = 0
    effective_from: int = 0

    def next_monitor(self, model: str, catalogue: Catalogue) -> int:
        """Number a new monitor."""
        self.monitor_version = max(self.monitor_version, catalogue.monitor(model).monitor_version) + 1
        return self.monitor_version

    def next_promotion(self, model: str, catalogue: Catalogue) -> int:
        """Number the promotion of a baseline."""
        self.sequence = max(self.sequence + 1, catalogue.next_sequence(model))
        return self.sequence

    def date(self, model: str, catalogue: Catalogue, newest_ms: int, new_size_ms: int = 0) -> int:
        """Return from when a decision can hold: the first window boundary that no event has reached.

        A boundary of the windows now and of those to come, and never before what was decided earlier.
        A model's first decision holds from the beginning.

        Parameters
        ----------
        newest_ms
            Newest event time of the model, -1 before its first event.
        new_size_ms
            Length of the windows to come; 0 as now.
        """
        eras = catalogue.eras(model)
        if newest_ms < 0 or not eras:
            return 0
        size, zone = max(eras[-1].baseline.window_ms, new_size_ms), eras[-1].monitor.timezone
        passed = max(newest_ms + future_guard_ms(size), self.effective_from - 1, eras[-1].start_ms - 1)
        self.effective_from = window_end(window_start(passed, size, zone), size, zone)
        return self.effective_from
