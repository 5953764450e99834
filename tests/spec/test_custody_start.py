"""docs/custody.md section 13: start, stop, and each row of the table of what a crash leaves."""

import json
import os
import shutil

import pytest
from tests.fakes.faulty import Failing
from tests.fakes.order import in_order, recorded
from tests.unit.custody.pair import Host, Pair, X, payload

from handoffd.custody.filesystem import FlushFailed
from handoffd.custody.layout import AGENTS_DIRECTORIES, PROBE, PROBE_LINK, UnsafeRoot
from handoffd.custody.message import Accept, Arrival, Finish, Offer
from handoffd.protocol.name import AgentName, Nonce, TransferId
from handoffd.protocol.reason import Reason, State

INBOX = "relay/inbox/host-a"
SHARED_ID = "1790000000-bob-alice-0011223344556677"


def restart(host: Host, *, power: bool) -> None:
    (host.power_cut if power else host.crash)()
    host.start()


def state(host: Host, tid: TransferId) -> State | None:
    (record,) = host.engine.record([tid])
    return record and record.state


both = pytest.mark.parametrize("power", [False, True], ids=["crash", "power cut"])


# ---------------------------------------------------------------- at A


@both
def test_a_file_in_handoff_is_taken(pair: Pair, power: bool) -> None:
    pair.a.drop(X, payload())
    restart(pair.a, power=power)
    pair.a.tick()
    assert any(isinstance(item, Offer) for item in pair.a.engine.drain_news())


@both
def test_a_take_that_was_cut_short_goes_on(pair: Pair, power: bool) -> None:
    (pair.a.root / "relay/outbox/host-b" / f"taking.0123456789abcdef~{X}").write_bytes(payload())
    restart(pair.a, power=power)
    pair.a.tick()
    assert pair.push()[0].status == 201


def test_a_file_taken_with_no_bytes_after_a_power_cut_is_malformed(pair: Pair) -> None:
    (pair.a.root / "relay/outbox/host-b" / f"taking.0123456789abcdef~{X}").write_bytes(b"")
    restart(pair.a, power=True)
    pair.a.tick()
    assert pair.a.outcome()["reason"] == "malformed"


def test_the_name_that_a_power_cut_shows_again_in_handoff_ends_as_a_duplicate(pair: Pair) -> None:
    data = payload()
    pair.a.drop(X, data)
    pair.a.tick()
    (offer,) = pair.offers(pair.a, pair.b)
    answers = pair.post(pair.a, pair.b, [offer])
    pair.a.drop(X, data)  # A's handoff/ was not flushed when its power failed; the payload had left
    restart(pair.a, power=True)
    pair.a.tick()
    (reason,) = (name for name in pair.a.names("rejected") if name.endswith(".reason"))
    assert json.loads(pair.a.read(f"rejected/{reason}"))["reason"] == "duplicate"
    assert state(pair.a, offer.tid) is State.QUEUED
    assert [answer.status for answer in answers + pair.push()] == [201, 200]
    assert len(pair.b.names("handoff")) == 1


def test_a_fifo_under_a_taking_name_does_not_hang_the_start(pair: Pair) -> None:
    os.mkfifo(pair.a.root / "relay/outbox/host-b" / f"taking.0123456789abcdef~{X}")
    restart(pair.a, power=False)
    pair.a.tick()
    assert len(pair.a.names("relay/quarantine")) == 1


@both
def test_a_file_in_outbox_is_pushed_again(pair: Pair, power: bool) -> None:
    pair.a.drop(X, payload())
    pair.a.tick()
    restart(pair.a, power=power)
    assert pair.push()[0].status == 201


def test_other_bytes_of_what_has_ended_are_a_variant_after_a_start_at_either_end(pair: Pair) -> None:
    """S is in memory only, and rebuilt from outcome/ (section 2)."""
    data = payload(ttl_s=600.0)
    pair.cross(data)
    name = pair.b.claim()
    os.rename(pair.b.root / "claimed" / name, pair.b.root / "archive" / name)
    pair.b.tick()
    pair.follow()
    pair.a.restart()
    pair.b.restart()
    pair.a.drop("again.json", data + b"\n")
    pair.a.tick()
    assert [one["reason"] for one in pair.a.outcomes() if one["file"] == "again.json"] == ["variant"]
    principal = pair.principal(pair.a)
    (answer,) = pair.b.engine.admit([Arrival(principal, data + b"\n", epoch=pair.b.engine.epoch)])
    assert (answer.status, answer.reason) == (409, Reason.VARIANT)


@both
def test_a_file_in_sent_is_followed(pair: Pair, power: bool) -> None:
    tid, name = pair.cross()
    restart(pair.a, power=power)
    assert state(pair.a, tid) is State.STORED
    os.rename(pair.b.root / "handoff" / name, pair.b.root / "archive" / name)
    pair.b.tick()
    pair.follow()
    assert pair.a.outcome()["reason"] == "completed"


@both
def test_a_file_in_outbox_that_was_changed_on_disk_is_quarantined(pair: Pair, power: bool) -> None:
    pair.a.drop(X, payload())
    pair.a.tick()
    (name,) = pair.a.names("relay/outbox/host-b")
    (pair.a.root / "relay/outbox/host-b" / name).write_bytes(b"\0" * 10)
    restart(pair.a, power=power)
    assert (pair.a.outcome()["reason"], pair.a.outcome()["delivered"]) == ("content_changed", "unknown")
    assert len(pair.a.names("relay/quarantine")) == 1


def test_a_name_that_is_not_ours_is_quarantined(pair: Pair) -> None:
    for directory in ("relay/outbox/host-b", "relay/sent/host-b", INBOX.replace("host-a", "host-b")):
        (pair.a.root / directory / "stranger").write_bytes(b"x")
    restart(pair.a, power=False)
    assert len(pair.a.names("relay/quarantine")) == 3


@pytest.mark.parametrize("place", ["outbox", "sent"])
def test_a_file_that_cannot_be_read_now_stops_the_start_instead_of_being_put_away(pair: Pair, place: str) -> None:
    pair.a.drop(X, payload())
    pair.a.tick()
    if place == "sent":
        pair.push()
    pair.a.crash()
    pair.a.faults.failing = Failing(frozenset({"read"}), 1, 1000, 5)
    with pytest.raises(OSError, match="Input/output error"):
        pair.a.start()
    pair.a.faults.rest()
    pair.a.restart()
    assert len(pair.a.names(f"relay/{place}/host-b")) == 1


def test_both_names_of_one_move_after_a_power_cut_leave_the_further_one(pair: Pair) -> None:
    tid, _ = pair.cross()
    sent = pair.a.root / "relay/sent/host-b" / f"{tid}~{X}"
    os.link(sent, pair.a.root / "relay/outbox/host-b" / f"{tid}~{X}")
    restart(pair.a, power=True)
    assert pair.a.names("relay/outbox/host-b") == []
    assert state(pair.a, tid) is State.STORED


# ---------------------------------------------------------------- at B


@both
def test_a_token_without_receipt_was_never_acknowledged_and_goes(pair: Pair, power: bool) -> None:
    _, name = pair.cross()
    (pair.b.root / INBOX / name).unlink()
    os.rename(pair.b.root / "handoff" / name, pair.b.root / INBOX / f"{name}.new")
    restart(pair.b, power=power)
    assert (pair.b.names(INBOX), pair.b.names("handoff"), pair.b.outcomes()) == ([], [], [])


def test_a_token_with_its_receipt_is_published_after_a_crash(pair: Pair) -> None:
    _, name = pair.cross()
    os.rename(pair.b.root / "handoff" / name, pair.b.root / INBOX / f"{name}.new")
    restart(pair.b, power=False)
    assert pair.b.names("handoff") == [name]


def test_a_token_with_its_receipt_is_uncertain_after_a_power_cut(pair: Pair) -> None:
    _, name = pair.cross()
    os.rename(pair.b.root / "handoff" / name, pair.b.root / INBOX / f"{name}.new")
    restart(pair.b, power=True)
    assert (pair.b.outcome()["reason"], pair.b.outcome()["delivered"]) == ("uncertain_power_loss", "unknown")
    assert pair.b.names("rejected") == [name, f"{name}.reason"]


def test_a_published_one_is_observed_after_a_crash_and_pulled_after_a_power_cut(pair: Pair) -> None:
    tid, name = pair.cross()
    restart(pair.b, power=False)
    assert (state(pair.b, tid), pair.b.names("handoff")) == (State.PUBLISHED, [name])
    restart(pair.b, power=True)
    assert (state(pair.b, tid), pair.b.names("handoff")) == (State.UNCERTAIN, [])


@both
def test_a_claim_is_believed_and_seen_as_one(pair: Pair, power: bool) -> None:
    tid, name = pair.cross()
    pair.b.claim()
    restart(pair.b, power=power)
    assert state(pair.b, tid) is State.CLAIMED
    (pair.b.root / "claimed" / name).unlink()
    for _ in range(40):
        pair.b.tick(1.0)
    assert (pair.b.outcome()["reason"], pair.b.outcome()["delivered"]) == ("vanished_at_target", "claimed")


@both
def test_an_accept_over_http_outlives_a_restart(pair: Pair, power: bool) -> None:
    data = payload()
    tid, _ = pair.cross(data)
    asked = Accept(AgentName("alice"), tid, Nonce("n1"))
    pair.b.engine.accept([asked])
    restart(pair.b, power=power)
    (again,) = pair.b.engine.accept([asked])
    assert (state(pair.b, tid), again.status, again.data) == (State.CLAIMED, 200, data)


@both
def test_a_claim_under_another_name_is_believed(pair: Pair, power: bool) -> None:
    tid, name = pair.cross()
    os.rename(pair.b.root / "handoff" / name, pair.b.root / "claimed" / "mine.json")
    restart(pair.b, power=power)
    pair.b.tick()
    assert state(pair.b, tid) is State.CLAIMED


@pytest.mark.parametrize("new_tree", [False, True], ids=["expires", "B loses its tree"])
def test_a_claim_put_back_while_the_daemon_is_down_ends_and_stays_a_claim_at_a(pair: Pair, new_tree: bool) -> None:
    """Section 17: B cannot know, and A never says "not delivered" after a claim."""
    _, name = pair.cross()
    pair.b.claim()
    pair.b.tick()
    pair.follow()
    os.rename(pair.b.root / "claimed" / name, pair.b.root / "handoff" / name)
    if new_tree:
        shutil.rmtree(pair.b.root / "relay")
    restart(pair.b, power=False)
    assert pair.b.names("handoff") == ([] if new_tree else [name])
    pair.advance(65.0)
    pair.greet(pair.a, pair.b)
    pair.follow()
    assert pair.a.outcome()["reason"] == ("peer_lost_state" if new_tree else "expired")
    assert pair.a.outcome()["delivered"] == "claimed"
    assert pair.a.names("relay/sent/host-b") == pair.a.names("claimed") == []
    assert "broken" not in pair.a.journal.words()


@both
def test_an_end_is_found(pair: Pair, power: bool) -> None:
    _, name = pair.cross()
    os.rename(pair.b.root / "handoff" / name, pair.b.root / "archive" / name)
    restart(pair.b, power=power)
    pair.b.tick()
    assert pair.b.outcome()["reason"] == "completed"


@pytest.mark.parametrize(("place", "reason"), [("archive", "completed"), ("rejected", "rejected_by_agent")])
def test_an_end_whose_bytes_a_power_cut_has_torn_is_an_end(pair: Pair, place: str, reason: str) -> None:
    """The agent wrote other bytes, renamed them and removed its claim; only the names had reached the disk."""
    data = payload()
    _, name = pair.cross(data)
    pair.b.claim()
    pair.b.tick()
    (pair.b.root / place / f"1795168801-bob-alice-{json.loads(data)['handoff_id']}.json").write_bytes(b"")
    (pair.b.root / "claimed" / name).unlink()
    restart(pair.b, power=True)
    assert pair.b.outcome()["reason"] == reason


@pytest.mark.parametrize("left", [0, 40, 10_000], ids=["empty", "a beginning", "whole"])
def test_the_copy_of_a_claim_over_http_goes_with_its_end_even_torn(pair: Pair, left: int) -> None:
    data = payload()
    tid, name = pair.cross(data)
    pair.b.engine.accept([Accept(AgentName("alice"), tid, Nonce("n1"))])
    (pair.b.root / "claimed" / name).write_bytes(data[:left])
    restart(pair.b, power=True)
    pair.b.engine.finish([Finish(AgentName("alice"), tid, reject=False)])
    assert (pair.b.names("claimed"), pair.b.outcome()["reason"]) == ([], "completed")


@both
def test_a_staler_name_beside_a_claim_goes(pair: Pair, power: bool) -> None:
    _, name = pair.cross()
    pair.b.claim()
    os.link(pair.b.root / "claimed" / name, pair.b.root / INBOX / f"{name}.new")
    os.link(pair.b.root / "claimed" / name, pair.b.root / "handoff" / name)
    restart(pair.b, power=power)
    assert (pair.b.names("handoff"), pair.b.names(INBOX)) == ([], [name])


@both
@pytest.mark.parametrize("peer", ["aaa-vm", "zzz-vm"])
def test_a_second_receipt_of_another_peer_is_put_away(pair: Pair, power: bool, peer: str) -> None:
    tid, name = pair.cross()
    copies = pair.b.root / "relay" / "inbox" / peer
    copies.mkdir()
    for suffix in ("", ".new"):
        shutil.copy(pair.b.root / INBOX / name, copies / f"{name}{suffix}")
    restart(pair.b, power=power)
    assert list(copies.iterdir()) == []
    assert len(pair.b.names("relay/quarantine")) >= 2
    if power:
        assert (pair.b.outcome()["reason"], pair.b.outcome()["peer"]) == ("uncertain_power_loss", "host-a")
    else:
        assert (state(pair.b, tid), pair.b.names(INBOX)) == (State.PUBLISHED, [name])


@pytest.mark.parametrize("stale", ["handoff/{}", INBOX + "/{}.new"])
@pytest.mark.parametrize(("place", "reason"), [("archive", "completed"), ("rejected", "rejected_by_agent")])
def test_an_end_beside_a_name_that_a_power_cut_shows_again_is_an_end(
    pair: Pair, stale: str, place: str, reason: str
) -> None:
    data = payload()
    _, name = pair.cross(data)
    (pair.b.root / place / f"1795168801-bob-alice-{json.loads(data)['handoff_id']}.json").write_bytes(data)
    os.rename(pair.b.root / "handoff" / name, pair.b.root / stale.format(name))
    restart(pair.b, power=True)
    assert (pair.b.outcome()["reason"], pair.b.outcome()["delivered"]) == (reason, "claimed")
    assert (pair.b.names("handoff"), pair.b.names(INBOX)) == ([], [])


@pytest.mark.parametrize("stale", ["handoff/{}", INBOX + "/{}.new"])
def test_a_claim_by_another_name_beside_one_that_a_power_cut_shows_again_is_a_claim(pair: Pair, stale: str) -> None:
    tid, name = pair.cross()
    os.rename(pair.b.root / "handoff" / name, pair.b.root / "claimed" / "mine.json")
    os.link(pair.b.root / "claimed" / "mine.json", pair.b.root / stale.format(name))
    restart(pair.b, power=True)
    assert (state(pair.b, tid), pair.b.names("handoff"), pair.b.names(INBOX)) == (State.CLAIMED, [], [name])
    assert pair.b.names("claimed") == ["mine.json"]


@pytest.mark.parametrize("stale", ["handoff/{}", INBOX + "/{}.new"])
def test_a_file_that_is_only_called_like_it_ends_nothing_that_nobody_claimed(pair: Pair, stale: str) -> None:
    """Two handoffs for one caller within a second share the handoff_id (overview.md section 3)."""
    first, _ = pair.cross(payload(handoff_id=SHARED_ID))
    second, name = pair.cross(payload(handoff_id=SHARED_ID), "0011223344556677-1.json")
    pair.b.engine.accept([Accept(AgentName("alice"), first, Nonce("n1"))])
    pair.b.engine.finish([Finish(AgentName("alice"), first, reject=False, artefact=b'{"notes": "done"}')])
    os.rename(pair.b.root / "handoff" / name, pair.b.root / stale.format(name))
    restart(pair.b, power=True)
    ends = {TransferId(one["tid"]): (one["reason"], one["delivered"]) for one in pair.b.outcomes()}
    assert ends == {first: ("completed", "claimed"), second: ("uncertain_power_loss", "unknown")}


@pytest.mark.parametrize(
    ("moved", "reason"), [("handoff", "uncertain_power_loss"), ("claimed", None), ("", "uncertain_power_loss")]
)
def test_an_older_end_of_the_same_id_is_no_end_after_a_power_cut(pair: Pair, moved: str, reason: str | None) -> None:
    handoff, claimed = pair.b.root / "handoff", pair.b.root / "claimed"
    pair.cross(payload(ttl_s=600.0), "0000000000000000-0.json")  # waits all the while, so what came since is read
    first, name = pair.cross(payload(handoff_id=SHARED_ID))
    os.rename(handoff / name, claimed / name)
    pair.b.tick()
    pair.b.write(f"archive/1790000100-bob-alice-{SHARED_ID}.json", b"")  # as a power cut may leave it
    (claimed / name).unlink()
    for _ in range(5):
        pair.b.tick(1.0)
    assert (pair.b.outcome()["tid"], pair.b.outcome()["reason"]) == (first, "completed")
    for host in (pair.a, pair.b):
        host.clock.advance(30.0)
    second, name = pair.cross(payload(handoff_id=SHARED_ID, at=pair.b.clock.wall_s), "0011223344556677-1.json")
    if moved:
        os.rename(handoff / name, pair.b.root / moved / name)
    else:
        (handoff / name).unlink()
    restart(pair.b, power=True)
    assert {one["tid"]: one["reason"] for one in pair.b.outcomes()}.get(second) == reason


def test_after_a_power_cut_all_are_looked_for_in_one_search(pair: Pair) -> None:
    """An archive may hold a million files, and each open handoff may be among them."""
    for _ in range(3):
        pair.cross()
    pair.b.power_cut()
    order = recorded(pair.b)
    pair.b.start()
    assert [order.count(f"names {place}") for place in ("archive", "rejected", "claimed")] == [1, 1, 1]
    assert {outcome["reason"] for outcome in pair.b.outcomes()} == {"uncertain_power_loss"}


@pytest.mark.parametrize(("late_s", "reason"), [(0.0, "revoked"), (61.0, "expired")])
def test_a_pulled_one_without_outcome_gets_it_after_a_crash(pair: Pair, late_s: float, reason: str) -> None:
    _, name = pair.cross()
    os.rename(pair.b.root / "handoff" / name, pair.b.root / INBOX / f"{name}.pulled")
    pair.b.clock.advance(late_s)
    restart(pair.b, power=False)
    assert (pair.b.outcome()["reason"], pair.b.names(INBOX)) == (reason, [])


def test_a_pulled_one_without_outcome_is_uncertain_after_a_power_cut(pair: Pair) -> None:
    _, name = pair.cross()
    os.rename(pair.b.root / "handoff" / name, pair.b.root / INBOX / f"{name}.pulled")
    restart(pair.b, power=True)
    assert pair.b.outcome()["reason"] == "uncertain_power_loss"


def test_a_receipt_alone_is_looked_for_after_a_crash(pair: Pair) -> None:
    tid, name = pair.cross()
    (pair.b.root / "handoff" / name).unlink()
    restart(pair.b, power=False)
    assert state(pair.b, tid) is State.PUBLISHED
    for _ in range(40):
        pair.b.tick(1.0)
    assert pair.b.outcome()["reason"] == "vanished_at_target"


def test_a_receipt_alone_is_uncertain_after_a_power_cut(pair: Pair) -> None:
    _, name = pair.cross()
    (pair.b.root / "handoff" / name).unlink()
    restart(pair.b, power=True)
    assert pair.b.outcome()["reason"] == "uncertain_power_loss"


@both
def test_a_published_name_without_receipt_is_quarantined(pair: Pair, power: bool) -> None:
    _, name = pair.cross()
    (pair.b.root / INBOX / name).unlink()
    restart(pair.b, power=power)
    assert (pair.b.names("handoff"), len(pair.b.names("relay/quarantine"))) == ([], 1)


@both
@pytest.mark.parametrize("left", ["", ".new", ".pulled", ".accepted~alice~n"])
def test_an_outcome_and_any_other_name_in_inbox_is_cleared(pair: Pair, power: bool, left: str) -> None:
    _, name = pair.cross()
    receipt = pair.b.root / INBOX / name
    receipt.write_bytes(receipt.read_bytes())
    pair.b.tick(63.0)
    (pair.b.root / INBOX / f"{name}{left}").write_bytes(pair.b.read(f"rejected/{name}"))
    restart(pair.b, power=power)
    assert (pair.b.names(INBOX), pair.b.outcome()["reason"]) == ([], "expired")


@both
@pytest.mark.parametrize("receipt", [True, False])
def test_an_ended_one_that_is_back_in_handoff_cannot_be_claimed_after_a_start(
    pair: Pair, power: bool, receipt: bool
) -> None:
    _, name = pair.cross()
    pair.b.tick(63.0)
    pair.b.write(f"handoff/{name}", pair.b.read(f"rejected/{name}"))
    if receipt:
        os.link(pair.b.root / "handoff" / name, pair.b.root / INBOX / name)
    restart(pair.b, power=power)
    assert (pair.b.names("handoff"), pair.b.names(INBOX)) == ([], [])


def test_an_outcome_that_cannot_be_read_is_said_and_stops_nothing(pair: Pair) -> None:
    (pair.b.root / "relay/outcome" / f"{'1' * 64}.json").write_bytes(b"{")
    restart(pair.b, power=False)
    assert "parked" in pair.b.journal.words()
    pair.cross()
    assert len(pair.b.names("handoff")) == 1


def test_a_power_cut_start_that_cannot_write_its_outcomes_does_not_finish(pair: Pair) -> None:
    pair.cross()
    pair.b.power_cut()
    # The format is there: the probe's parts are not counted, so these are the outcome's.
    pair.b.faults.failing = Failing(frozenset({"create"}), 1, 1, 28)
    with pytest.raises(OSError, match="power-cut start"):
        pair.b.start()
    pair.b.crash()
    pair.b.start()
    assert pair.b.outcome()["reason"] == "uncertain_power_loss"


# ---------------------------------------------------------------- the start itself


@pytest.mark.parametrize("directory", AGENTS_DIRECTORIES)
def test_a_probe_that_was_cut_short_leaves_nothing(pair: Pair, directory: str) -> None:
    (pair.b.root / directory / PROBE).write_bytes(b"")
    os.link(pair.b.root / directory / PROBE, pair.b.root / "relay/tmp" / PROBE_LINK)
    restart(pair.b, power=False)
    assert (pair.b.names(directory), pair.b.names("relay/tmp")) == ([], [])


def test_tmp_is_emptied(pair: Pair) -> None:
    (pair.a.root / "relay/tmp/part").write_bytes(b"x")
    restart(pair.a, power=False)
    assert pair.a.names("relay/tmp") == []


@pytest.mark.parametrize("found", [b"2\n", b"", b"\xff"])
def test_another_format_refuses_to_start_and_names_both(pair: Pair, found: bytes) -> None:
    (pair.a.root / "relay/format").write_bytes(found)
    pair.a.crash()
    with pytest.raises(UnsafeRoot, match="'1'"):
        pair.a.start()


def test_the_boot_note_is_written_last(pair: Pair) -> None:
    pair.cross()
    pair.b.power_cut()
    pair.b.faults.rest()
    pair.b.start()
    changed = [line for line in pair.b.faults.trace if not line.endswith("~") and "unlink" not in line]
    assert changed[-1].endswith("relay boot")


def test_a_link_instead_of_an_agents_directory_is_refused(pair: Pair) -> None:
    pair.a.crash()
    os.rename(pair.a.root / "claimed", pair.a.root / "elsewhere")
    os.symlink(pair.a.root / "elsewhere", pair.a.root / "claimed")
    with pytest.raises(UnsafeRoot, match="claimed is a link"):
        pair.a.start()


def test_a_failed_directory_flush_ends_the_start(pair: Pair) -> None:
    pair.a.crash()
    pair.a.faults.failing = Failing(frozenset({"sync_directories"}), 1, 1, 5)
    with pytest.raises(FlushFailed):
        pair.a.start()


# ---------------------------------------------------------------- orderly stop


def test_a_stop_takes_back_what_is_unclaimed_and_leaves_the_mark(pair: Pair) -> None:
    _, name = pair.cross()
    pair.b.engine.stop()
    assert (pair.b.names("handoff"), pair.b.names(INBOX)) == ([], [name, f"{name}.new"])
    assert pair.b.read("relay/boot") == b"clean\n"


@pytest.mark.parametrize("directory", ["handoff", "claimed", "archive", "rejected", "relay/inbox/host-a"])
def test_the_mark_is_left_after_all_that_it_vouches_for_is_flushed(pair: Pair, directory: str) -> None:
    pair.cross()
    order = recorded(pair.b)
    pair.b.engine.stop()
    assert in_order(
        order, "move handoff relay/inbox/host-a", f"sync_directories {directory}", "exchange relay/tmp relay"
    )


def test_a_planned_reboot_is_no_power_cut(pair: Pair) -> None:
    _, name = pair.cross()
    pair.b.engine.stop()
    restart(pair.b, power=True)
    assert (pair.b.names("handoff"), pair.b.outcomes()) == ([name], [])


def test_the_mark_does_not_outlive_the_next_start(pair: Pair) -> None:
    pair.cross()
    pair.b.engine.stop()
    restart(pair.b, power=True)
    restart(pair.b, power=True)
    assert pair.b.outcome()["reason"] == "uncertain_power_loss"


def test_a_claim_that_was_faster_than_the_stop_is_told_as_one(pair: Pair) -> None:
    tid, _ = pair.cross()
    pair.b.claim()
    pair.b.engine.stop()
    assert state(pair.b, tid) is State.CLAIMED


@pytest.mark.parametrize(("verb", "code"), [("move", 28), ("create", 28)])
def test_a_stop_that_fails_leaves_no_mark(pair: Pair, verb: str, code: int) -> None:
    pair.cross()
    pair.b.faults.failing = Failing(frozenset({verb}), 1, 1, code)
    with pytest.raises(OSError, match="No space"):
        pair.b.engine.stop()
    assert pair.b.read("relay/boot") != b"clean\n"


def test_what_was_in_flight_at_a_is_followed_after_a_reboot(pair: Pair) -> None:
    tid, _ = pair.cross()
    pair.a.engine.stop()
    restart(pair.a, power=True)
    assert json.loads(pair.a.read("relay/peers/host-b.json"))["epoch"] == pair.b.engine.epoch
    pair.follow()
    assert state(pair.a, tid) is State.PUBLISHED
