"""docs/custody.md sections 6 and 13: which file is the end of a handoff, and which only looks like it."""

import json
import os
from pathlib import Path

import pytest
from tests.unit.custody.pair import Pair, payload

from handoffd.custody.filesystem import Stat
from handoffd.custody.message import Accept, Finish
from handoffd.protocol.name import AgentName, Nonce, TransferId

SHARED_ID = "1790000000-bob-alice-0011223344556677"
"""Two handoffs for one caller within a second share the handoff_id (overview.md section 3)."""
NOTES = b'{"notes": "done"}'
ALICE = AgentName("alice")
INBOX = "relay/inbox/host-a"


def restart(pair: Pair, *, power: bool = True) -> None:
    (pair.b.power_cut if power else pair.b.crash)()
    pair.b.start()


def reasons(pair: Pair) -> dict[str, str]:
    return {one["tid"]: one["reason"] for one in pair.b.outcomes()}


def rest(pair: Pair, seconds: int = 45) -> None:
    for _ in range(seconds):
        pair.b.tick(1.0)


def twins(pair: Pair) -> tuple[tuple[TransferId, str], tuple[TransferId, str]]:
    """Bring two handoffs of one id to B."""
    first = pair.cross(payload(handoff_id=SHARED_ID, ttl_s=600.0))
    return first, pair.cross(payload(handoff_id=SHARED_ID, ttl_s=600.0), "0011223344556677-1.json")


def completed_over_http(pair: Pair, tid: TransferId) -> None:
    """Let alice end it with an artefact that does not say whose it is."""
    pair.b.engine.accept([Accept(ALICE, tid, Nonce("n1"))])
    pair.b.engine.finish([Finish(ALICE, tid, reject=False, artefact=NOTES)])


def archived_as(data: bytes) -> str:
    return f"archive/1795168801-bob-alice-{json.loads(data)['handoff_id']}.json"


@pytest.mark.parametrize("power", [False, True], ids=["crash", "power cut"])
def test_the_artefact_of_an_ended_one_ends_no_other_of_its_id(pair: Pair, power: bool) -> None:
    (first, _), (second, name) = twins(pair)
    completed_over_http(pair, first)
    (pair.b.root / "handoff" / name).unlink()  # removed by hand; nobody has claimed it
    restart(pair, power=power)
    rest(pair)
    lost = "uncertain_power_loss" if power else "vanished_at_target"
    assert reasons(pair) == {first: "completed", second: lost}


def test_a_file_that_was_nobodys_end_does_not_become_the_end_of_the_one_that_is_left(pair: Pair) -> None:
    (first, claimed), (second, name) = twins(pair)
    os.rename(pair.b.root / "handoff" / claimed, pair.b.root / "claimed" / claimed)
    pair.b.tick()
    pair.b.write(f"archive/1795168801-bob-alice-{SHARED_ID}.json", NOTES)
    (pair.b.root / "claimed" / claimed).unlink()
    rest(pair)
    (pair.b.root / "handoff" / name).unlink()
    restart(pair)
    assert reasons(pair) == {first: "vanished_at_target", second: "uncertain_power_loss"}


def test_its_own_bytes_count_whatever_else_is_called_like_it(pair: Pair) -> None:
    (first, _), (second, name) = twins(pair)
    completed_over_http(pair, first)
    pair.b.write("rejected/no-thanks.json", pair.b.read(f"handoff/{name}"))
    (pair.b.root / "handoff" / name).unlink()
    restart(pair)
    assert reasons(pair) == {first: "completed", second: "rejected_by_agent"}


def test_an_end_beside_a_claim_that_a_power_cut_shows_again_is_an_end(pair: Pair) -> None:
    data = payload()
    tid, name = pair.cross(data)
    os.rename(pair.b.root / "handoff" / name, pair.b.root / "claimed" / name)
    pair.b.write(archived_as(data), data)
    restart(pair)
    assert reasons(pair) == {tid: "completed"}


@pytest.mark.parametrize("gone_to", ["elsewhere.json", "relay/quarantine/abc~x"], ids=["agent", "start cut short"])
def test_a_link_somewhere_hides_no_end(pair: Pair, gone_to: str) -> None:
    data = payload()
    tid, name = pair.cross(data)
    os.rename(pair.b.root / "handoff" / name, pair.b.root / gone_to)
    pair.b.write(archived_as(data), data)
    restart(pair)
    assert reasons(pair) == {tid: "completed"}


@pytest.mark.parametrize("stale", ["handoff/{}", INBOX + "/{}.new"])
def test_a_clock_that_was_ahead_at_the_publication_hides_no_end(pair: Pair, stale: str) -> None:
    for host in (pair.a, pair.b):
        host.clock.advance(3_600.0)
        host.tick(61.0)
    data = payload(at=pair.b.clock.wall_s, ttl_s=9_000.0)
    tid, name = pair.cross(data)
    os.rename(pair.b.root / "handoff" / name, pair.b.root / stale.format(name))
    pair.b.clock.wall_s -= 3_600.0
    pair.b.write(archived_as(data), data)
    restart(pair)
    assert reasons(pair) == {tid: "completed"}


def test_a_copy_in_claimed_is_no_claim_of_what_still_waits(pair: Pair) -> None:
    data = payload()
    tid, _ = pair.cross(data)
    pair.b.write("claimed/copy.json", data)
    restart(pair)
    assert reasons(pair) == {tid: "uncertain_power_loss"}


def test_a_name_that_holds_the_digits_of_another_is_not_that_one(pair: Pair) -> None:
    first, _ = pair.cross(payload())
    data = payload()
    second, name = pair.cross(data)
    pair.b.write(f"archive/0000000000000000-r{first}.json", data)
    (pair.b.root / "handoff" / name).unlink()
    restart(pair)
    assert reasons(pair) == {first: "uncertain_power_loss", second: "completed"}


def test_what_two_may_have_ended_ends_neither(pair: Pair) -> None:
    """Nobody here verifies an hmac: a payload of another agent may bear the same."""
    fields = json.loads(payload(ttl_s=600.0))
    borrowed = {**fields, "from_agent": "carol", "caller_hash": "f" * 16}
    names = [pair.cross(json.dumps(each).encode(), f"{each['caller_hash']}-0.json")[1] for each in (fields, borrowed)]
    claimed: Path = pair.b.root / "claimed"
    for name in names:
        os.rename(pair.b.root / "handoff" / name, claimed / name)
    pair.b.tick()
    pair.b.write("rejected/bad.json", json.dumps({**borrowed, "rejection_reason": "bad signature"}).encode())
    (claimed / names[1]).unlink()
    rest(pair)
    assert list(reasons(pair).values()) == ["vanished_at_target"]


def test_a_torn_file_that_is_called_like_it_is_no_end_of_what_still_waits(pair: Pair) -> None:
    data = payload()
    tid, _ = pair.cross(data)
    pair.b.write(archived_as(data), b"")
    restart(pair)
    assert reasons(pair) == {tid: "uncertain_power_loss"}


def test_a_file_from_before_it_came_is_no_end_by_its_name(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    older, _ = pair.cross(payload(ttl_s=600.0))
    data = payload(handoff_id=SHARED_ID)
    tid, name = pair.cross(data)
    pair.b.write(archived_as(data), b"")
    (pair.b.root / "handoff" / name).unlink()
    pair.b.power_cut()
    seen = pair.b.fs.stat

    def aged(directory: str, name: str) -> Stat | None:
        """The first came two minutes ago, the file is from a minute ago."""
        found, ago_s = seen(directory, name), 120 if older in name else 60 * (name in archived_as(data))
        return found and found._replace(ctime_ns=found.ctime_ns - ago_s * 10**9)

    monkeypatch.setattr(pair.b.fs, "stat", aged)
    pair.b.start()
    assert reasons(pair)[tid] == "uncertain_power_loss"
