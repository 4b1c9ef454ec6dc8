"""Timelines as drawings, one column a step of time.

Under ``p0:``, ``p1:`` … stands what is produced in each column::

    r   ten rows of this column
    1-9 ten rows as many columns old
    f   ten rows with a clock five hours ahead
    R   ten rows of this column, but the partition is not read; a-i the same, 1-9 columns old
    <   all that waits is read
    .   nothing

Under ``judged:``, ``again:`` and ``sealed:`` stands which window (its first column, 0-9 then a-z) is judged for
the first time, judged again, and sealed at the end of that column; several lines where it is several. ``rows:``
and ``late:`` tell, below each window's first column, tens of rows in its last revision. `|` in ``windows:`` stands
below the column with which a window begins.
"""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise

from schemas.monitors import Monitor
from schemas.results import Result
from tests.timelines.line import MODEL, Line, watched

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
T0 = 1_767_225_600_000  # 2026-01-01, a Thursday
ROWS = 10
DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


def parsed(drawing: str) -> dict[str, list[str]]:
    """Return the lines of a drawing by name."""
    lines: dict[str, list[str]] = defaultdict(list)
    for line in drawing.splitlines():
        name, colon, drawn = line.strip().partition(": ")
        if colon:
            lines[name].append(drawn.strip())
    return lines


def monitor(window: str = "1m", timezone: str = "UTC", *, lateness: float = 1.0, idle_s: float = 120.0) -> Monitor:
    """Return a monitor whose only scale is the base window."""
    return Monitor(
        MODEL,
        monitor_version=1,
        window=window,  # type: ignore[arg-type]  # one of the names
        timezone=timezone,
        scales=[1],
        lateness_windows=lateness,
        idle_s=idle_s,
    )


class Drawn:
    """A drawing that was run: what was judged when, and what came out in the end."""

    def __init__(
        self,
        drawing: str,
        watching: Monitor | None = None,
        *,
        step_ms: int = MINUTE_MS,
        start_ms: int = T0,
        restarts: frozenset[int] = frozenset(),
    ) -> None:
        self.lines = parsed(drawing)
        self._step, self._start = step_ms, start_ms
        partitions = [self.lines[f"p{n}"][0] for n in range(sum(name[0] == "p" for name in self.lines))]
        self.line = Line(watched(watching or monitor()), len(partitions))
        self.n_columns = max(map(len, partitions))
        self.found: dict[str, list[list[str]]] = {name: [] for name in ("judged", "again", "sealed")}
        self._revisions: dict[int, Result] = {}
        for column in range(self.n_columns):
            for partition, drawn in enumerate(partitions):
                self._produce(partition, drawn[column : column + 1], column)
            self.line.now = start_ms + (column + 1) * step_ms
            n_before = len(self.line.made)
            self.line.flush()
            self._note(self.line.made[n_before:])
            if column in restarts:
                self.line.restart()
        self.line.finish()
        self._note(self.line.made)

    def _produce(self, partition: int, what: str, column: int) -> None:
        now = self._start + column * self._step
        if what and what not in ".<":
            age = int(what) if what.isdigit() else "abcdefghi".find(what) + 1
            ahead = 5 * HOUR_MS if what == "f" else 0
            times = [now - age * self._step + ahead + n * self._step // 12 for n in range(ROWS)]
            self.line.produce(partition, times, now + self._step * 10 // 12)
        if what and what not in "Rabcdefghi.":
            self.line.poll(partition)

    def _note(self, made: object) -> None:
        noted: dict[str, list[str]] = {name: [] for name in self.found}
        assert isinstance(made, list)
        for result in made:
            if isinstance(result, Result):
                before = self._revisions.get(result.window_start)
                if before is not None and before.revision >= result.revision:
                    continue
                self._revisions[result.window_start] = result
                number = DIGITS[(result.window_start - self._start) // self._step % len(DIGITS)]
                if before is None:
                    noted["judged"].append(number)
                elif before.rows + before.late_rows != result.rows + result.late_rows:
                    noted["again"].append(number)
                if result.sealed and (before is None or not before.sealed):
                    noted["sealed"].append(number)
        for name, numbers in noted.items():
            self.found[name].append(sorted(set(numbers)))

    def results(self) -> list[Result]:
        """Return the last revisions by window."""
        return [self._revisions[start] for start in sorted(self._revisions)]

    def check(self) -> None:
        """Compare everything that is drawn below the partitions with what was found."""
        for name in self.found:
            if name in self.lines:
                columns = [self._at(name, column) for column in range(self.n_columns)]
                assert self.found[name][: self.n_columns] == columns, self._shown(name)
        tens = {"rows": [r.rows // ROWS for r in self.results()], "late": [r.late_rows // ROWS for r in self.results()]}
        for name, counts in tens.items():
            if name in self.lines:
                firsts = [(r.window_start - self._start) // self._step for r in self.results()]
                found = dict(zip(firsts, counts, strict=True))
                drawn = {n: DIGITS.index(c) for n, c in enumerate(self.lines[name][0]) if c not in " ."}
                assert found == drawn, f"{name}: {found}"
        if "windows" in self.lines:
            bars = [self._start + n * self._step for n, c in enumerate(self.lines["windows"][0]) if c == "|"]
            found_windows = [(r.window_start, r.window_end) for r in self.results()]
            assert found_windows[: len(bars) - 1] == list(pairwise(bars))

    def _at(self, name: str, column: int) -> list[str]:
        return sorted(c for drawn in self.lines[name] if (c := drawn[column : column + 1]) and c not in " .")

    def _shown(self, name: str) -> str:
        found = self.found[name]
        depth = max(map(len, found))
        lines = ["".join(c[n] if n < len(c) else "." for c in found) for n in range(depth)]
        return "\n" + "\n".join(f"{name}: {line}" for line in lines)
