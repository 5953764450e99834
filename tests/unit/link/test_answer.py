"""The table of custody.md section 5, a10, row by row, and hostile answers."""

import json
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handoffd.custody.message import Attempt, Offer
from handoffd.link.answer import SPLITS, TABLE, judge, judge_batch, other_epoch, read_body, said
from handoffd.protocol.name import HostName, TransferId
from handoffd.protocol.reason import HTTP_STATUS, PROBLEM_STATUS, Reason, State

E, OTHER = "epoch-1", "epoch-2"
REFUSALS = (400, 401, 403, 413, 421, 429, 503)


def offer_of(data: bytes) -> Offer:
    return Offer(HostName("alice-vm"), TransferId(sha256(data).hexdigest()), data, 0.0)


OFFER, SECOND = offer_of(b"{}"), offer_of(b"[]")


def record(state: str, tid: str = OFFER.tid, **fields: object) -> dict[str, object]:
    return {"tid": tid, "state": state, "by": "alice-vm", "at": "2026-11-20T10:00:00.000Z", **fields}


def told(**fields: object) -> dict[str, object]:
    return {"tid": OFFER.tid, "epoch": E, "time": "2026-11-20T10:00:00.000Z", **fields}


def verdict(status: int, body: object) -> Attempt:
    return judge(OFFER, status, read_body(json.dumps(body).encode()), E).attempt


@pytest.mark.parametrize("status", [200, 201, 202])
def test_an_admission_with_our_tid_and_epoch_is_one_and_brings_the_peers_record(status):
    settlement = judge(OFFER, status, told(status="pending", record=record("stored")), E)
    assert settlement.attempt is Attempt.ADMITTED
    assert settlement.status == status
    assert settlement.record.state is State.STORED


def test_an_admission_without_a_record_is_read_from_its_state():
    settlement = judge(OFFER, 201, told(status="pending", state="published"), E)
    assert settlement.attempt is Attempt.ADMITTED
    assert (settlement.record.state, settlement.record.by) == (State.PUBLISHED, "alice-vm")


def test_a_repeat_of_a_completed_handoff_is_an_admission_that_is_already_over():
    settlement = judge(OFFER, 200, told(record=record("completed", reason="completed")), E)
    assert settlement.attempt is Attempt.ADMITTED
    assert settlement.reason is Reason.COMPLETED


@pytest.mark.parametrize(
    "body",
    [
        told(record=record("stored"), epoch=OTHER),
        told(record=record("stored"), epoch=None),
        told(record=record("stored"), tid=SECOND.tid),
        told(record=record("stored"), tid=None),
        told(record=record("stored", tid=SECOND.tid)),
        told(record=record("queued")),
        told(record=record("asleep")),
        told(record=record("completed")),
        told(record=["stored"]),
        told(state="completed"),
        told(state=["stored"]),
        told(),
        {},
        [],
        None,
    ],
)
def test_an_admission_that_is_not_about_this_transfer_in_this_epoch_proves_nothing(body):
    assert verdict(201, body) is Attempt.UNKNOWN


@pytest.mark.parametrize("status", REFUSALS)
def test_a_refusal_written_by_the_peer_closes_the_attempt(status):
    settlement = judge(OFFER, status, told(status=status, reason="not_here", detail="no such agent"), E)
    assert settlement.attempt is Attempt.NOT_ADMITTED
    assert (settlement.status, settlement.detail) == (status, "not_here: no such agent")


@pytest.mark.parametrize("status", REFUSALS)
@pytest.mark.parametrize("missing", ["tid", "epoch"])
def test_a_refusal_without_tid_or_epoch_may_be_a_proxys(status, missing):
    body = {key: value for key, value in told(status=status).items() if key != missing}
    assert verdict(status, body) is Attempt.UNKNOWN


@pytest.mark.parametrize("status", REFUSALS)
def test_a_refusal_whose_status_somebody_changed_proves_nothing(status):
    assert verdict(status, told(status=status + 1)) is Attempt.UNKNOWN


def test_a_412_that_names_the_epoch_we_sent_closes_the_attempt():
    assert verdict(412, told(status=412, epoch=OTHER, refused_epoch=E)) is Attempt.NOT_ADMITTED


@pytest.mark.parametrize(
    "body",
    [
        told(epoch=OTHER),
        told(epoch=OTHER, refused_epoch=OTHER),
        told(epoch=E, refused_epoch=E),
        told(epoch=None, refused_epoch=E),
        told(epoch=OTHER, refused_epoch=E, tid=SECOND.tid),
    ],
)
def test_a_412_that_does_not_refuse_our_epoch_proves_nothing(body):
    assert verdict(412, body) is Attempt.UNKNOWN


@pytest.mark.parametrize("status", [409, 410, 422])
def test_a_final_answer_ends_the_handoff_with_the_same_reason(status):
    settlement = judge(OFFER, status, told(final=True, reason="variant", detail="another hmac"), E)
    assert settlement.attempt is Attempt.ENDED
    assert settlement.reason is Reason.VARIANT


def test_the_record_of_a_final_answer_speaks_before_its_reason():
    body = told(final=True, reason="variant", record=record("expired", reason="expired"))
    assert judge(OFFER, 410, body, E).reason is Reason.EXPIRED


@pytest.mark.parametrize(
    "body",
    [
        told(reason="expired"),
        told(reason="expired", final="true"),
        told(reason="expired", final=1),
        told(reason="already_claimed", final=True),
        told(final=True),
        told(reason="expired", final=True, epoch=OTHER),
        told(reason="expired", final=True, tid=SECOND.tid),
        told(reason="expired", final=True, record=record("claimed")),
        told(reason="expired", final=True, record=record("expired", reason="revoked")),
        told(reason="expired", final=True, record=record("expired", tid=SECOND.tid, reason="expired")),
    ],
)
@pytest.mark.parametrize("status", [409, 410, 422])
def test_a_conflict_without_a_usable_outcome_proves_nothing(status, body):
    assert verdict(status, body) is Attempt.UNKNOWN


@pytest.mark.parametrize("status", [100, 204, 206, 301, 404, 408, 418, 500, 502, 504, 599])
def test_every_other_status_proves_nothing_whatever_it_says(status):
    assert (
        verdict(status, told(status=status, final=True, reason="expired", record=record("stored"))) is Attempt.UNKNOWN
    )


def test_the_table_covers_every_status_the_protocol_ends_or_refuses_a_start_with():
    assert {status for status in HTTP_STATUS.values() if status != 200} <= TABLE.keys()
    assert set(PROBLEM_STATUS.values()) - {404} <= TABLE.keys()


# ---------------------------------------------------------------- batches


def item(offer: Offer, code: int, **fields: object) -> dict[str, object]:
    return {"tid": offer.tid, "code": code, **fields}


def batch(results: object, **fields: object) -> dict[str, object]:
    return {"epoch": E, "time": "2026-11-20T10:00:00.000Z", "results": results, **fields}


def attempts(status: int, body: dict[str, object] | None) -> list[Attempt]:
    return [one.attempt for one in judge_batch([OFFER, SECOND], status, body, E)]


def test_each_item_of_a_batch_is_read_as_if_sent_alone_whatever_their_order():
    results = [item(SECOND, 410, final=True, reason="expired"), item(OFFER, 201, state="stored")]
    assert attempts(200, batch(results)) == [Attempt.ADMITTED, Attempt.ENDED]


def test_an_item_the_answer_does_not_tell_of_stays_open():
    assert attempts(200, batch([item(OFFER, 201, state="stored")])) == [Attempt.ADMITTED, Attempt.UNKNOWN]


def test_an_item_told_of_twice_stays_open():
    results = [item(OFFER, 201, state="stored"), item(OFFER, 403), item(SECOND, 403)]
    assert attempts(200, batch(results)) == [Attempt.UNKNOWN, Attempt.NOT_ADMITTED]


def test_an_item_may_not_bring_another_epoch_than_the_note():
    assert attempts(200, batch([item(OFFER, 201, state="stored", epoch=OTHER)]))[0] is Attempt.UNKNOWN
    assert attempts(200, batch([item(OFFER, 201, state="stored")], epoch=OTHER))[0] is Attempt.UNKNOWN


@pytest.mark.parametrize("code", [True, "201", 201.0, None, [201], -1, 10**30])
def test_a_code_that_is_no_status_leaves_the_item_open(code):
    assert attempts(200, batch([{"tid": OFFER.tid, "code": code, "state": "stored"}]))[0] is Attempt.UNKNOWN


@pytest.mark.parametrize("status", REFUSALS)
def test_a_batch_refused_as_a_whole_by_the_peer_closes_every_attempt(status):
    assert attempts(status, {"epoch": E, "status": status}) == [Attempt.NOT_ADMITTED] * 2


def test_a_batch_refused_for_its_epoch_closes_every_attempt():
    assert attempts(412, {"epoch": OTHER, "status": 412, "refused_epoch": E}) == [Attempt.NOT_ADMITTED] * 2


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (503, None),
        (503, {"status": 503}),
        (503, {"epoch": E, "tid": OFFER.tid}),
        (410, {"epoch": E, "final": True, "reason": "expired"}),
        (201, {"epoch": E, "state": "stored"}),
        (200, {"epoch": E, "results": {}}),
        (200, {"epoch": E}),
        (500, {"epoch": E}),
        (207, {"epoch": E, "results": []}),
    ],
)
def test_a_batch_answered_in_any_other_way_leaves_every_attempt_open(status, body):
    assert attempts(status, body) == [Attempt.UNKNOWN] * 2


# ---------------------------------------------------------------- hostile bytes


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[]", b"1", b"\xff", b"[" * 100_000, b'{"a":' * 100_000, b"1" * 5_000, b"\x00"]
)
def test_what_is_no_json_object_is_no_body(data):
    assert read_body(data) is None


def test_an_epoch_that_is_no_text_is_no_hint():
    assert not other_epoch({"epoch": 7}, E)
    assert not other_epoch(None, E)
    assert other_epoch({"epoch": OTHER}, E)


def test_words_of_a_refusal_are_cut_and_only_text_counts():
    assert said({"reason": ["x"], "detail": "y" * 9_999}) == "y" * 500
    assert said(None) == ""


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from([E, OFFER.tid, "stored"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
fields_of_ours = st.sampled_from(
    [
        "tid",
        "epoch",
        "state",
        "record",
        "final",
        "reason",
        "detail",
        "time",
        "status",
        "results",
        "code",
        "refused_epoch",
    ]
)
statuses = st.sampled_from([*TABLE, 204, 404, 500])


@given(statuses, st.dictionaries(fields_of_ours, json_values, max_size=8))
def test_no_answer_raises_and_none_without_our_tid_and_epoch_closes_an_attempt(status, body):
    settlement = judge(OFFER, status, body, E)
    assert settlement.tid == OFFER.tid
    if settlement.attempt is not Attempt.UNKNOWN:
        assert body["tid"] == OFFER.tid
        assert E in (body["epoch"], body.get("refused_epoch"))


@given(st.dictionaries(fields_of_ours, json_values, max_size=12))
def test_no_record_in_an_admission_raises(fields):
    judge(OFFER, 201, told(record={**record("stored"), **fields}), E)


@given(statuses, st.lists(st.dictionaries(fields_of_ours, json_values, max_size=6) | json_values, max_size=4))
def test_no_batch_answer_raises(status, results):
    settlements = judge_batch([OFFER, SECOND], status, {"epoch": E, "results": results}, E)
    assert [one.tid for one in settlements] == [OFFER.tid, SECOND.tid]


@pytest.mark.parametrize("status", sorted(SPLITS))
def test_a_refusal_of_a_whole_batch_ends_none_of_its_items(status):
    body = {"epoch": E, "status": status, "reason": "too_large", "detail": "more than 4 MiB"}
    for settled in judge_batch([OFFER, SECOND], status, body, E):
        assert (settled.attempt, settled.status) == (Attempt.NOT_ADMITTED, 0)
        assert settled.detail == f"the batch it was in was refused: {status} too_large: more than 4 MiB"
