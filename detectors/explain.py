"""A scored window as tests, severity and the bins that changed most."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf, log

from detectors.numeric import Scored
from schemas.monitors import FixedLimit
from schemas.results import Severity, Test

N_TOP_BINS = 3
MODERATE, MAJOR = 0.1, 0.25


def severity_of(effect: float) -> Severity:
    """Return the severity of an effect on the scale of PSI.

    >>> severity_of(0.05), severity_of(0.2), severity_of(0.3)
    ('minor', 'moderate', 'major')
    """
    return "minor" if effect < MODERATE else "moderate" if effect <= MAJOR else "major"


def two_bins(before: float, after: float) -> float:
    """Return the PSI of a share that changed.

    >>> round(two_bins(0.01, 0.03), 3)
    0.022
    """
    p, q = (min(max(share, 0.0005), 0.9995) for share in (before, after))
    return (q - p) * log(q / p) + (p - q) * log((1 - q) / (1 - p))


def severity(tests: Mapping[str, Test]) -> Severity:
    """Return the severity of a drifting feature: by PSI, or by the two-bin PSI of a share that changed."""
    effects = [tests["psi"].effect] if "psi" in tests else []
    effects.extend(
        two_bins(tests[name].noise, tests[name].value)
        for name in ("share", "growth")
        if name in tests and tests[name].drifted
    )
    return severity_of(max(effects, default=0.0))


def tests_of(scored: Scored) -> list[dict[str, Test]]:
    """Return the tests of every feature by name, decided as if every feature could be judged."""
    found: list[dict[str, Test]] = [{} for _ in range(scored.rows.size)]
    for name, tested in scored.tests.items():
        columns = (
            tested.value,
            tested.line.noise,
            tested.line.line,
            tested.effect,
            tested.low,
            tested.high,
            tested.drifted,
        )
        for tests, (value, noise, line, effect, low, high, drifted) in zip(
            found, zip(*(column.tolist() for column in columns), strict=True), strict=True
        ):
            if line < inf:
                tests[name] = Test(value, noise, line, effect, (low, high), drifted)
    growth = scored.growth
    shares = (growth.reference, growth.current, growth.line, growth.grown)
    for tests, (before, after, line, grown) in zip(
        found, zip(*(column.tolist() for column in shares), strict=True), strict=True
    ):
        tests["growth"] = Test(after, before, line, after - before, None, grown)
    return found


def silenced(tests: Mapping[str, Test]) -> dict[str, Test]:
    """Return the tests with every decision withdrawn: shown, not judged."""
    return {
        name: Test(test.value, test.noise, test.line, test.effect, test.interval) if test.drifted else test
        for name, test in tests.items()
    }


def with_limits(tests: Mapping[str, Test], limits: Sequence[FixedLimit]) -> dict[str, Test]:
    """Return the tests and, as ``limit:<name>``, the monitor's fixed limits on statistics that were measured."""
    fixed = {
        f"limit:{limit.name}": Test(value, 0.0, limit.threshold, value, None, value > limit.threshold)
        for limit in limits
        if limit.name in tests
        for value in [tests[limit.name].value]
    }
    return {**tests, **fixed}


def top_bins(
    names: Sequence[str], reference: Sequence[int], current: Sequence[int], unseen: Mapping[str, int]
) -> list[tuple[str, float, float]]:
    """Return the three bins whose share changed most: name, reference share, current share.

    >>> top_bins(["a", "b"], [50, 50], [80, 20], {})
    [('a', 0.5, 0.8), ('b', 0.5, 0.2)]
    """
    n, m = sum(reference), sum(current)
    if n == 0 or m == 0:
        return []
    rows = [(name, r / n, c / m) for name, r, c in zip(names, reference, current, strict=True) if r or c]
    rows.extend((level, 0.0, count / m) for level, count in unseen.items())
    rows.sort(key=lambda row: (-abs(row[2] - row[1]), row[0]))
    return rows[:N_TOP_BINS]
