"""No record of evidence outgrows its limit, however much was counted between two of them."""

from __future__ import annotations

from benchmarks.throughput.traffic import MODEL, NAMES, Traffic, baseline
from schemas import evidence
from schemas.control import Effective
from schemas.events import decode
from schemas.records import PlainRecord
from streams.agents.counting import ModelCounts
from streams.catalogue import Catalogue

NOW_MS = 1_800_000_000_000
N_ROWS = 200_000

FRAME_BYTES = 100
"""Key, origin and framing of a record."""


def model_counts() -> ModelCounts:
    """Return the empty counts of the benchmark's model."""
    catalogue = Catalogue()
    catalogue.add_baseline(baseline())
    catalogue.add_effective(Effective(MODEL, f"{MODEL}@1", 0))
    return ModelCounts("events/0", MODEL, catalogue)


def counted() -> list[evidence.Partial]:
    """Return what one source tells of 200,000 rows it was never asked about in between."""
    counts = model_counts()
    for offset, message in enumerate(Traffic("arrow", N_ROWS, 1, NOW_MS).messages()):
        counts.add(decode([PlainRecord("events", 0, offset, NOW_MS, message.value)]).batches)
    return list(counts.partials(offset + 1, None))


def test_much_evidence_is_cut_into_records_within_the_limit() -> None:
    partials = counted()
    assert len(partials) > 4
    assert max(map(len, map(evidence.encode, partials))) < evidence.MAX_BYTES


def test_only_the_last_record_carries_the_watermark() -> None:
    *earlier, last = counted()
    assert [partial.watermark for partial in earlier] == [None] * len(earlier)
    assert last.watermark is not None


def test_cutting_loses_no_block() -> None:
    found: dict[str, list[tuple[int, int]]] = {name: [] for name in NAMES}
    for partial in counted():
        for blocks in partial.blocks:
            found[blocks.feature].append((blocks.first, len(blocks.values) // 2))
    block_rows = {name: feature.block_rows for name, feature in baseline().features.items()}
    for name, pieces in found.items():
        numbers = [number for first, n in pieces for number in range(first, first + n)]
        assert numbers == list(range(N_ROWS // block_rows[name])), name


def test_evidence_is_under_a_twentieth_of_the_events_where_a_partition_has_4000_rows_a_window() -> None:
    """As with 64 partitions at 4,300 rows a second of 20 features as Arrow, not compressed by the producer."""
    counts = model_counts()
    n_events = n_evidence = told_s = 0
    for offset, message in enumerate(Traffic("arrow", 12 * 4_000, 1, NOW_MS).messages()):
        n_events += len(message.value)
        counts.add(decode([PlainRecord("events", 0, offset, NOW_MS, message.value)]).batches)
        if counts.watermark // 1_000 > told_s:
            told_s = counts.watermark // 1_000
            for partial in counts.partials(offset + 1, None):
                n_evidence += len(evidence.encode(partial)) + FRAME_BYTES
    assert n_evidence < 0.05 * n_events
