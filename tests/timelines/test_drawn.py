"""When a window is judged, and from what, drawn. Windows of a minute, a minute late, idle after two."""

from __future__ import annotations

import pytest

from tests.timelines.drawing import Drawn, monitor
from tests.timelines.line import comparable, replayed

DRAWINGS = {
    "a window is judged once its end has passed": """
        p0:     rrrrr
        judged: .0123
        sealed: ..012
        rows:   11111
    """,
    "rows out of order count in their own window": """
        p0:     rr1rr2rr
        judged: .0.13.46
        again:  ......3.
        sealed: ...0..3.
        sealed: ...1..4.
        rows:   12.21.11
    """,
    "rows later than the lateness are counted as late, and reported": """
        p0:     rrrrr3rr
        judged: .0123.46
        again:  .....2..
        sealed: ..012.3.
        sealed: ......4.
        rows:   11111.11
        late:   00100.00
    """,
    "the slowest partition that is not idle decides": """
        p0:     rrrrrrrr
        p1:     rRRRRR<r
        judged: ......05
        judged: ......16
        judged: ......2.
        judged: ......3.
        judged: ......4.
        rows:   22222212
    """,
    "a first judgement waits for every partition that has rows of the model": """
        p0:     rrrrrrr
        p1:     rRRRRR.
        p2:     rrrrrrr
        judged: .......
        rows:   3333332
    """,
    "a partition that has nothing more holds nobody back for long": """
        p0:     rrrrrrrr
        p1:     rr......
        judged: .0.13456
        judged: ...2....
        sealed: ...02345
        sealed: ...1....
        rows:   22111111
    """,
    "a partition that comes back is heard again": """
        p0:     rrrrrrrrrr
        p1:     rr.....rrr
        judged: .0.1345678
        judged: ...2......
        rows:   2211111222
    """,
    "a window without rows is not judged": """
        p0:     rr...rrr
        judged: .0.1..56
        rows:   11...111
    """,
    "what a partition tells of a judged window makes it be judged again": """
        p0:     rrrrrrr
        p1:     rr...2r
        judged: .0.1345
        judged: ...2...
        again:  ......3
        rows:   2212112
    """,
    "a clock hours ahead closes nothing": """
        p0:     rrfrrr
        judged: .0.134
        rows:   11.111
    """,
    "a model that has gone quiet is judged when time has passed": """
        p0:     rr....
        judged: .0.1..
        sealed: ...0..
        sealed: ...1..
        rows:   11....
    """,
}


@pytest.mark.parametrize("name", DRAWINGS)
def test_drawn(name: str) -> None:
    drawn = Drawn(DRAWINGS[name])
    drawn.check()
    assert comparable(drawn.line.made) == replayed(drawn.line.catalogue, drawn.line.events), "as a replay has it"


@pytest.mark.parametrize("name", DRAWINGS)
def test_restarts_between_any_two_steps_change_nothing(name: str) -> None:
    plain = Drawn(DRAWINGS[name])
    for column in range(plain.n_columns):
        again = Drawn(DRAWINGS[name], restarts=frozenset({column}))
        assert comparable(again.line.made) == comparable(plain.line.made), f"a restart after column {column}"
    everywhere = Drawn(DRAWINGS[name], restarts=frozenset(range(plain.n_columns)))
    everywhere.check()
    assert comparable(everywhere.line.made) == comparable(plain.line.made)


def test_counts_of_a_window_the_judge_has_dropped_are_reported() -> None:
    drawn = Drawn("""
        p0:     rrrrrrrrrr
        p1:     rr......5.
        judged: .0.134567.
        judged: ...2......
        rows:   2211111111
    """)
    drawn.check()
    assert drawn.line.metrics.n_after_final == 1


def test_rows_of_a_clock_hours_ahead_are_dead_letters() -> None:
    drawn = Drawn("p0: rrfrr")
    assert drawn.line.metrics.n_dead == {"time_in_future": 1}


def test_a_backlog_of_days_ends_as_if_it_had_been_read_live() -> None:
    watching, hour = monitor("1h", idle_s=7_200.0), 3_600_000
    steady, patchy = "rrrr1rr2rrrr" * 5, "rr..rr3r...r" * 5
    live = Drawn(f"p0: {steady}\np1: {patchy}", watching, step_ms=hour)
    waiting = [drawn.replace("r", "R").translate(str.maketrans("123", "abc")) for drawn in (steady, patchy)]
    behind = Drawn(f"p0: {waiting[0]}<\np1: {waiting[1]}<", watching, step_ms=hour)
    assert len(comparable(live.line.made)) > 50
    assert comparable(behind.line.made) == comparable(live.line.made)
    assert not any(behind.found["judged"][: len(steady)])


def test_a_backlog_waits_for_partitions_that_were_never_heard() -> None:
    drawn = Drawn("""
        p0:     RRRRRRRRRRRR<.
        p1:     RRRRRRRRRRRR.<
        rows:   222222222222..
    """)
    drawn.check()
