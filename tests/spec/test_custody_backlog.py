"""What piled up during an outage leaves in batches, in either direction of a link: the oldest deadline first, each
directory flushed once for a batch, and nothing new behind it that is more urgent (docs/custody.md section 16)."""

import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.fakes.star import Spoke
from tests.unit.custody.pair import Host, Pair, payload

from handoffd.custody.message import Attempt, Offer, Settlement, Want
from handoffd.custody.visit import Lease
from handoffd.protocol.name import TransferId
from handoffd.protocol.payload import transfer_id
from handoffd.protocol.timing import BATCH_ITEMS

BACKLOG = 250


@pytest.fixture
def spoke(tmp_path: Path) -> Iterator[Spoke]:
    world = Spoke(tmp_path)
    yield world
    world.close()


def pile_up(host: Host) -> list[TransferId]:
    """Have a backlog taken, in no order; return it by deadline."""
    lifetimes = random.Random(7).sample(range(600, 4_000), BACKLOG)
    by_ttl: dict[int, TransferId] = {}
    for number, ttl_s in enumerate(lifetimes):
        data = payload(at=host.clock.wall(), ttl_s=ttl_s)
        host.drop(f"{number}.json", data)
        by_ttl[ttl_s] = transfer_id(data)
    while host.engine.tick([0.0])[0]:
        pass
    return [by_ttl[ttl_s] for ttl_s in sorted(lifetimes)]


def urgent(host: Host) -> TransferId:
    data = payload(at=host.clock.wall(), ttl_s=60.0)
    host.drop("urgent.json", data)
    host.tick()
    return transfer_id(data)


def flushed(host: Host, before: Counter[str]) -> Counter[str]:
    return host.faults.flushes - before


# ---------------------------------------------------------------- a peer that we call


def after_an_outage(pair: Pair) -> None:
    """What was offered while the peer could not be reached came back unsent, and is due again."""
    fresh = [item for item in pair.a.engine.drain_news() if isinstance(item, Offer)]
    pair.a.engine.settle([Settlement(one.peer, one.tid, Attempt.NOT_SENT) for one in fresh])
    pair.a.clock.advance(10.0)


def next_batch(pair: Pair) -> tuple[Offer, ...]:
    (offers,) = pair.a.engine.offers([Want(pair.b.name, BATCH_ITEMS, 1 << 23)])
    return offers


def test_a_backlog_is_sent_in_batches_the_oldest_deadline_first(pair: Pair) -> None:
    by_deadline = pile_up(pair.a)
    after_an_outage(pair)
    batches = [next_batch(pair) for _ in range(4)]
    assert [len(batch) for batch in batches] == [100, 100, 50, 0]
    assert [offer.tid for batch in batches for offer in batch] == by_deadline


def test_what_is_more_urgent_is_in_the_next_batch(pair: Pair) -> None:
    pile_up(pair.a)
    after_an_outage(pair)
    next_batch(pair)
    tid = urgent(pair.a)
    after_an_outage(pair)  # its first attempt did not leave either
    assert next_batch(pair)[0].tid == tid


def test_a_batch_is_admitted_with_one_flush_of_its_directory(pair: Pair) -> None:
    pile_up(pair.a)
    after_an_outage(pair)
    batch = list(next_batch(pair))
    before = pair.b.faults.flushes.copy()
    answers = pair.post(pair.a, pair.b, batch)
    assert {answer.status for answer in answers} == {201}
    assert flushed(pair.b, before) == {"relay/inbox/host-a": 1}
    assert len(pair.b.names("handoff")) == BATCH_ITEMS


# ---------------------------------------------------------------- a peer that dials in


def test_a_backlog_is_leased_in_batches_the_oldest_deadline_first(spoke: Spoke) -> None:
    by_deadline = pile_up(spoke.a)
    listed = []
    for _ in range(4):
        wishes = spoke.tell(())
        assert wishes is not None
        listed.append(wishes.take)
    assert [len(take) for take in listed] == [100, 100, 50, 0]
    assert [tid for take in listed for tid in take] == by_deadline


def test_what_is_more_urgent_is_named_before_the_rest_of_the_backlog(spoke: Spoke) -> None:
    pile_up(spoke.a)
    first = spoke.tell(())
    assert first is not None
    tid = urgent(spoke.a)
    second = spoke.tell(())
    assert second is not None
    assert (tid in first.take, second.take[0]) == (False, tid)


def test_a_lease_of_a_batch_and_its_admission_flush_each_directory_once(spoke: Spoke) -> None:
    tids = tuple(pile_up(spoke.a)[:BATCH_ITEMS])
    before = spoke.a.faults.flushes.copy(), spoke.b.faults.flushes.copy()
    (leased,) = spoke.a.engine.lease([Lease(spoke.b.name, spoke.b.engine.epoch, tids)])
    assert flushed(spoke.a, before[0]) == {"relay/sent/host-b": 1}
    spoke.admit(leased.parcels)
    assert flushed(spoke.b, before[1]) == {"relay/inbox/host-a": 1}
    assert len(spoke.b.names("handoff")) == BATCH_ITEMS
