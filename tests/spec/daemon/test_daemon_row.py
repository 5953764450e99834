"""Hubs in a row, as whole daemons: pushed and dialled links, both ways; kills, withdrawals, circles."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest
from tests.spec.daemon.rig import EXPIRY_DEADLINE_S, SOON_S, Host, ending, until
from tests.spec.daemon.row import Row

pytestmark = pytest.mark.slow
Lay = Callable[[str], Row]


@pytest.fixture
def lay(place: Path) -> Iterator[Lay]:
    with ExitStack() as ends:

        def row(links: str) -> Row:
            laid = Row(place, links)
            ends.enter_context(ending(*laid.hosts))
            return laid

        yield row


def state(host: Host, tid: str) -> str:
    return str(host.tell("show", tid)["state"])


def has_archived(host: Host, data: bytes) -> bool:
    return data in [host.read("archive", name) for name in host.names("archive")]


def is_clean(row: Row) -> None:
    for host in row.hosts:
        until(f"{host.name} holds nothing", lambda host=host: host.in_custody() == [])
    for hub in row.hubs:
        shown = {place: hub.names(place) for place in ("handoff", "claimed", "archive", "rejected")}
        assert shown == {place: [] for place in shown}


@pytest.mark.parametrize("links", ["push push", "dials push", "dials dials", "push push dials"])
def test_a_talk_goes_the_whole_way_and_its_transcript_comes_home(lay: Lay, links: str) -> None:
    row = lay(links).start()
    for writer, reader in ((row.bob, row.alice), (row.alice, row.bob)):
        tid = writer.hand_over(reader.agent, ttl_s=600.0)
        name = reader.claim(tid)
        claim = writer.told("claimed", tid=tid)
        assert reader.name in (claim.get("timed_by"), claim["peer"])
        final = reader.archive(name, appended="bye")
        record = writer.ended(tid)
        assert (record["reason"], record["by"], record["delivered"]) == ("completed", reader.name, "claimed")
        until("the transcript came home", partial(has_archived, writer, final))
        ways = row.hosts if writer is row.bob else row.hosts[::-1]
        for hub, beyond in pairwise(ways[1:]):
            told = "" if beyond is reader else f", told by {beyond.name}"
            assert f"; by the word of {reader.name}{told}\n" in hub.command("show", tid).stdout
    is_clean(row)


def test_what_is_told_while_a_hub_or_the_far_host_is_away(lay: Lay) -> None:
    row = lay("push push push")
    near, far = row.hubs
    row.start()
    far.kill()
    tid = row.bob.hand_over("alice", ttl_s=600.0)
    until("the near hub has it", lambda: state(row.bob, tid) == "stored")
    assert state(near, tid) in ("stored", "leased")
    far.start().ready()
    row.alice.published(tid)
    row.bob.told("published", tid=tid)
    story = [line["event"] for line in row.bob.journal(tid=tid)]
    assert story[:4] == ["started", "stored", "leased", "published"]
    row.alice.archive(row.alice.claim(tid))
    assert row.bob.ended(tid)["by"] == "alice-vm"
    is_clean(row)


@pytest.mark.parametrize("who", [1, 2])
def test_a_hub_that_is_killed_loses_nothing_and_nothing_comes_twice(lay: Lay, who: int) -> None:
    row = lay("push push dials").start()
    victim, tids = row.hosts[who], []
    for _ in range(4):
        tids += [row.bob.hand_over("alice", ttl_s=600.0) for _ in range(5)]
        victim.kill()
        victim.start().ready()
    for tid in tids:
        row.alice.archive(row.alice.claim(tid))
    for tid in tids:
        assert row.bob.ended(tid)["reason"] == "completed"
    assert len(row.alice.names("archive")) == len(tids)
    is_clean(row)


def test_a_withdrawal_goes_the_whole_way(lay: Lay) -> None:
    row = lay("push push push").start()
    tid = row.bob.hand_over("alice", ttl_s=600.0)
    row.alice.published(tid)
    row.bob.told("published", tid=tid)
    assert row.bob.command("reject", tid, "--yes").returncode == 0
    assert row.bob.ended(tid)["reason"] == "revoked"
    assert row.alice.names("handoff") == []
    is_clean(row)


def test_nobody_comes_for_it_and_every_host_knows_that_it_has_expired(lay: Lay) -> None:
    row = lay("push push").start()
    tid = row.bob.hand_over("alice", ttl_s=SOON_S)
    row.alice.published(tid)
    record = row.bob.ended(tid, EXPIRY_DEADLINE_S)
    assert (record["reason"], record["delivered"], record["by"]) == ("expired", "not_delivered", "alice-vm")
    is_clean(row)


@pytest.mark.parametrize("links", ["push push push", "push dials push"])
def test_two_hubs_that_name_each_other_end_it_at_once_with_the_way_it_took(lay: Lay, links: str) -> None:
    row = lay(links)
    near, far = row.hubs
    row.lead(far, "alice", near)
    row.start()
    tid = row.bob.hand_over("alice", ttl_s=600.0)
    record = row.bob.ended(tid)
    assert (record["reason"], record["delivered"]) == ("unroutable", "not_delivered")
    assert "bob-vm > hub1 > hub2 > hub1" in record["detail"]
    until("its reason is beside it", lambda: any(name.endswith(".reason") for name in row.bob.names("rejected")))
    is_clean(row)
