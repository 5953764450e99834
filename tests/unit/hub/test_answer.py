"""The shape of answers, for every state and every reason."""

import json

import pytest

from handoffd.custody.message import Answer
from handoffd.hub.answer import STATUS_WORD, Stamp
from handoffd.hub.refusal import SENTENCE, rate_limited, too_large
from handoffd.protocol.name import TransferId
from handoffd.protocol.reason import HTTP_STATUS, PROBLEM_STATUS, STATE_OF, Problem, Reason, State
from handoffd.protocol.record import Record

TID = TransferId("ab" * 32)
STAMP = Stamp("e", "2026-09-21T14:13:20.000Z")


def told(answer: Answer) -> dict[str, object]:
    body = STAMP.answer(answer).body
    assert isinstance(body, bytes)
    found = json.loads(body)
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize("state", State)
def test_every_state_has_a_status_word(state: State) -> None:
    reason = next((reason for reason, end in STATE_OF.items() if end is state), None)
    record = Record(TID, state, "hub-vm", "", reason=reason)
    assert told(Answer(200, TID, record))["status"] == STATUS_WORD[state]


def test_status_words_are_those_that_existing_clients_know() -> None:
    assert [STATUS_WORD[state] for state in (State.STORED, State.LEASED, State.PUBLISHED)] == ["pending"] * 3
    assert STATUS_WORD[State.CLAIMED] == "claimed"
    assert STATUS_WORD[State.COMPLETED] == "completed"
    assert STATUS_WORD[State.REJECTED] == "rejected"


@pytest.mark.parametrize("reason", [*Problem, *Reason])
def test_every_reason_has_a_sentence_and_a_status(reason: Problem | Reason) -> None:
    assert SENTENCE[reason].endswith(".")
    status = PROBLEM_STATUS[reason] if isinstance(reason, Problem) else HTTP_STATUS[reason]
    assert status == 200 or 400 <= status < 600


def test_a_problem_is_what_rfc_9457_says() -> None:
    answer = Answer(409, TID, problem=Problem.ALREADY_CLAIMED, detail="sven was first")
    assert told(answer) == {
        "type": "about:blank",
        "title": "Conflict",
        "status": 409,
        "detail": "sven was first",
        "reason": "already_claimed",
        "final": False,
        "tid": TID,
        "epoch": "e",
        "time": "2026-09-21T14:13:20.000Z",
    }


def test_a_503_with_its_tid_says_that_nothing_was_done() -> None:
    answer = Answer(503, TID, problem=Problem.UNAVAILABLE)
    assert STAMP.answer(answer).status == told(answer)["status"] == 503


def test_an_engine_that_is_at_a_loss_does_not_say_so() -> None:
    answer = Answer(503, TransferId(""), problem=Problem.UNAVAILABLE)
    assert STAMP.answer(answer).status == told(answer)["status"] == 500
    assert "tid" not in told(answer)
    assert told(Answer(503))["reason"] == "unavailable"


def test_no_engine_can_make_unknown_and_foreign_differ() -> None:
    words = [told(Answer(404, tid, problem=Problem.NOT_FOUND, detail=d)) for tid, d in ((TID, "foreign"), (None, ""))]
    assert words[0] == words[1]


@pytest.mark.parametrize(("wait_s", "header"), [(0.01, "1"), (1.0, "1"), (1.2, "2"), (30.0, "30")])
def test_retry_after_is_whole_seconds_and_never_too_few(wait_s: float, header: str) -> None:
    assert rate_limited(wait_s, "").headers == {"Retry-After": header}


def test_too_large_is_413() -> None:
    assert too_large(10).status == HTTP_STATUS[Reason.TOO_LARGE]
