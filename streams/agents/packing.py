"""How counts and block means are put into records that the brokers take."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

from schemas import evidence

MAX_JOINED = evidence.MAX_BYTES // 10


def joined(blocks: Sequence[evidence.Blocks]) -> Iterator[evidence.Blocks]:
    """Put the blocks of each feature together, as many as one record may hold."""
    features: dict[tuple[str, str, str], list[evidence.Blocks]] = {}
    for one in blocks:
        features.setdefault((one.slice, one.feature, one.baseline_id), []).append(one)
    for key, several in features.items():
        times, values = b"".join(one.times for one in several), b"".join(one.values for one in several)
        for start in range(0, len(values) // 2, MAX_JOINED):
            end = start + MAX_JOINED
            yield evidence.Blocks(
                *key, several[0].first + start, times[8 * start : 8 * end], values[2 * start : 2 * end]
            )


def packed(
    counts: Iterable[evidence.WindowCounts], blocks: Iterable[evidence.Blocks]
) -> Iterator[tuple[list[evidence.WindowCounts], list[evidence.Blocks]]]:
    """Cut counts and blocks into records within the size limit; yield at least one."""
    size = 0
    windows: list[evidence.WindowCounts] = []
    means: list[evidence.Blocks] = []
    items: Iterable[evidence.WindowCounts | evidence.Blocks] = chain(counts, blocks)
    for item in items:
        n_bytes = len(item.counts) if isinstance(item, evidence.WindowCounts) else len(item.times) + len(item.values)
        if size and size + n_bytes > evidence.MAX_BYTES:
            yield windows, means
            size, windows, means = 0, [], []
        if isinstance(item, evidence.WindowCounts):
            windows.append(item)
        else:
            means.append(item)
        size += n_bytes
    yield windows, means
