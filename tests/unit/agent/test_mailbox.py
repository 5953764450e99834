import errno
import json
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.unit.agent.conftest import SECRET, TEN, World

from handoffd.agent import Claim, Draft, Ended, Gone, Mailbox, agent_name
from handoffd.agent.hold import holds_left
from handoffd.protocol.signature import verify

Ending = Callable[[Mailbox, Claim], object]


def claimed(mailbox: Mailbox) -> Claim:
    claim = mailbox.claim_next()
    assert claim is not None
    return claim


def test_a_handoff_is_written_under_the_name_agents_use(world: World) -> None:
    written = world.send(caller_hash="b275013166a65f69")
    assert world.names("handoff") == ["b275013166a65f69-0.json"]
    assert verify(written.path.read_bytes(), SECRET)


def test_the_number_in_the_name_passes_what_waits_and_what_is_claimed(world: World) -> None:
    world.send(caller_hash="b275013166a65f69")
    world.send(caller_hash="b275013166a65f69")
    world.send(caller_hash="0000000000000000")
    claimed(world.mailbox("alice"))
    assert world.send(caller_hash="b275013166a65f69").path.name == "b275013166a65f69-2.json"


def test_writers_that_race_for_a_name_all_keep_their_handoff(world: World) -> None:
    mailboxes = [world.mailbox("bob") for _ in range(8)]
    gate = threading.Barrier(len(mailboxes))

    def write(mailbox: Mailbox) -> None:
        gate.wait()
        for number in range(5):
            mailbox.write_handoff(Draft(to="alice", reason=str(number), caller_hash="b275013166a65f69"))

    threads = [threading.Thread(target=write, args=(mailbox,)) for mailbox in mailboxes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert world.names("handoff") == sorted(f"b275013166a65f69-{number}.json" for number in range(40))


def test_a_handoff_without_a_secret_for_its_target_is_not_written(world: World) -> None:
    mailbox = Mailbox(world.root, agent_name("bob"), {"gordon": SECRET}, now=world.clock)
    with pytest.raises(ValueError, match="no secret is known for alice"):
        mailbox.write_handoff(Draft(to="alice", reason=""))


def test_a_claim_is_seen_in_claimed_under_its_own_name(world: World) -> None:
    written = world.send()
    data = written.path.read_bytes()
    claim = claimed(world.mailbox("alice"))
    assert claim.data == data
    assert claim.envelope == written.envelope
    assert claim.shown == world.root / "claimed" / written.path.name
    assert claim.shown.read_bytes() == data
    assert world.names("handoff") == []


def test_the_oldest_handoff_is_claimed_first(world: World) -> None:
    first, second = world.send(), world.send()
    os.utime(second.path, (TEN, TEN))
    alice = world.mailbox("alice")
    assert [claimed(alice).envelope.tid, claimed(alice).envelope.tid] == [second.envelope.tid, first.envelope.tid]


def test_what_is_addressed_to_others_stays(world: World) -> None:
    world.send(to="gordon")
    (world.root / "handoff" / "odd.json").write_bytes(b"[")
    (world.root / "handoff" / ".bob-0.json.tmp").write_bytes(b"{")
    (world.root / "handoff" / "link.json").symlink_to("/etc/hostname")
    before = world.names("handoff")
    assert world.mailbox("alice").claim_next() is None
    assert world.names("handoff") == before


def test_nothing_is_claimed_at_or_past_its_expiry(world: World) -> None:
    alice = world.mailbox("alice")
    written = world.send(ttl_s=60)
    world.clock.now = TEN + 60
    assert alice.claim_next() is None
    assert written.path.exists()
    world.clock.now = TEN + 59.9
    assert alice.claim_next() is not None


def test_two_claimers_never_both_win(world: World) -> None:
    for _ in range(30):
        world.send()
    mailboxes = [world.mailbox("alice") for _ in range(4)]
    won: list[str] = []

    def claim_all(mailbox: Mailbox) -> None:
        while (claim := mailbox.claim_next()) is not None or world.names("handoff"):
            if claim is not None:
                won.append(claim.envelope.tid)

    threads = [threading.Thread(target=claim_all, args=(mailbox,)) for mailbox in mailboxes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == len(set(won)) == 30


def test_an_agent_that_claims_by_rename_wins_or_loses_whole(world: World) -> None:
    written = world.send()
    alice = world.mailbox("alice")
    os.rename(written.path, world.root / "claimed" / written.path.name)
    assert alice.claim_next() is None
    assert world.names("claimed") == [written.path.name]


def test_a_completed_handoff_is_archived_as_agents_do(world: World) -> None:
    written = world.send()
    alice = world.mailbox("alice")
    claim = claimed(alice)
    world.clock.now = TEN + 5
    path = alice.complete(claim)
    assert path.name == f"1795168805-bob-alice-{written.envelope.handoff_id}.json"
    assert path.read_bytes() == claim.data
    assert (world.names("claimed"), world.names("rejected")) == ([], [])
    assert [(ended.words, ended.path) for ended in world.ended] == [("", path)]


def test_two_archives_of_one_handoff_id_both_stay(world: World) -> None:
    alice = world.mailbox("alice")
    for reason in ("one", "two", "three"):
        world.send(caller_hash="b275013166a65f69", reason=reason)
        alice.complete(claimed(alice))
    reasons = {json.loads(path.read_bytes())["reason"] for path in (world.root / "archive").iterdir()}
    assert reasons == {"one", "two", "three"}


def test_final_bytes_are_archived_in_place_of_the_payload(world: World) -> None:
    world.send()
    alice = world.mailbox("alice")
    claim = claimed(alice)
    longer = {**claim.fields, "transcript": [{"role": "assistant", "text": "Hello."}]}
    path = alice.complete(claim, json.dumps(longer).encode())
    assert json.loads(path.read_bytes()) == longer
    assert world.names("claimed") == []


def test_final_bytes_of_another_handoff_are_refused(world: World) -> None:
    world.send()
    alice = world.mailbox("alice")
    claim = claimed(alice)
    with pytest.raises(ValueError, match="handoff_id and hmac"):
        alice.complete(claim, b'{"handoff_id": "x", "hmac": "y"}')
    assert alice.complete(claim).exists()


def test_a_rejected_handoff_lies_beside_its_reason(world: World) -> None:
    written = world.send()
    alice = world.mailbox("alice")
    path = alice.reject(claimed(alice), "line busy: " + "x" * 600)
    assert path == world.root / "rejected" / written.path.name
    reason = (world.root / "rejected" / f"{written.path.name}.reason").read_text()
    assert reason.startswith("line busy: x")
    assert len(reason.strip()) == 500
    assert world.names("claimed") == []


def test_a_rejection_that_fails_leaves_no_reason_and_can_be_repeated(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.send()
    alice = world.mailbox("alice")
    claim = claimed(alice)

    def full(source: Path, target: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr("handoffd.agent.hold.move", full)
        with pytest.raises(OSError, match="No space left"):
            alice.reject(claim, "busy")
    assert world.names("rejected") == []
    assert Path(f"{alice.reject(claim, 'busy')}.reason").read_text() == "busy\n"


@pytest.mark.parametrize("end", [Mailbox.complete, lambda alice, claim: alice.reject(claim, "busy")])
def test_a_claim_that_somebody_removed_is_told_and_leaves_nothing(world: World, end: Ending) -> None:
    world.send()
    alice = world.mailbox("alice")
    claim = claimed(alice)
    claim.hold.path.unlink()
    with pytest.raises(Gone):
        end(alice, claim)
    assert world.ended[0].words == "gone: somebody removed or moved the claimed file"
    assert world.names("claimed") == world.names("rejected") == world.names("archive") == []


def test_a_missing_directory_is_no_missing_claim(world: World) -> None:
    world.send()
    alice = world.mailbox("alice")
    claim = claimed(alice)
    (world.root / "archive").rmdir()
    with pytest.raises(FileNotFoundError) as caught:
        alice.complete(claim)
    assert type(caught.value) is FileNotFoundError
    assert claim.hold.path.exists()


def test_a_rejection_that_has_taken_place_keeps_its_reason(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Path) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    world.send()
    alice = world.mailbox("alice")
    claim = claimed(alice)
    monkeypatch.setattr("handoffd.agent.hold.flush", fails)
    with pytest.raises(OSError, match="Too many open files"):
        alice.reject(claim, "busy")
    (rejected,) = [name for name in world.names("rejected") if name.endswith(".json")]
    assert (world.root / "rejected" / f"{rejected}.reason").read_text() == "busy\n"


def test_rejections_of_one_name_keep_their_own_reasons(world: World) -> None:
    alice = world.mailbox("alice")
    for words in ("one", "two", "three"):
        world.send(caller_hash="b275013166a65f69", reason=words)
        alice.reject(claimed(alice), words)
    rejected = [path for path in (world.root / "rejected").iterdir() if path.suffix == ".json"]
    assert len(rejected) == 3
    for path in rejected:
        assert Path(f"{path}.reason").read_text().strip() == json.loads(path.read_bytes())["reason"]


def test_a_claim_whose_name_is_still_claimed_is_shown_under_another(world: World) -> None:
    alice = world.mailbox("alice")
    first = world.send(caller_hash="b275013166a65f69")
    claim = claimed(alice)
    second = world.send(reason="other", caller_hash="b275013166a65f69")
    os.rename(second.path, first.path)  # an agent counts only what it sees in handoff/
    again = claimed(alice)
    assert again.shown.name == f"b275013166a65f69-0.r{again.envelope.tid[:12]}.json"
    assert claim.shown.read_bytes() == claim.data


def test_a_handoff_signed_with_another_secret_is_rejected(world: World) -> None:
    world.send(secret=b"not ours")
    assert world.mailbox("alice").claim_next() is None
    assert world.ended[0].words.startswith("bad_hmac")
    assert world.names("handoff") == []


def test_a_handoff_of_a_sender_without_a_secret_is_rejected(world: World) -> None:
    world.send()
    alice = Mailbox(world.root, agent_name("alice"), {"gordon": SECRET}, now=world.clock, told=world.ended.append)
    assert alice.claim_next() is None
    assert world.ended[0].words == "bad_hmac: no secret is known for bob"


def test_a_malformed_handoff_is_rejected_and_the_next_one_claimed(world: World) -> None:
    bad = world.root / "handoff" / "a-0.json"
    written = world.send()
    bad.write_bytes(b'{"to_agent": "alice", "from_agent": "bob", "transcript": "the secret words"}')
    os.utime(bad, (TEN, TEN))
    assert claimed(world.mailbox("alice")).envelope.tid == written.envelope.tid
    assert world.ended[0].words == "malformed: protocol_version is missing"


def test_a_claim_left_by_a_dead_listener_is_recovered_once(world: World) -> None:
    world.send()
    claim = claimed(world.mailbox("alice"))
    later = world.mailbox("alice")
    assert later.interrupted() == []  # its lock is held: somebody still works on it
    claim.hold.release()
    (hold,) = later.interrupted()
    later.reject(hold, "listener_interrupted")
    assert later.interrupted() == []
    assert (world.names("claimed"), len(world.names("rejected"))) == ([], 2)


def test_claims_of_others_are_never_recovered(world: World) -> None:
    world.send(to="gordon")
    claimed(world.mailbox("gordon")).hold.release()
    other = world.send()
    os.rename(other.path, world.root / "claimed" / other.path.name)
    before = world.names("claimed")
    assert world.mailbox("alice").interrupted() == []
    assert world.names("claimed") == before


def test_an_ended_handoff_leaves_nothing_to_recover(world: World) -> None:
    world.send()
    alice = world.mailbox("alice")
    alice.complete(claimed(alice))
    assert holds_left(alice.places, alice.agent) == []


def test_a_claim_that_never_became_visible_is_recovered(world: World) -> None:
    world.send()
    claim = claimed(world.mailbox("alice"))
    claim.shown.unlink()
    claim.hold.release()
    later = world.mailbox("alice")
    (hold,) = later.interrupted()
    assert later.reject(hold, "x").parent.name == "rejected"


def test_a_file_exchanged_for_somebody_else_s_is_put_back(world: World) -> None:
    malformed = world.root / "handoff" / "a-0.json"
    written = world.send()
    malformed.write_bytes(b'{"to_agent": "alice", "from_agent": "bob"}')
    os.utime(malformed, (TEN, TEN))
    other = world.send(to="gordon")

    def exchange(ended: Ended) -> None:
        """Happens after alice has looked at both files and taken the first."""
        os.replace(other.path, written.path)

    alice = Mailbox(world.root, agent_name("alice"), {"*": SECRET}, now=world.clock, told=exchange)
    assert alice.claim_next() is None
    assert world.names("handoff") == [written.path.name]
    assert world.names("claimed") == []
    assert claimed(world.mailbox("gordon")).envelope == other.envelope
