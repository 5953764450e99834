"""What goes out in one request."""

import json
from collections import deque
from hashlib import sha256

from hypothesis import given
from hypothesis import strategies as st

from handoffd.custody.message import Offer
from handoffd.link.load import BACKLOG_LIMIT_BYTES, next_load
from handoffd.link.wire import batch_body
from handoffd.protocol.name import HostName, TransferId
from handoffd.protocol.timing import BATCH_ITEMS, BATCH_LIMIT_BYTES, PAYLOAD_LIMIT_BYTES

HOST = HostName("bob-vm")


def offer(data: bytes, expires_at: float = 10.0) -> Offer:
    return Offer(HostName("alice-vm"), TransferId(sha256(data).hexdigest()), data, expires_at)


def loads(offers: list[Offer], now_s: float = 0.0) -> list[list[Offer]]:
    waiting, taken = deque(offers), []
    while waiting:
        taken.append(next_load(waiting, HOST, now_s).offers)
    return taken


def test_a_lone_payload_is_not_encoded():
    load = next_load(deque([offer(b"{}")]), HOST, 0.0)
    assert not load.is_batch
    assert load.items == []


def test_a_batch_carries_exact_text_as_one_string():
    offers = [offer('{"a": "ü\\u00fc\u2028\\"", "n": 1.0}\n'.encode()), offer(b"{}")]
    load = next_load(deque(offers), HOST, 0.0)
    items = json.loads(batch_body(load.items))["items"]
    assert [item["payload"].encode() for item in items] == [one.data for one in offers]
    assert [item["tid"] for item in items] == [one.tid for one in offers]
    assert items[0]["path"] == ["bob-vm"]


def test_a_batch_holds_a_hundred():
    assert [len(load) for load in loads([offer(b"[%d]" % n) for n in range(230)])] == [100, 100, 30]


def test_a_payload_that_is_no_text_goes_alone():
    offers = [offer(b"[1]"), offer(b"\xff"), offer(b"[2]"), offer(b"[3]")]
    assert [len(load) for load in loads(offers)] == [1, 1, 2]


def test_what_has_expired_is_set_aside():
    late, timely = offer(b"[1]", expires_at=5.0), offer(b"[2]", expires_at=5.1)
    load = next_load(deque([late, timely]), HOST, 5.0)
    assert (load.late, load.offers, load.is_batch) == ([late], [timely], False)


def test_nothing_in_time_is_an_empty_load():
    load = next_load(deque([offer(b"[1]", expires_at=1.0)]), HOST, 5.0)
    assert load.offers == []


def test_a_batch_stays_within_its_limit_in_bytes():
    offers = [offer(b"%02d" % n + b'"' * (PAYLOAD_LIMIT_BYTES - 2)) for n in range(8)]
    waiting = deque(offers)
    while waiting:
        load = next_load(waiting, HOST, 0.0)
        assert len(load.offers) == 3 or not waiting
        assert len(batch_body(load.items)) <= BATCH_LIMIT_BYTES


def test_the_backlog_asked_for_fits_into_one_batch_at_worst():
    data = b'"' * (BACKLOG_LIMIT_BYTES // BATCH_ITEMS)
    load = next_load(deque([offer(data)] * BATCH_ITEMS), HostName("h" * 63), 0.0)
    assert len(load.offers) == BATCH_ITEMS


@given(st.lists(st.tuples(st.binary(max_size=20), st.sampled_from([1.0, 10.0])), max_size=250))
def test_every_payload_is_in_exactly_one_load_in_order(parts):
    offers = [offer(data, expires_at) for data, expires_at in parts]
    waiting, sent, late = deque(offers), [], []
    while waiting:
        load = next_load(waiting, HOST, 5.0)
        sent += load.offers
        late += load.late
        assert not load.is_batch or len(load.items) == len(load.offers)
    assert sent == [one for one in offers if one.expires_at > 5.0]
    assert late == [one for one in offers if one.expires_at <= 5.0]
