"""A key pair that is replaced: wherever that is cut short, the daemon finds a certificate with its key."""

import os
import stat
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from handoffd.cli.cert import _show, put_pair
from handoffd.cli.failure import ExitCode, Failure
from handoffd.config.material import read_key_pair
from handoffd.config.model import KeyPair
from handoffd.identity import fingerprint, is_pair, make_identity, successor
from handoffd.pairing.store import Store

NOW_S = 1_790_000_000.0


class Killed(BaseException):
    """Stands in for a power cut: what comes after it is not done."""


class Identity:
    """A host's key pair on the disk; `reload` is the outcome of the daemon's next one."""

    def __init__(self, base: Path) -> None:
        self.pair = KeyPair(base / "bob-vm.pem", base / "bob-vm.key", fingerprint="")
        self.old, self.new = make_identity("bob-vm", NOW_S), make_identity("bob-vm", NOW_S)
        self.pair.certificate.write_bytes(self.old[0])
        self.pair.key.write_bytes(self.old[1])
        self.pair.key.chmod(0o600)
        self.outcomes: list[Any] = []
        self.side: Any = SimpleNamespace(store=self.store, reload=self.reload)

    def store(self) -> Store:
        return Store(self.pair.key)

    def reload(self) -> list[str]:
        outcome = self.outcomes.pop(0) if self.outcomes else []
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    def loaded(self) -> bytes:
        """Return the certificate that a daemon would start with."""
        found = read_key_pair(self.pair.certificate, self.pair.key, NOW_S).fingerprint
        return next(each for each, _ in (self.old, self.new) if fingerprint(each.decode()) == found)


@pytest.fixture
def identity(tmp_path: Path) -> Identity:
    return Identity(tmp_path)


def test_a_new_pair_takes_the_place_of_the_old(identity):
    put_pair(identity.side, identity.pair, *identity.new)
    assert identity.loaded() == identity.new[0]
    assert is_pair(identity.pair.certificate, identity.pair.key)
    assert stat.S_IMODE(identity.pair.key.stat().st_mode) == 0o600
    assert not successor(identity.pair.key).exists()


@pytest.mark.parametrize("renames", range(4))
def test_wherever_it_is_killed_a_pair_is_found_and_another_run_ends_it(identity, monkeypatch, renames):
    done: list[str] = []

    def replace(*names: Any, **where: int) -> None:
        if len(done) == renames:
            raise Killed
        done.append("one")
        rename(*names, **where)

    rename = os.replace
    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", replace)
        with pytest.raises(Killed):
            put_pair(identity.side, identity.pair, *identity.new)
    assert identity.loaded() == (identity.new[0] if renames == 3 else identity.old[0])
    put_pair(identity.side, identity.pair, *identity.new)
    assert identity.loaded() == identity.new[0]
    assert is_pair(identity.pair.certificate, identity.pair.key)


def test_a_pair_without_its_key_is_refused_whatever_else_lies_there(identity):
    identity.pair.certificate.write_bytes(identity.new[0])
    with pytest.raises(Exception, match="no usable pair"):
        identity.loaded()
    successor(identity.pair.key).write_bytes(identity.old[1])
    with pytest.raises(Exception, match="no usable pair"):
        identity.loaded()
    successor(identity.pair.key).write_bytes(identity.new[1])
    assert identity.loaded() == identity.new[0]


@pytest.mark.parametrize(
    ("outcome", "words", "code"),
    [
        (KeyboardInterrupt(), "interrupted; the old key pair stays in use", ExitCode.INTERRUPTED),
        (["agnets: is not a known key"], "the old key pair stays in use", ExitCode.FAILED),
        (Failure("no answer", ExitCode.UNREACHABLE), "no answer", ExitCode.UNREACHABLE),
    ],
)
def test_a_pair_that_is_not_taken_up_gives_way_to_the_old_one(identity, outcome, words, code):
    identity.outcomes = [outcome]
    with pytest.raises(Failure, match=words) as caught:
        _show(identity.side, identity.pair, *identity.new)
    assert caught.value.code is code
    assert identity.loaded() == identity.old[0]
    assert is_pair(identity.pair.certificate, identity.pair.key)
