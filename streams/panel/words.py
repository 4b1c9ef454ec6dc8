"""Numbers, times and states in the words people read. Times are UTC; the browser adds the local one."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from urllib.parse import quote

NONE = "\N{EN DASH}"
TIMES = "\N{MULTIPLICATION SIGN}"

STATES: dict[str, tuple[str, str]] = {
    "drift": ("Drift", "▲"),
    "ok": ("No drift", "●"),
    "insufficient": ("Too few rows", "○"),
    "reference_too_short": ("Reference too short", "○"),
    "no_baseline": ("Learning", "◐"),
    "waiting": ("Waiting", "◐"),
    "open": ("Open", "▲"),
    "acknowledged": ("Acknowledged", "◆"),
    "silenced": ("Silenced", "◇"),
    "resolved": ("Resolved", "●"),
}
EXPLAINED: dict[str, str] = {
    "insufficient": "The window holds fewer independent rows than a fair test needs. It is counted, not judged.",
    "reference_too_short": "The baseline was learned from too little time to know what is normal. "
    "Nothing is judged until it has grown.",
    "no_baseline": "The first rows of this model are being learned as its baseline. Verdicts follow by themselves.",
    "waiting": "A baseline exists, and no window has ended yet.",
}
TESTS: dict[str, tuple[str, str]] = {
    "psi": ("PSI", "population stability index over the bins of the baseline"),
    "ks": ("KS", "largest distance between the two cumulative distributions"),
    "location": ("Location", "shift of the centre, in standard deviations of the reference ranks"),
    "scale": ("Spread", "change of the spread, on reference ranks"),
    "growth": ("Growth", "largest gain in share of one value, bin or unseen level"),
    "share": ("Share", "change of a share of rows, as of missing values or errors"),
}
SHARES = ("growth", "share")
FLAGS: dict[str, str] = {
    "provisional": "The baseline is provisional: judged and shown, never paged, "
    "until it spans four days and a whole week.",
    "state_lost": "Rows of this window may be missing: the position to go on from was no longer in the log.",
    "late_after_final": "Rows of older windows came when those were final; they are not counted anywhere.",
    "detectors_reset": "Sequential detectors began afresh: their saved state was of another release.",
    "version_mixed": "Two versions of monitor or baseline met in this window, so it was judged under neither.",
}


def number(value: float | int | None) -> str:
    """Write a number with three significant digits, grouped, without exponents where they can be avoided."""
    if value is None or not math.isfinite(value):
        return NONE
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    magnitude = abs(value)
    if magnitude >= 1e15 or magnitude < 1e-4:
        return f"{value:.2e}"
    if magnitude >= 1000:
        return f"{value:,.0f}"
    return f"{value:.{max(0, 2 - math.floor(math.log10(magnitude)))}f}".rstrip("0").rstrip(".")


def percent(share: float | None) -> str:
    """Write a share as per cent: one decimal below ten, "< 0.1 %" instead of a false zero."""
    if share is None or not math.isfinite(share):
        return NONE
    hundredths = share * 100
    if 0 < hundredths < 0.1:
        return "< 0.1 %"
    return f"{hundredths:.1f} %" if hundredths and hundredths < 10 else f"{hundredths:.0f} %"


def measured(value: float | None, test: str) -> str:
    """Write what a test measured: a share for the tests of shares, else a number."""
    return percent(value) if test in SHARES else number(value)


def times(strength: float | None) -> str:
    """Write how many times its line an effect is."""
    if strength is None or not math.isfinite(strength):
        return NONE
    if strength >= 9.95:
        return f"{strength:,.0f}{TIMES}"
    return f"{strength:.1f}{TIMES}" if strength >= 0.05 else f"0{TIMES}"


def reach(strength: float | None) -> str:
    """Place a strength on a gauge from 0 to 100: the line (1) at 40, 32 times the line at 100, logarithmic between."""
    if strength is None or not math.isfinite(strength) or strength <= 0:
        return "0"
    return f"{strength * 40 if strength <= 1 else min(100.0, 40 + 12 * math.log2(strength)):.1f}"


def moment(time_ms: int | None) -> datetime | None:
    """Return the UTC time, or None for a time no calendar has."""
    if time_ms is None:
        return None
    try:
        return datetime.fromtimestamp(time_ms / 1000, UTC)
    except (OverflowError, ValueError, OSError):
        return None


def when(time_ms: int | None) -> str:
    """Write a time as ``2026-03-01 12:00``, with seconds only where there are some."""
    at = moment(time_ms)
    if at is None:
        return NONE
    return f"{at:%Y-%m-%d %H:%M:%S}" if at.second else f"{at:%Y-%m-%d %H:%M}"


def iso(time_ms: int | None) -> str:
    """Write a time as RFC 3339 with milliseconds, for machines."""
    at = moment(time_ms)
    return "" if at is None else at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def span(duration_ms: int | None) -> str:
    """Write a duration in its largest whole unit: ``6 h``, ``5 min``."""
    if not duration_ms or duration_ms < 0:
        return NONE
    for unit_ms, unit in ((86_400_000, "d"), (3_600_000, "h"), (60_000, "min"), (1000, "s")):
        if duration_ms >= unit_ms:
            return f"{duration_ms / unit_ms:.3g} {unit}"
    return f"{duration_ms} ms"


def encode_name(name: str) -> str:
    """Encode a name as one path segment that no browser or proxy rewrites; `decode_name` undoes it."""
    if name in ("", ".", "..") or name.startswith("~"):
        name = f"~{name}"
    return quote(name, safe="~", errors="replace")


def decode_name(segment: str) -> str:
    """Decode a path segment, already percent-decoded, to the name it stands for."""
    return segment[1:] if segment.startswith("~") else segment


def model_path(model: str) -> str:
    """Return the path of a model's page."""
    return f"/models/{encode_name(model)}"


def feature_path(model: str, feature: str) -> str:
    """Return the path of a feature's page."""
    return f"{model_path(model)}/features/{encode_name(feature)}"
