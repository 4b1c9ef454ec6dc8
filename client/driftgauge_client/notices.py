"""Log lines that cannot flood a service: one per subject and minute, with the number left out."""

from __future__ import annotations

import logging
import threading
import time

logger = logging.getLogger("driftgauge_client")


class Notices:
    """Says each subject at most once per `interval_s`; never raises."""

    def __init__(self, interval_s: float = 60.0) -> None:
        self._interval_s = interval_s
        self._lock = threading.RLock()
        self._said: dict[str, tuple[float, int]] = {}

    def say(self, subject: str, text: str) -> None:
        """Log a warning, or count it when the subject was logged a short time ago."""
        now = time.monotonic()
        with self._lock:
            last, n_left_out = self._said.get(subject, (-self._interval_s, 0))
            if now - last < self._interval_s:
                self._said[subject] = (last, n_left_out + 1)
                return
            self._said[subject] = (now, 0)
        more = f" ({n_left_out} more like this in between)" if n_left_out else ""
        logger.warning("driftgauge: %s%s", text, more)
