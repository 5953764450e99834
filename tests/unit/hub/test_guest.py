"""Codes and sessions of the status page."""

from hashlib import sha256

from handoffd.hub.guest import CODE_S, CODES, SESSION_S, SESSIONS, Guests


def digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()


def test_a_code_opens_one_session_once() -> None:
    guests = Guests()
    code = guests.invite(0.0)
    token = guests.enter(code, 1.0)
    assert token is not None
    assert token != code
    assert guests.knows(digest(token), 2.0)
    assert guests.enter(code, 3.0) is None


def test_a_code_is_no_token_and_a_token_no_code() -> None:
    guests = Guests()
    code = guests.invite(0.0)
    assert not guests.knows(digest(code), 0.0)
    token = guests.enter(code, 0.0)
    assert token is not None
    assert guests.enter(token, 0.0) is None


def test_what_was_never_given_opens_nothing() -> None:
    guests = Guests()
    guests.invite(0.0)
    for guess in ("", "x", "\udc80", "a" * 43):
        assert guests.enter(guess, 0.0) is None
    assert not guests.knows(digest(""), 0.0)


def test_a_code_is_good_for_its_time_and_is_used_up_by_a_late_attempt() -> None:
    guests = Guests()
    code, late = guests.invite(0.0), guests.invite(0.0)
    assert guests.enter(code, CODE_S) is not None
    assert guests.enter(late, CODE_S + 1) is None
    assert guests.enter(late, 0.0) is None


def test_a_session_ends() -> None:
    guests = Guests()
    token = guests.enter(guests.invite(0.0), 0.0)
    assert token is not None
    assert guests.knows(digest(token), SESSION_S)
    assert not guests.knows(digest(token), SESSION_S + 1)


def test_the_oldest_gives_way_so_that_memory_stays_bounded() -> None:
    guests = Guests()
    codes = [guests.invite(0.0) for _ in range(CODES + 1)]
    assert guests.enter(codes[0], 0.0) is None
    assert guests.enter(codes[-1], 0.0) is not None
    first = guests.enter(guests.invite(0.0), 0.0)
    assert first is not None
    for _ in range(SESSIONS):
        assert guests.enter(guests.invite(0.0), 0.0) is not None
    assert not guests.knows(digest(first), 0.0)
