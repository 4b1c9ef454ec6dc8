"""Distances between a reference and a window, from counts. One file a statistic.

`STATISTICS` is the one list of names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from detectors.statistics.ks import ks
from detectors.statistics.psi import psi

Statistic = Callable[..., Any]

STATISTICS: Mapping[str, Statistic] = {"psi": psi, "ks": ks}
