"""The invite's string: a good one is read back, a damaged one is told from it before anything is sent."""

import pytest

from handoffd.pairing.invite import PREFIX, BadInvite, Invite, Mistyped, Place, decode, encode

PLACE = Place("bob-vm", ("https://bob-vm:8788", "https://[2001:db8::7]:8788"), bytes(range(32)))
GOOD = Invite(PLACE, 1_795_000_000, b"0123456789abcdef")
TEXT = encode(GOOD)


def test_what_is_written_is_read_back():
    assert decode(TEXT) == GOOD


def test_it_is_one_word_that_no_shell_or_mail_program_changes():
    assert TEXT.startswith(PREFIX)
    assert all(char.isascii() and (char.isalnum() or char in "._-") for char in TEXT)


@pytest.mark.parametrize("text", [f"  {TEXT}\n", TEXT[:70] + "\r\n   " + TEXT[70:]])
def test_blanks_and_the_line_breaks_of_a_terminal_do_no_harm(text):
    assert decode(text) == GOOD


@pytest.mark.parametrize("place", range(len(PREFIX), len(TEXT)))
def test_every_single_wrong_character_is_noticed(place):
    other = "A" if TEXT[place] != "A" else "B"
    with pytest.raises(Mistyped, match="copy the whole line"):
        decode(TEXT[:place] + other + TEXT[place + 1 :])


@pytest.mark.parametrize("length", range(len(PREFIX), len(TEXT)))
def test_a_string_that_was_cut_is_noticed(length):
    with pytest.raises(Mistyped):
        decode(TEXT[:length])


@pytest.mark.parametrize("place", range(len(PREFIX), len(TEXT)))
def test_a_character_too_few_or_too_many_or_not_of_the_alphabet_is_noticed(place):
    for damaged in (
        TEXT[:place] + TEXT[place + 1 :],
        TEXT[:place] + "A" + TEXT[place:],
        TEXT[:place] + "?" + TEXT[place:],
    ):
        with pytest.raises(Mistyped):
            decode(damaged)


def test_a_damaged_secret_still_names_the_host_that_should_be_told():
    with pytest.raises(Mistyped) as caught:
        decode(TEXT[:-12] + ("A" if TEXT[-12] != "A" else "B") + TEXT[-11:])
    assert caught.value.place == PLACE


@pytest.mark.parametrize(
    ("text", "words"),
    [("", "no invite was given"), ("hello", "one begins with"), ("x" * 9_999, "one begins with")],
)
def test_what_never_was_an_invite_is_told_as_such(text, words):
    with pytest.raises(BadInvite, match=words) as caught:
        decode(text)
    assert not isinstance(caught.value, Mistyped)


def test_the_name_of_an_invite_is_its_own_and_its_representation_shows_no_secret():
    other = Invite(PLACE, GOOD.expires_s, b"another secret..")
    assert GOOD.ident != other.ident
    assert len(GOOD.ident) == 16
    assert "0123456789abcdef" not in repr(GOOD)
    assert GOOD.secret.hex() not in repr(GOOD)
