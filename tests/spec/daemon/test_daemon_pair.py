"""What two agents see of two daemons: every way a handoff can go while nothing breaks (docs/custody.md)."""

import contextlib
import json
import os
from pathlib import Path

import pytest
from tests.spec.daemon.rig import EXPIRY_DEADLINE_S, OURS, SOON_S, Host, Pair, payload, tid_of, until

BROKEN: dict[str, dict[str, object]] = {
    "a time that is none": {"initiated_at": "yesterday"},
    "a field that is missing": {"handoff_id": None},
    "a role nobody has": {"transcript": [{"role": "ghost", "text": "boo"}]},
}


@pytest.fixture(scope="module")
def doomed(calm_pair: Pair) -> dict[str, bytes]:
    """Handoffs that can only end badly, all written at once so that their times run out together."""
    written = {
        "nobody claims it": payload("bob", "alice", ttl_s=SOON_S),
        "local": payload("bob", "bob", ttl_s=SOON_S),  # that the target is local is all that counts
        "unroutable": payload("bob", "nobody", ttl_s=SOON_S),
        "too large": payload("bob", "alice", context_summary="x" * (1 << 20)),
        **{name: payload("bob", "alice", **fields) for name, fields in BROKEN.items()},
    }
    for data in written.values():
        calm_pair.bob.write(data, file_of(data))
    return written


def file_of(data: bytes) -> str:
    return f"{json.loads(data)['caller_hash']}-0.json"


def views(host: Host, tid: str) -> list[str]:
    """The copies in claimed/ that show a sender that T has been claimed."""
    found = []
    for name in host.names("claimed"):
        with contextlib.suppress(FileNotFoundError):  # another one's, which has gone meanwhile
            found += [name] if tid_of(host.read("claimed", name)) == tid else []
    return found


def test_handoffs_cross_in_both_directions_at_once_with_their_exact_bytes(calm_pair: Pair) -> None:
    there = [payload("bob", "alice") for _ in range(10)]
    back = [payload("alice", "bob") for _ in range(10)]
    for one, other in zip(there, back, strict=True):
        calm_pair.bob.write(one)
        calm_pair.alice.write(other)
    for host, sent in ((calm_pair.alice, there), (calm_pair.bob, back)):
        for data in sent:
            assert host.read("handoff", host.published(tid_of(data))) == data
            host.archive(host.claim(tid_of(data)))
    for host in calm_pair.hosts:
        assert {host.ended(tid_of(data))["reason"] for data in there + back} == {"completed"}


def test_a_claim_shows_at_home_and_goes_when_it_is_archived(calm_pair: Pair) -> None:
    data = payload("bob", "alice")
    tid = calm_pair.bob.write(data)
    name = calm_pair.alice.claim(tid)
    until("bob sees the claim", lambda: views(calm_pair.bob, tid))
    calm_pair.alice.archive(name)
    calm_pair.bob.ended(tid)
    until(
        "bob's archive holds it",
        lambda: [n for n in calm_pair.bob.names("archive") if data[-50:] in calm_pair.bob.read("archive", n)[-50:]],
    )
    until("the view of the claim is gone", lambda: views(calm_pair.bob, tid) == [])


def test_the_final_transcript_comes_home_beside_the_original(calm_pair: Pair) -> None:
    data = payload("bob", "alice")
    tid = calm_pair.bob.write(data)
    final_name = f"1790000000-bob-alice-{json.loads(data)['handoff_id']}.json"
    final = calm_pair.alice.archive(calm_pair.alice.claim(tid), final_name, appended="good-bye")
    assert calm_pair.bob.ended(tid)["artefact"]["sha256"] == tid_of(final)
    until("it is here", lambda: f"{final_name}.original" in calm_pair.bob.names("archive"))
    assert calm_pair.bob.read("archive", final_name) == final
    assert calm_pair.bob.read("archive", f"{final_name}.original") == data


def test_a_rejection_comes_home_with_the_agent_s_words(calm_pair: Pair) -> None:
    data = payload("bob", "alice")
    tid = calm_pair.bob.write(data)
    name = calm_pair.alice.claim(tid)
    rejected = json.dumps({**json.loads(data), "rejection_reason": "no such customer"}).encode()
    (calm_pair.alice.root / "claimed" / name).unlink()
    (calm_pair.alice.root / "rejected" / f".{name}.tmp").write_bytes(rejected)
    os.rename(calm_pair.alice.root / "rejected" / f".{name}.tmp", calm_pair.alice.root / "rejected" / name)
    record = calm_pair.bob.ended(tid)
    assert (record["state"], record["reason"]) == ("rejected", "rejected_by_agent")
    assert record["detail"] == "no such customer"
    until("the reason is in rejected/", lambda: [n for n in calm_pair.bob.names("rejected") if n.endswith(".reason")])


def test_of_three_claimers_one_wins_and_the_others_are_told(calm_pair: Pair) -> None:
    alice = calm_pair.alice
    tid = calm_pair.bob.hand_over("alice")
    name = alice.published(tid)
    os.rename(alice.root / "handoff" / name, alice.root / "claimed" / name)
    with pytest.raises(FileNotFoundError):
        os.rename(alice.root / "handoff" / name, alice.root / "claimed" / f"other-{name}")
    late = alice.post(f"{tid}/accept", b'{"nonce": "late"}')
    assert (late.status, late.body["reason"]) == (409, "already_claimed")
    alice.archive(name)
    calm_pair.bob.ended(tid)


def test_a_handoff_between_agents_of_one_host_is_left_alone_until_it_expires(
    calm_pair: Pair, doomed: dict[str, bytes]
) -> None:
    bob, name = calm_pair.bob, file_of(doomed["local"])
    bob.told("local_started", file=name)
    assert bob.told("expired", EXPIRY_DEADLINE_S, file=name)["role"] == "local"
    assert bob.read("rejected", name) == doomed["local"]
    assert json.loads(bob.read("rejected", f"{name}.reason"))["reason"] == "expired"
    assert bob.outcome(tid_of(doomed["local"])) is None


def test_a_handoff_between_agents_of_one_host_may_be_claimed_as_ever(calm_pair: Pair) -> None:
    bob = calm_pair.bob
    data = payload("bob", "bob")
    name = f"{json.loads(data)['caller_hash']}-0.json"
    bob.write(data)
    bob.told("local_started", file=name)
    os.rename(bob.root / "handoff" / name, bob.root / "claimed" / name)
    assert bob.told("claimed", file=name)["role"] == "local"


def test_a_payload_over_the_limit_is_rejected_and_not_cut(calm_pair: Pair, doomed: dict[str, bytes]) -> None:
    bob, data = calm_pair.bob, doomed["too large"]
    assert bob.ended(tid_of(data))["reason"] == "too_large"
    until("it is in rejected/", lambda: [n for n in bob.names("rejected") if bob.read("rejected", n) == data])


@pytest.mark.parametrize("broken", BROKEN)
def test_a_handoff_that_could_harm_a_listener_is_rejected_after_a_second_look(
    calm_pair: Pair, doomed: dict[str, bytes], broken: str
) -> None:
    record = calm_pair.bob.ended(tid_of(doomed[broken]))
    assert (record["state"], record["reason"], record["delivered"]) == ("refused", "malformed", "never_sent")
    assert record["detail"]


def test_a_file_that_is_cut_short_is_given_time_and_then_left_alone(calm_pair: Pair) -> None:
    bob = calm_pair.bob
    data = payload("bob", "alice")
    (bob.root / "handoff" / "half-0.json").write_bytes(data[: len(data) // 2])
    assert bob.told("left_alone", file="half-0.json")["detail"]
    (bob.root / "handoff" / "half-0.json").write_bytes(data)
    calm_pair.alice.archive(calm_pair.alice.claim(tid_of(data)))
    assert bob.ended(tid_of(data))["reason"] == "completed"


def test_the_same_bytes_again_are_a_duplicate_and_reach_nobody(calm_pair: Pair) -> None:
    data = payload("bob", "alice")
    tid = calm_pair.bob.write(data)
    name = calm_pair.alice.published(tid)
    calm_pair.bob.write(data, "again-0.json")
    calm_pair.bob.told("refused", reason="duplicate", file="again-0.json")
    os.rename(calm_pair.alice.root / "handoff" / name, calm_pair.alice.root / "claimed" / name)
    calm_pair.alice.archive(name)
    assert calm_pair.bob.ended(tid)["reason"] == "completed"
    calm_pair.bob.write(data, "late-0.json")
    calm_pair.bob.told("refused", reason="duplicate", file="late-0.json")
    calm_pair.alice.told("completed", tid=tid)
    assert [line["event"] for line in calm_pair.alice.journal(tid=tid)].count("published") == 1


def test_other_bytes_under_the_same_signature_are_a_variant(calm_pair: Pair) -> None:
    data = payload("bob", "alice")
    other = json.dumps(json.loads(data), indent=1).encode()
    calm_pair.bob.write(data)
    calm_pair.bob.told("started", tid=tid_of(data))
    calm_pair.bob.write(other, "variant-0.json")
    assert calm_pair.bob.ended(tid_of(other))["reason"] == "variant"
    calm_pair.alice.archive(calm_pair.alice.claim(tid_of(data)))
    assert calm_pair.bob.ended(tid_of(data))["reason"] == "completed"


def test_two_handoffs_of_one_id_are_both_delivered(calm_pair: Pair) -> None:
    first = payload("bob", "alice")
    fields = json.loads(first)
    second = payload("bob", "alice", handoff_id=fields["handoff_id"], caller_hash=fields["caller_hash"], reason="other")
    for number, data in enumerate((first, second)):
        calm_pair.bob.write(data, f"same-{number}.json")
    for data in (first, second):
        calm_pair.alice.archive(calm_pair.alice.claim(tid_of(data)))
    assert {calm_pair.bob.ended(tid_of(data))["reason"] for data in (first, second)} == {"completed"}


def test_the_same_file_name_from_both_hosts_is_no_conflict(calm_pair: Pair) -> None:
    there, back = payload("bob", "alice"), payload("alice", "bob")
    calm_pair.bob.write(there, "0123456789abcdef-0.json")
    calm_pair.alice.write(back, "0123456789abcdef-0.json")
    for host, data in ((calm_pair.alice, there), (calm_pair.bob, back)):
        host.archive(host.claim(tid_of(data)))
    for host in calm_pair.hosts:
        assert {host.ended(tid_of(data))["reason"] for data in (there, back)} == {"completed"}


def test_what_is_not_ours_to_carry_stays_where_it_is_with_one_event(calm_pair: Pair) -> None:
    bob = calm_pair.bob
    handoff = bob.root / "handoff"
    foreign = payload("mallory", "alice")
    bob.write(foreign, "foreign-0.json")
    (handoff / "notes.txt").write_text("not a handoff")
    (handoff / "odd-0.json").write_text("[]")
    (handoff / "directory-0.json").mkdir()
    (handoff / "link-0.json").symlink_to("/etc/hostname")
    os.mkfifo(handoff / "pipe-0.json")
    for name in ("foreign-0.json", "notes.txt", "odd-0.json", "directory-0.json", "link-0.json", "pipe-0.json"):
        bob.told("left_alone", file=name)
        assert name in bob.names("handoff")
    calm_pair.deliver()  # and another turn of everything does not repeat the event
    assert len(bob.journal("left_alone", file="notes.txt")) == 1
    assert len(bob.journal("left_alone", file="link-0.json")) == 1


def test_a_target_nobody_knows_is_told_and_then_expires_as_unroutable(
    calm_pair: Pair, doomed: dict[str, bytes]
) -> None:
    bob, name = calm_pair.bob, file_of(doomed["unroutable"])
    assert "nobody" in bob.told("unroutable", file=name)["detail"]
    until("its reason is in rejected/", lambda: f"{name}.reason" in bob.names("rejected"), EXPIRY_DEADLINE_S)
    assert json.loads(bob.read("rejected", f"{name}.reason"))["reason"] == "unroutable"


def test_a_handoff_nobody_claims_expires_on_both_hosts_with_its_reason(
    calm_pair: Pair, doomed: dict[str, bytes]
) -> None:
    data = doomed["nobody claims it"]
    tid = tid_of(data)
    for host in calm_pair.hosts:
        record = host.ended(tid, EXPIRY_DEADLINE_S)
        assert (record["state"], record["reason"], record["delivered"]) == ("expired", "expired", "not_delivered")
    assert not [name for name in calm_pair.alice.names("handoff") if tid in name]
    found = until(
        "bob's rejected/ has it", lambda: [n for n in calm_pair.bob.names("rejected") if _tells(calm_pair, n, tid)]
    )
    assert calm_pair.bob.read("rejected", found[0].removesuffix(".reason")) == data


def _tells(pair: Pair, name: str, tid: str) -> bool:
    """Whether this is the machine-readable reason of T at bob's."""
    return name.endswith(".reason") and json.loads(pair.bob.read("rejected", name))["tid"] == tid


def test_the_peer_s_times_and_clock_stand_in_the_journal(calm_pair: Pair) -> None:
    tid = calm_pair.bob.hand_over("alice")
    name = calm_pair.alice.claim(tid)
    line = calm_pair.bob.told("claimed", tid=tid, role="sender")
    assert line["peer_at"].endswith("Z")
    assert abs(line["clock_offset_ms"]) < 5_000  # one machine, one clock
    calm_pair.alice.archive(name)


def test_nothing_is_left_over_when_all_has_ended(calm_pair: Pair, doomed: dict[str, bytes]) -> None:
    calm_pair.deliver()
    for data in doomed.values():
        if data not in (doomed["local"], doomed["unroutable"]):
            calm_pair.bob.ended(tid_of(data), EXPIRY_DEADLINE_S)
    until("custody is empty", lambda: not any(host.in_custody() for host in calm_pair.hosts))
    strays = [name for host in calm_pair.hosts for name in host.names("handoff") if OURS.match(name)]
    assert strays == []


def test_every_line_of_the_journal_parses_and_carries_what_it_must(calm_pair: Pair) -> None:
    calm_pair.deliver()
    for host in calm_pair.hosts:
        for line in host.journal():
            assert {"at", "event", "host"} <= line.keys(), line
            assert "" not in line.values()


def test_a_root_s_files_are_the_agents_to_read(calm_pair: Pair) -> None:
    tid = calm_pair.bob.hand_over("alice")
    file: Path = calm_pair.alice.root / "handoff" / calm_pair.alice.published(tid)
    assert file.stat().st_mode & 0o777 == 0o660
    calm_pair.alice.archive(calm_pair.alice.claim(tid))
