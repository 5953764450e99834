"""Answers: from what the engine says to status, JSON and headers (docs/http-api.md).

It owns the shape of every answer and knows no request. The rules that must stay true: an answer to a thing unknown
and one to a thing of somebody else's are the same, byte for byte but the time; a problem names T only if it is
certain that this request changed nothing, or the engine wrote it.
"""

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from aiohttp.web import Response

from handoffd.custody.message import Answer
from handoffd.hub.refusal import SENTENCE
from handoffd.protocol.reason import RANK, Problem, Reason, State
from handoffd.protocol.record import to_fields

JSON = "application/json"
PROBLEM_JSON = "application/problem+json"
BYTES = "application/octet-stream"
TEXT = "text/plain; version=0.0.4; charset=utf-8"

UNKNOWN_STATUS = 500
"""Whether the request took effect is not known; a 503 would say that it did not (docs/http-api.md)."""

_ENCODER = json.JSONEncoder(separators=(",", ":"))
_GIVEN_UP = (State.REJECTED, State.EXPIRED, State.REVOKED, State.REFUSED)
STATUS_WORD: dict[State, str] = {
    **{state: "pending" for state in State if RANK[state] < RANK[State.CLAIMED]},
    State.CLAIMED: "claimed",
    State.COMPLETED: "completed",
    **dict.fromkeys(_GIVEN_UP, "rejected"),
    State.UNCERTAIN: "unknown",
    State.UNKNOWN: "unknown",
}
"""`status` in answers: the word an HTTP client of the hub looks at; `state` and `reason` say more."""


class Stamp:
    """Puts epoch and time on every answer. `time` is text, RFC 3339 in UTC, of one moment; `epoch` may be empty."""

    __slots__ = ("_marks", "epoch", "time")

    def __init__(self, epoch: str, time: str) -> None:
        self.epoch = epoch
        self.time = time
        self._marks = {"epoch": epoch, "time": time} if epoch else {"time": time}

    def reply(self, body: bytes, kind: str, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
        """Return a response with these bytes."""
        stamped = {
            "Content-Type": kind,
            "Handoffd-Time": self.time,
            "Cache-Control": "no-store",
            "Server": "handoffd",
        }
        if self.epoch:
            stamped["Handoffd-Epoch"] = self.epoch
        return Response(body=body, status=status, headers={**stamped, **headers} if headers else stamped)

    def fields(self, fields: Mapping[str, Any], status: int = 200) -> Response:
        """Return a JSON response with these fields, epoch and time."""
        return self.reply(_ENCODER.encode({**fields, **self._marks}).encode(), JSON, status)

    def problem(
        self,
        reason: Problem | Reason,
        status: int,
        detail: str = "",
        fields: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        """Return problem details (RFC 9457)."""
        body = {**problem_fields(reason, status, detail), **(fields or {}), **self._marks}
        return self.reply(_ENCODER.encode(body).encode(), PROBLEM_JSON, status, headers)

    def answer(self, answer: Answer) -> Response:
        """Return what the engine says as a response."""
        status = status_of(answer)
        if status == HTTPStatus.NO_CONTENT:
            return self.reply(b"", JSON, status)
        if answer.data is not None:
            return self.reply(answer.data, _kind(answer), status, _bytes_headers(answer))
        body = {**answer_fields(answer), **self._marks}
        kind = JSON if is_served(answer) else PROBLEM_JSON
        return self.reply(_ENCODER.encode(body).encode(), kind, status)


def is_served(answer: Answer) -> bool:
    """Tell whether the answer is of the 2xx kind."""
    return answer.status < HTTPStatus.MULTIPLE_CHOICES


def status_of(answer: Answer) -> int:
    """Return the status to send: an engine that is at a loss and names no T does not know what it has done."""
    lost = answer.status == HTTPStatus.SERVICE_UNAVAILABLE and not answer.tid
    return UNKNOWN_STATUS if lost else answer.status


def reason_of(answer: Answer) -> Problem | Reason:
    """Return why an answer that is not of the 2xx kind is not."""
    return answer.problem or answer.reason or Problem.UNAVAILABLE


def answer_fields(answer: Answer) -> dict[str, object]:
    """Return the JSON fields of an engine's answer, without epoch and time."""
    if is_served(answer):
        return _served_fields(answer)
    reason = reason_of(answer)
    if reason is Problem.NOT_FOUND:
        # Unknown and foreign look the same: neither T nor words of the engine's may differ.
        return problem_fields(reason, answer.status)
    fields = {**problem_fields(reason, status_of(answer), answer.detail), "final": answer.final}
    if answer.tid:
        fields["tid"] = answer.tid
    if answer.record is not None:
        fields["record"] = to_fields(answer.record)
    return fields


def problem_fields(reason: Problem | Reason, status: int, detail: str = "") -> dict[str, object]:
    """Return the members of a problem. `type` is about:blank, so `title` is the status's own; `reason` tells more."""
    return {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail or SENTENCE[reason],
        "reason": reason.value,
        "final": False,
    }


def _served_fields(answer: Answer) -> dict[str, object]:
    record = answer.record
    fields: dict[str, object] = {"tid": answer.tid or None}
    if record is not None:
        fields = {
            "handoff_id": record.handoff_id,
            "status": STATUS_WORD[record.state],
            "tid": record.tid,
            "state": record.state.value,
            "record": to_fields(record),
        }
        if record.reason is not None:
            fields["reason"] = record.reason.value
    if not answer.safe_to_retry:
        fields["safe_to_retry"] = False
    return fields


def _kind(answer: Answer) -> str:
    return BYTES if answer.artefact_name is not None else JSON


def _bytes_headers(answer: Answer) -> dict[str, str]:
    headers = {}
    if answer.tid:
        headers["Handoffd-Tid"] = str(answer.tid)
    if answer.record is not None and answer.record.handoff_id is not None:
        headers["Handoffd-Handoff-Id"] = answer.record.handoff_id
    if answer.artefact_name is not None:
        # The name is an agent's: RFC 8187 makes it ASCII without any character a header could break on.
        headers["Content-Disposition"] = "attachment; filename*=UTF-8''" + quote(
            answer.artefact_name, "", errors="replace"
        )
    if not answer.safe_to_retry:
        headers["Handoffd-Safe-To-Retry"] = "no"
    return headers
