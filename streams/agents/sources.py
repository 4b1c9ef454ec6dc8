"""How far the sources of one model have come, and what of them was lost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from schemas.evidence import Partial

MAX_SPANS = 32


class Source(msgspec.Struct, array_like=True):
    """How far one source has come with this model.

    `final` is the largest watermark that surely came from rows: idleness alone moves `watermark` (and
    `rested`) on, after which rows may still be counted in windows before it. What a source says of a
    window that closes by its `final` was said for good.
    """

    position: int = -1
    watermark: int = -1
    idle: bool = False
    rested: int = -1
    final: int = -1

    def update(self, partial: Partial) -> bool:
        """Take a partial's watermark; return whether it has one that is not older than what is known."""
        if partial.watermark is None or partial.position < self.position:
            return False
        self.position, self.idle = partial.position, partial.idle
        self.watermark = max(self.watermark, partial.watermark)
        if partial.idle:
            self.rested = max(self.rested, partial.watermark)
        elif partial.watermark > self.rested:
            self.final = max(self.final, partial.watermark)
        return True


class Span(NamedTuple):
    """Event times between which rows of a source may be missing; windows that closed by `final` have all of them."""

    from_ms: int
    to_ms: int
    final: int

    def touches(self, start: int, end: int, closes: int) -> bool:
        """Tell whether rows of the window may be missing."""
        return closes > self.final and end > self.from_ms and start <= self.to_ms


def joint_watermark(sources: Mapping[str, Source]) -> int:
    """Return the watermark of the slowest source that is not idle; of idle ones the fastest."""
    active = [source.watermark for source in sources.values() if not source.idle]
    return min(active) if active else max(source.watermark for source in sources.values())


class Losses(msgspec.Struct, array_like=True):
    """What may be missing: told by sources of their rows, and evidence the judge itself has lost.

    `awaited` holds, after a loss of evidence, what each source had said for good before it: until the
    source is heard again, nobody knows what it said meanwhile. `since_start` says that sources nobody
    has heard of may have spoken as well; it ends with the windows of the time of the loss, `lost_at`.
    """

    spans: list[Span] = []
    awaited: dict[str, int] = {}
    since_start: bool = False
    lost_at: int = -1

    def lose(self, sources: Mapping[str, Source], joint: int) -> None:
        """Note that evidence was lost before the next record."""
        self.since_start, self.lost_at = True, joint
        for name, source in sources.items():
            self.awaited.setdefault(name, source.final)

    def update(self, partial: Partial, source: Source, sources: Mapping[str, Source], *, new: bool) -> list[Span]:
        """Return the spans a partial tells of, before the source takes its watermark."""
        found = [] if partial.lost is None else [Span(*partial.lost, source.final)]
        announces = partial.watermark is None and not partial.windows and not partial.blocks
        if new and self.since_start and not announces:
            self.awaited[partial.source] = -1
        if self.awaited and partial.watermark is not None:
            heard = [name for name in self.awaited if name == partial.source or _rests(sources.get(name))]
            found += [Span(-1, partial.watermark, self.awaited.pop(name)) for name in heard]
        fresh = [span for span in found if span not in self.spans]
        self.spans = _bounded([*self.spans, *fresh])
        return fresh

    def touch(self, start: int, end: int, closes: int) -> bool:
        """Tell whether rows of a window may be missing."""
        return any(span.touches(start, end, closes) for span in self.spans)

    def forget(self, before: int) -> None:
        """Drop what concerns only windows that end before this time."""
        if self.spans:
            self.spans = [span for span in self.spans if span.to_ms >= before]
        if self.since_start:
            self.since_start = self.lost_at < 0 or self.lost_at >= before
            self.lost_at = self.lost_at if self.lost_at >= 0 else before


def _rests(source: Source | None) -> bool:
    return source is None or source.idle


def _bounded(spans: list[Span]) -> list[Span]:
    """Join the two oldest spans while there are too many: more may be flagged than has to be, never less."""
    while len(spans) > MAX_SPANS:
        one, other, *spans = spans
        spans.insert(0, Span(min(one[0], other[0]), max(one[1], other[1]), min(one[2], other[2])))
    return spans
