"""A partition this worker owns."""

from __future__ import annotations

import time
from collections.abc import Sequence

from schemas.records import Record
from streams.engine.checkpoint import Cut
from streams.engine.pointer import Pointer
from streams.engine.private import Committed
from streams.engine.slices import Pace
from streams.engine.stage import Stage

SKIP_ATTEMPT = 2


class Held:
    """The state of a partition, its position, and what is durable of both.

    `begun` turns true with the first record taken or when there is none to take; `unsaved_since` is the monotonic
    time since which records were taken that no checkpoint covers.
    """

    def __init__(self, stage: Stage, position: int, pointer: Pointer | None) -> None:
        self.stage, self.position = stage, position
        self.begun = True
        self.pace = Pace()
        self.cut: Cut | None = None
        self.must_save = False
        self.pointer = pointer
        self.committed = position
        self.unsaved_since: float | None = None
        self.attempts = pointer.attempts if pointer else 0
        self.suspect = pointer.suspect if pointer else 0

    @property
    def moved(self) -> bool:
        """Whether there is something to checkpoint."""
        return self.position != self.committed or self.pointer is None or self.must_save

    def move(self, position: int) -> None:
        """Take note that the state holds the records below `position`."""
        self.position, self.begun = position, True
        if self.unsaved_since is None:
            self.unsaved_since = time.monotonic()
        if position > self.suspect or (self.attempts < SKIP_ATTEMPT and position == self.suspect):
            self.attempts = 0

    def save(self, position: int, pointer: Pointer, cut_at: float) -> None:
        """Take note that the state at `position` is durable."""
        self.committed, self.pointer = position, pointer
        self.unsaved_since = None if position == self.position else cut_at

    def close_cut(self) -> None:
        """Encode what the checkpoint under way still lacks: the state changes in another way than by records."""
        if self.cut is not None:
            self.cut.close()

    def equals(self, commit: Committed | None) -> bool:
        """Tell whether exactly this state is what is committed."""
        if commit is None or self.pointer is None or self.moved:
            return False
        return commit == Committed(self.committed, self.pointer.encode())

    def age_s(self) -> float:
        """Return for how long records have been taken that a crash would have taken again."""
        return 0.0 if self.unsaved_since is None else time.monotonic() - self.unsaved_since

    def parts(self, records: Sequence[Record]) -> list[Sequence[Record]]:
        """Cut records so that one that made the stage raise is found: one by one at first, then alone."""
        if self.attempts == 0:
            return [records]
        if self.attempts < SKIP_ATTEMPT:
            return [[record] for record in records]
        before = [record for record in records if record.offset < self.suspect]
        after = [record for record in records if record.offset > self.suspect]
        culprit = [record for record in records if record.offset == self.suspect]
        return [part for part in (before, culprit, after) if part]

    def is_culprit(self, part: Sequence[Record]) -> bool:
        """Tell whether a part is the record that has failed twice."""
        return self.attempts >= SKIP_ATTEMPT and part[0].offset == self.suspect

    def failed(self, part: Sequence[Record]) -> Pointer | None:
        """Return the pointer that counts the attempt at a part which made the stage raise; None without a snapshot."""
        if self.pointer is None:
            return None
        if self.attempts == 1 and len(part) == 1:
            return self.pointer._replace(attempts=SKIP_ATTEMPT, suspect=part[0].offset)
        return self.pointer._replace(attempts=1, suspect=part[-1].offset + 1)
