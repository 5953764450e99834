"""Texts that the configuration reads back: hashes and pins, never more than a present one and its successor."""

import pytest

from handoffd.config.material import read_hashes, read_pins, read_token
from handoffd.identity import make_identity, read_certificates
from handoffd.pairing.trust import digest_of_token, hashes_text, new_token, pins_text

NOW_S = 1_790_000_000.0
ONE, TWO, THREE = (make_identity(name, NOW_S)[0].decode() for name in ("one", "two", "three"))


def test_a_new_token_is_one_that_the_configuration_takes(tmp_path):
    token = new_token()
    (tmp_path / "out").write_text(f"{token}\n")
    (tmp_path / "out").chmod(0o600)
    assert read_token(tmp_path / "out") == token.encode()
    assert new_token() != token


def test_hashes_are_read_back_and_none_stands_twice(tmp_path):
    one, two = digest_of_token("one"), digest_of_token("two")
    (tmp_path / "in").write_bytes(hashes_text([one, two, one], "why"))
    assert read_hashes(tmp_path / "in") == {bytes.fromhex(one), bytes.fromhex(two)}
    assert (tmp_path / "in").read_text().count(one) == 1


@pytest.mark.parametrize(
    ("present", "added", "alone", "expected"),
    [
        (ONE, TWO, False, (ONE, TWO)),
        (ONE + TWO, TWO, True, (TWO,)),
        (ONE + TWO, THREE, False, (ONE, THREE)),
        (ONE, ONE, False, (ONE,)),
    ],
)
def test_pins_are_the_present_one_and_its_successor(tmp_path, present, added, alone, expected):
    (tmp_path / "pem").write_bytes(pins_text(present, added, alone=alone))
    _, pins = read_pins(tmp_path / "pem", NOW_S + 60)
    assert [pin.der for pin in pins] == [read_certificates(pem)[0].der for pem in expected]
