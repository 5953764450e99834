"""What a paired peer may change of what this host believes of it, and that nothing else changes."""

from pathlib import Path

import pytest

from handoffd.__main__ import outcome
from handoffd.app.keeper import ConfigKeeper
from handoffd.hub.refusal import Refused
from handoffd.identity import is_vouched, make_identity, read_certificates, vouch
from handoffd.pairing.trust import digest_of_token
from handoffd.protocol.reason import Problem

NOW_S = 1_790_000_000.0
OLD, NEW = digest_of_token("the present token"), digest_of_token("its successor")


class Certified:
    """A certificate and its key file."""

    def __init__(self, directory: Path, name: str) -> None:
        certificate, key = make_identity("alice-vm", NOW_S)
        self.pem, self.key = certificate.decode(), directory / f"{name}.key"
        self.key.write_bytes(key)

    def vouches_for(self, other: "Certified") -> str:
        return vouch(self.key, other.pem)


class Place:
    """bob-vm's configuration with its peer alice-vm; `problems` is what the next reload says."""

    def __init__(self, base: Path) -> None:
        self.directory, self.problems, self.reloads = base / "etc", list[str](), 0
        self.told: list[str] = []
        words = ["--dir", str(self.directory), "--host", "bob-vm", "--agent", "bob", "--root", str(base / "root")]
        peer = ["--peer", "alice-vm", "--peer-url", "https://alice-vm:8788", "--peer-agent", "alice"]
        assert outcome(["init", *words, *peer]) == 0
        self.accepts, self.pins = (self.directory / f"peers/alice-vm.{end}" for end in ("in.sha256", "pem"))
        self.old, self.new, self.other = (Certified(base, name) for name in ("old", "new", "other"))
        self.accepts.write_text(OLD + "\n")
        self.pins.write_text(self.old.pem)
        config, key = self.directory / "handoffd.yaml", self.directory / "identity/bob-vm.key"
        self.keeper = ConfigKeeper(config, key, self.reload, lambda event, **fields: self.told.append(event))

    async def reload(self) -> list[str]:
        self.reloads += 1
        return self.problems

    def pinned(self) -> list[bytes]:
        return [each.der for each in read_certificates(self.pins.read_text())]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def der(certified: Certified) -> bytes:
    return read_certificates(certified.pem)[0].der


async def test_a_token_and_its_successor_are_accepted_and_then_the_successor_alone(place):
    await place.keeper.add_token("alice-vm", OLD, NEW)
    assert place.accepts.read_text().split() == [OLD, NEW]
    await place.keeper.keep_token("alice-vm", NEW)
    assert place.accepts.read_text().split() == [NEW]
    assert place.told == ["token_added", "token_settled"]
    assert place.reloads == 2


async def test_a_certificate_that_the_present_one_vouches_for_is_pinned_beside_it_and_then_alone(place):
    await place.keeper.pin("alice-vm", OLD, place.new.pem, place.old.vouches_for(place.new))
    assert place.pinned() == [der(place.old), der(place.new)]
    await place.keeper.pin("alice-vm", OLD, place.new.pem, "")
    assert place.pinned() == [der(place.new)]
    assert place.told == ["certificate_added", "certificate_settled"]


async def test_who_has_only_the_token_does_not_become_that_host(place):
    for signature in ("", "00", place.other.vouches_for(place.new), place.old.vouches_for(place.other)):
        with pytest.raises(Refused) as caught:
            await place.keeper.pin("alice-vm", OLD, place.new.pem, signature)
        assert caught.value.reason is Problem.BAD_REQUEST
    assert place.pinned() == [der(place.old)]
    assert place.told == []


async def test_what_is_no_certificate_is_refused(place):
    for pem in ("", "no certificate", place.old.pem + place.new.pem):
        with pytest.raises(Refused, match="certificate"):
            await place.keeper.pin("alice-vm", OLD, pem, "")
    assert place.pinned() == [der(place.old)]


async def test_a_change_that_the_daemon_cannot_take_up_is_undone(place):
    place.problems = ["handoffd.yaml:3: agnets: is not a known key"]
    with pytest.raises(Refused, match="refused as it stands") as caught:
        await place.keeper.add_token("alice-vm", OLD, NEW)
    assert "agnets" not in caught.value.detail  # what the file says is no business of a peer's
    assert caught.value.reason is Problem.UNAVAILABLE
    assert place.accepts.read_text() == OLD + "\n"


async def test_files_that_the_daemon_may_not_write_are_told_as_such(place):
    aside = place.accepts.rename(place.accepts.with_suffix(".aside"))
    place.accepts.symlink_to(aside)  # stands in for a read-only directory, for root too
    with pytest.raises(Refused, match="may not write its peers' files") as caught:
        await place.keeper.add_token("alice-vm", OLD, NEW)
    assert caught.value.reason is Problem.UNAVAILABLE
    assert place.accepts.read_text() == OLD + "\n"


async def test_a_peer_that_is_gone_from_the_file_changes_nothing(place):
    (place.directory / "peers.d/alice-vm.yaml").unlink()
    with pytest.raises(Refused):
        await place.keeper.add_token("alice-vm", OLD, NEW)
    assert place.accepts.read_text() == OLD + "\n"


def test_a_signature_is_good_for_one_successor_alone(place):
    pins = read_certificates(place.old.pem)
    signature = place.old.vouches_for(place.new)
    assert is_vouched(pins, place.new.pem, signature)
    assert not is_vouched(pins, place.other.pem, signature)
    assert not is_vouched(read_certificates(place.other.pem), place.new.pem, signature)
    assert not is_vouched(pins, place.new.pem, "not hex")


async def test_a_request_that_waited_while_its_token_was_taken_away_brings_it_not_back(place):
    revoked = "# revoked\n" + digest_of_token("nobody's") + "\n"
    place.accepts.write_text(revoked)  # after the door let them pass
    signature = place.old.vouches_for(place.new)
    for late in (
        place.keeper.keep_token("alice-vm", OLD),
        place.keeper.add_token("alice-vm", OLD, NEW),
        place.keeper.pin("alice-vm", OLD, place.new.pem, signature),
    ):
        with pytest.raises(Refused) as caught:
            await late
        assert caught.value.status == 401
    assert place.accepts.read_text() == revoked
    assert place.pinned() == [der(place.old)]
    assert place.reloads == 0


async def test_a_refused_change_does_not_undo_a_revocation_that_came_meanwhile(place):
    revoked = digest_of_token("nobody's") + "\n"

    async def reload() -> list[str]:
        place.accepts.write_text(revoked)
        return ["handoffd.yaml:3: agnets: is not a known key"]

    config, key = place.directory / "handoffd.yaml", place.directory / "identity/bob-vm.key"
    keeper = ConfigKeeper(config, key, reload, lambda event, **fields: None)
    with pytest.raises(Refused):
        await keeper.add_token("alice-vm", OLD, NEW)
    assert place.accepts.read_text() == revoked
