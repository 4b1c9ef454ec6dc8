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


def counted() -> list[evidence.Partial]:
    """Return what one source tells of 200,000 rows it was never asked about in between."""
    catalogue = Catalogue()
    catalogue.add_baseline(baseline())
    catalogue.add_effective(Effective(MODEL, f"{MODEL}@1", 0))
    counts = ModelCounts("events/0", MODEL, catalogue)
    for offset, message in enumerate(Traffic("arrow", N_ROWS, 1, NOW_MS).messages()):
        counts.add(decode([PlainRecord("events", 0, offset, NOW_MS, message.value)]).batches)
    return list(counts.partials(offset + 1, None))


def test_much_evidence_is_cut_into_records_within_the_limit() -> None:
    partials = counted()
    assert sum(map(len, map(evidence.encode, partials))) > 4 * evidence.MAX_BYTES
    assert max(map(len, map(evidence.encode, partials))) < 1.2 * evidence.MAX_BYTES


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
