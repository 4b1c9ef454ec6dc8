"""What is lost, double or different: the topics, the store and the destinations against what they must hold."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from benchmarks.faults.reference import Reference
from benchmarks.faults.schedule import LEARNED
from benchmarks.faults.traffic import Place, Truth
from schemas import alerts, evidence, results, topics
from schemas.alerts import Alert
from schemas.dead import read_dead
from schemas.records import PlainRecord
from schemas.results import Result
from streams.agents.outputs import origin_of
from streams.catalogue import Catalogue
from streams.sinks.clickhouse import ClickHouse
from tests.engine.running import Key, difference, newest, read_all
from tests.engine.traffic import MINUTE_MS, START_MS

EXCEPTED = {"late_after_final", "state_lost", "version_mixed"}
FROM_MS = START_MS - 10 * MINUTE_MS  # what a clock hours behind brings lies before it: nobody keeps such windows
MAX_DETAILS = 6

Numbers = dict[str, int]


class Found(msgspec.Struct):
    """Figures of one seed, and in words where they come from; the load of the machine over five minutes."""

    figures: Numbers = {}
    details: list[str] = []
    takeovers: list[float] = []
    load_average: float = 0.0

    def add(self, name: str, wrong: Sequence[object]) -> None:
        """Count what is wrong and say the first of it."""
        self.figures[name] = len(wrong)
        self.details += [f"{name}: {one}" for one in wrong[:MAX_DETAILS]]


class Topics:
    """Everything the line has published, read once."""

    def __init__(self, bootstrap_servers: str) -> None:
        def read(topic: topics.Topic) -> list[PlainRecord]:
            return list(read_all(bootstrap_servers, topic.name))

        self.results = [results.decode(record.value) for record in read(topics.RESULTS) if record.value]
        self.alerts = [(record, alerts.decode(record.value)) for record in read(topics.ALERTS) if record.value]
        self._evidence = read(topics.EVIDENCE)
        self.dead = [read_dead(record) for record in read(topics.DEAD)]
        self.catalogue = Catalogue()
        self.monitors = read(topics.MONITORS)
        for record in [*self.monitors, *read(topics.BASELINES)]:
            self.catalogue.update(record)

    def evidence(self) -> Iterator[str]:
        """Yield a line a record of evidence, for who looks for a cause: all but the counts themselves."""
        for record in self._evidence:
            message = evidence.decode(record.value or b"")
            said = str(message)
            if isinstance(message, evidence.Partial):
                windows = [(w.window_start, w.version, w.part, w.rows, w.late_rows) for w in message.windows]
                said = (
                    f"{message.source} {message.position} {message.model} {message.watermark} {message.idle} {windows}"
                )
            yield f"{record.partition}@{record.offset} {record.timestamp} {said}"


def compare(said: Topics, reference: Reference, truth: Truth, n_commands: int) -> Found:
    """Count what differs on the topics."""
    found = Found()
    live, wanted = _closed(said.results, truth), _closed(reference.results, truth)
    _verdicts(found, live, wanted)
    _rows(found, live, said.catalogue, truth)
    _alerts(found, said.alerts, reference.alerts)
    _dead(found, [(one.topic, one.partition, one.offset) for one in said.dead], truth.broken)
    found.figures["monitors_double"] = max(0, len({record.key for record in said.monitors}) - n_commands)
    found.figures["windows"] = len(wanted)
    found.figures["rows"] = sum(truth.rows.values())
    found.figures["alerts"] = len({(alert.episode_id, alert.sequence) for _, alert in said.alerts})
    found.figures["dead_letters"] = len(truth.broken)
    return found


def _closed(made: Sequence[Result], truth: Truth) -> dict[Key, Result]:
    """Return the last revisions of the windows that the rows themselves have closed.

    Whether the window of the very last rows is closed is a matter of the clock on the wall.
    """
    last = max((minute for _, minute in truth.rows), default=0)
    return {
        key: result
        for key, result in newest(made).items()
        if result.window_start >= FROM_MS and result.window_end <= last
    }


def _comparable(result: Result) -> Result:
    """Leave out what a hand-over from learning to counting may place otherwise: blocks of rows, so warnings."""
    return msgspec.structs.replace(result, warnings=[]) if result.model == LEARNED else result


def _verdicts(found: Found, live: Mapping[Key, Result], wanted: Mapping[Key, Result]) -> None:
    different, excepted, n_warnings = [], [], 0
    for key in sorted(live.keys() | wanted.keys()):
        mine, theirs = live.get(key), wanted.get(key)
        if mine is None or theirs is None:
            different.append(f"{key} is only in the {'reference' if mine is None else 'line'}")
        elif _comparable(mine) != _comparable(theirs):
            if EXCEPTED & {*mine.flags, *theirs.flags}:
                excepted.append(f"{key} {mine.flags} {theirs.flags}")
            else:
                different.append(f"{key} {difference(theirs, mine)}")
                n_warnings += msgspec.structs.replace(mine, warnings=theirs.warnings) == theirs
    found.add("verdicts_different", different)
    found.add("verdicts_excepted", excepted)
    found.figures["only_warnings_differ"] = n_warnings


def _rows(found: Found, live: Mapping[Key, Result], catalogue: Catalogue, truth: Truth) -> None:
    """Compare the rows of each closed base window with what was truly sent."""
    counted: Counter[tuple[str, int]] = Counter()
    flagged = {(result.model, result.window_start) for result in live.values() if EXCEPTED & {*result.flags}}
    for key, result in live.items():
        if key[3] == 1:
            counted[result.model, result.window_start] += result.rows + result.late_rows
    sent: Counter[tuple[str, int]] = Counter()
    for (model, minute), n_rows in truth.rows.items():
        if eras := catalogue.eras(model):
            sent[model, minute - minute % eras[0].baseline.window_ms] += n_rows
    last = max((minute for _, minute in truth.rows), default=0)
    lost: list[str] = []
    double: list[str] = []
    n_lost = n_double = 0
    for (model, start), n_rows in sorted(sent.items()):
        first = catalogue.eras(model)[0]
        if (model, start) in flagged or not max(START_MS, first.start_ms) <= start <= last - first.baseline.window_ms:
            continue
        missing = n_rows - counted[model, start]
        n_lost += max(0, missing)
        n_double += max(0, -missing)
        if missing:
            told = f"{model} {start}: {n_rows} sent, {counted[model, start]} counted"
            (lost if missing > 0 else double).append(told)
    found.add("rows_lost", lost)
    found.add("rows_double", double)
    found.figures |= {"rows_lost": n_lost, "rows_double": n_double}
    if not catalogue.eras(LEARNED):
        found.details.append(f"{LEARNED} was not learned")
        found.figures["not_learned"] = 1


def _alerts(found: Found, said: Sequence[tuple[PlainRecord, Alert]], wanted: Sequence[Alert]) -> None:
    """A state is told once; one that a crash repeats carries the same origin and says the same."""
    told: dict[tuple[str, int], set[tuple[object, str]]] = {}
    for record, alert in said:
        told.setdefault((alert.episode_id, alert.sequence), set()).add((origin_of(record), _plain(alert)))
    must = {(alert.episode_id, alert.sequence): _plain(alert) for alert in wanted}
    lost = [key for key in must if key not in told]
    double = [f"{key} was told as {len(ways)} states" for key, ways in told.items() if len(ways) > 1]
    double += [f"{key} follows from no evidence" for key in told if key not in must]
    wrong = [key for key, ways in told.items() if key in must and {alert for _, alert in ways} != {must[key]}]
    found.add("alerts_lost", lost)
    found.add("alerts_double", double)
    found.add("alerts_different", wrong)
    found.figures["alerts_repeated"] = len(said) - len(told)


def _plain(alert: Alert) -> str:
    return msgspec.json.encode(alert).decode()


def _dead(found: Found, letters: Sequence[Place], broken: set[Place]) -> None:
    found.add("dead_letters_lost", sorted(broken - set(letters)))
    found.add("dead_letters_extra", sorted(set(letters) - broken))
    found.figures["dead_letters_repeated"] = len(letters) - len(set(letters))


STORED = {
    "windows": "SELECT model, baseline_id, slice, scale, toUnixTimestamp64Milli(window_start), revision, rows "
    "FROM windows FINAL",
    "alerts": "SELECT episode_id, sequence FROM alerts FINAL",
    "predictions": "SELECT model, id, source_partition, source_offset FROM predictions FINAL WHERE id != ''",
    "results": "SELECT model, baseline_id, slice, scale, toUnixTimestamp64Milli(window_start) AS start, revision, "
    "count() FROM results FINAL GROUP BY model, baseline_id, slice, scale, start, revision",
}


def compare_store(found: Found, said: Topics, truth: Truth, url: str, database: str) -> None:
    """Compare the tables with the topics."""

    async def rows() -> dict[str, list[tuple[object, ...]]]:
        async with ClickHouse(url, database=database) as client:
            return {table: [tuple(row) for row in await client.query(sql)] for table, sql in STORED.items()}

    held = asyncio.run(rows())
    judged = _closed(said.results, truth)
    wanted: dict[str, set[tuple[object, ...]]] = {
        "windows": {(*k, result.revision, result.rows) for k, result in judged.items()},
        "alerts": {(alert.episode_id, alert.sequence) for _, alert in said.alerts},
        "predictions": set(truth.ids),
        "results": {(*k, result.revision, len(result.features)) for k, result in judged.items() if result.features},
    }
    for table in ("windows", "results"):
        held[table] = [row for row in held[table] if row[:5] in judged]
    lost, double = [], []
    for table, must in wanted.items():
        lost += [f"{table} {row}" for row in sorted(must - set(held[table]), key=str)]
        double += [f"{table} {row}" for row in sorted(set(held[table]) - must, key=str)]
        double += [f"{table} {row} {n} times" for row, n in Counter(held[table]).items() if n > 1]
    found.add("store_lost", lost)
    found.add("store_double", double)


def compare_messages(
    found: Found,
    said: Topics,
    slack: Counter[tuple[str, int]],
    allowed_double: int,
    sent: set[str],
    spans: Counter[str],
) -> None:
    """Compare what Slack and the endpoint have taken with what there was to send.

    A webhook cannot be asked whether it has a message, so one may come twice for each answer that was cut
    and each end of `notify`: that many are allowed.
    """
    states = {(alert.episode_id, alert.sequence) for _, alert in said.alerts}
    found.add("slack_lost", sorted(states - set(slack)))
    found.add("slack_unknown", sorted(set(slack) - states))
    repeated = sum(n - 1 for n in slack.values())
    found.figures |= {"slack_repeated": repeated, "slack_double": max(0, repeated - allowed_double)}
    found.add("spans_lost", sorted(sent - set(spans)))
    found.figures["spans_repeated"] = sum(n - 1 for n in spans.values())
