"""From the records of a mapped topic to the documents its fields are read from.

`json` and `cloudevents` give one document a record. `open-inference` pairs requests with responses and gives one
document for both: the request's attributes, `id`, `time`, `rows`, `predictions`, `outputs`, `model_name`,
`model_version`, `error`, and the payloads as `request` and `response`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from schemas.cloudevents import event, parsed, plain
from schemas.inference import is_request, outputs_of, rows_of
from schemas.messages import BadMessageError
from schemas.pairing import Pairing, Settled
from schemas.paths import Columns, Path, compiled
from schemas.records import Record, Rejected
from schemas.sources import Source, paths


class Document(NamedTuple):
    """What one record gave, or what it settled.

    `record` is the one that made it complete, `subject` the offset of the message it is about, an earlier one
    where a request and its response came apart.
    """

    record: Record
    content: Any
    subject: int


def reader_key(source: Source) -> str:
    """Return what sources have in common that can be read by one reader, which pairs for all of them."""
    if source.format != "open-inference":
        return source.format
    apart = [source.format, source.pair_timeout_s, source.fields.id, source.feature_names, _wants_rows(source)]
    return json.dumps(apart)


def _wants_rows(source: Source) -> bool:
    return any(text.startswith("rows[") for _, text in paths(source.complete))


class Reader:
    """Reads the records of one partition in the form of a source; `open-inference` keeps what waits."""

    def __init__(self, source: Source, *, max_features: int) -> None:
        self._format, self._names, self._max_features = source.format, source.feature_names, max_features
        self.pairing = Pairing(round(source.pair_timeout_s * 1000))
        self._wants_rows = _wants_rows(source)
        own = source.fields.id is not None and source.format == "open-inference"
        self._id: Path | None = compiled(source.fields.id) if own and source.fields.id else None

    def read(self, records: Sequence[Record], rejected: list[Rejected]) -> list[Document]:
        """Return the documents of records that have a value, in order."""
        if self._format == "json":
            contents = plain(records)
            for record, content in zip(records, contents, strict=True):
                if isinstance(content, BadMessageError):
                    rejected.append(Rejected(record.offset, *content.args))
            return [
                Document(record, content, record.offset)
                for record, content in zip(records, contents, strict=True)
                if not isinstance(content, BadMessageError)
            ]
        documents = []
        for record in records:
            try:
                if self._format == "cloudevents":
                    documents.append(Document(record, event(record), record.offset))
                    continue
                for settled in self._settled(record):
                    try:
                        documents.append(Document(record, self._whole(settled), settled.offset))
                    except BadMessageError as bad:
                        about = None if settled.offset == record.offset else settled.offset
                        reason, detail = bad.args
                        rejected.append(Rejected(record.offset, reason, detail, about=about))
            except BadMessageError as bad:
                rejected.append(Rejected(record.offset, *bad.args))
        return documents

    def _settled(self, record: Record) -> Iterator[Settled]:
        yield from self.pairing.passed(record.timestamp)  # time goes on with every record, whatever it holds
        message = _message(record)
        if message is None:
            return
        request, payload = message.pop("request"), message["data"]
        if request is None:  # both in one message
            yield Settled({**message, "data": payload["request"]}, {"data": payload["response"]}, record.offset)
            return
        key = self._key(message)
        if key is None:
            yield Settled(message, None, record.offset) if request else Settled(None, message, record.offset)
            return
        message["id"] = key
        place = "/".join(str(message.get(name, "")) for name in ("inferenceservicename", "component", "endpoint"))
        yield from self.pairing.add(f"{place}/{key}", message, request=request, offset=record.offset)

    def _key(self, message: dict[str, Any]) -> str | None:
        """Return what a request and its response share: Seldon's request id, the event's id, the payload's id."""
        if self._id is not None:
            found = Columns([message]).at(self._id.before)[0]
        else:
            payload = message["data"]
            inner = payload.get("id") if type(payload) is dict else None
            found = message.get("requestid") or message.get("id") or inner
        return None if found in (None, "") else str(found)

    def _whole(self, settled: Settled) -> dict[str, Any]:
        request, response = settled.request, settled.response
        if request is None:
            raise BadMessageError(
                "unpaired_response",
                "its request did not come in this partition in time; both must have the same id and partition",
            )
        rows = rows_of(request["data"], self._names, max_values=self._max_features) if self._wants_rows else []
        whole = {**request, "rows": rows, "request": request["data"], "response": None, "outputs": {}}
        whole.pop("data")
        if response is None:
            return {**whole, "predictions": [None] * len(rows)}
        answer = response["data"]
        outputs = outputs_of(answer)
        predictions = next(iter(outputs.values()), [None] * len(rows))
        if self._wants_rows and len(predictions) != len(rows):
            raise BadMessageError("unequal_lengths", f"{len(rows)} rows were asked, {len(predictions)} answered")
        told = {
            "model_name": answer.get("model_name"), "model_version": answer.get("model_version"),
            "error": answer.get("error"),
        }  # fmt: skip
        return {**whole, **told, "response": answer, "outputs": outputs, "predictions": predictions}


def _message(record: Record) -> dict[str, Any] | None:
    """Return attributes, `data`, `time` and whether it is a `request` (None: both); None for other kinds of events."""
    try:
        message = event(record)
    except BadMessageError as bad:
        if bad.args[0] != "no_cloudevent":
            raise
        message = {"data": parsed(record.value or b"")}
    payload = message["data"]
    kind = str(message.get("type", ""))
    if message.get("time") is None:
        message["time"] = record.timestamp
    if kind.endswith((".request", ".response")):
        return {**message, "request": kind.endswith(".request")}
    if kind:
        return None  # feedback and whatever else a logger sends
    if type(payload) is dict and type(payload.get("request")) is dict and "response" in payload:
        whole = {key: value for key, value in payload.items() if key not in ("request", "response")}
        both = {"request": payload["request"], "response": payload["response"] or {"error": None}}
        return {"time": record.timestamp, **whole, "data": both, "request": None}
    request = is_request(payload)
    if request is None:
        raise BadMessageError("wrong_type", "neither a request (`inputs`, `instances`) nor a response (`outputs`, …)")
    return {**message, "request": request}
