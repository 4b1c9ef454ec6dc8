"""When each version of a model was first seen: deployment marks."""

from __future__ import annotations

import msgspec

MAX_VERSIONS = 64


class Deployments(msgspec.Struct, array_like=True):
    """Event times of the first and the newest window's first event of each version.

    The model's earliest version is no deployment, nor are rows without a version. While `MAX_VERSIONS`
    versions are in use no further one is marked: somebody writes another one into every row.
    """

    seen: dict[str, tuple[int, int]] = {}

    def update(self, version: str, first_ms: int | None) -> list[int]:
        """Take the first event of a version in a window; return the event times whose windows' marks change."""
        known = self.seen.get(version)
        if first_ms is None or (known is None and len(self.seen) >= MAX_VERSIONS):
            return []
        if known is not None and known[0] <= first_ms:
            self.seen[version] = known[0], max(known[1], first_ms)
            return []
        before = self.marks()
        self.seen[version] = first_ms, first_ms if known is None else known[1]
        return sorted({time for _, time in set(before).symmetric_difference(self.marks())})

    def marks(self) -> list[tuple[str, int]]:
        """Return (version, time of its first event) of every deployment, in order of time."""
        order = sorted((first, version) for version, (first, _) in self.seen.items())
        return [(version, first) for first, version in order[1:] if version]

    def between(self, start: int, end: int) -> list[tuple[str, int]]:
        """Return the deployments in [start, end)."""
        if len(self.seen) < 2:
            return []
        return [(version, time) for version, time in self.marks() if start <= time < end]

    def forget(self, before: int) -> None:
        """Make room, when there is none, by forgetting versions without rows since then; never the earliest."""
        if len(self.seen) >= MAX_VERSIONS:
            earliest = min(self.seen, key=lambda version: (self.seen[version][0], version))
            self.seen = {v: times for v, times in self.seen.items() if v == earliest or times[1] >= before}
