"""How a vector of counts is cut so that no evidence record grows too large."""

from __future__ import annotations

from detectors.layout import Layout

MAX_CELLS = 30_000


def parts(layout: Layout) -> list[slice]:
    """Return ranges of the vector, each of whole features and at most `MAX_CELLS` cells where possible.

    A function of the layout alone, so profile and judge agree.
    """
    cuts = [0]
    last = 0
    for part in layout.slices.values():
        if part.stop - cuts[-1] > MAX_CELLS and last > cuts[-1]:
            cuts.append(last)
        last = part.stop
    return [slice(start, stop) for start, stop in zip(cuts, [*cuts[1:], layout.size], strict=True)]
