import re
from datetime import UTC, datetime

import pytest

from handoffd.protocol.moment import format_moment, parse_moment

TEN = 1_795_168_800.0


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2026-11-20T10:00:00Z", TEN),
        ("2026-11-20T11:30:00+01:30", TEN),
        ("2026-11-20T02:00:00-08:00", TEN),
        ("2026-11-20T10:00:00-00:00", TEN),
        ("2026-11-20T10:00:00.5Z", TEN + 0.5),
        ("2026-11-20T10:00:00.123456789Z", TEN + 0.123456),
        ("1970-01-01T00:00:00Z", 0.0),
        ("2024-02-29T00:00:00Z", 1_709_164_800.0),
    ],
)
def test_a_full_date_and_time_with_zone_is_read(text: str, seconds: float) -> None:
    assert parse_moment(text) == seconds


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "2026-11-20",
        "2026-11-20T10:00:00",
        "2026-11-20 10:00:00Z",
        "2026-11-20t10:00:00Z",
        "2026-11-20T10:00:00z",
        "2026-11-20T10:00Z",
        "20261120T100000Z",
        "2026-W47-5T10:00:00Z",
        "2026-11-20T10:00:00,5Z",
        "2026-11-20T10:00:00.Z",
        "2026-11-20T10:00:00.1234567890Z",
        "2026-11-20T10:00:00+0100",
        "2026-11-20T10:00:00+01",
        "2026-11-20T10:00:00+24:00",
        "2026-11-20T10:00:00+01:00:00",
        "2026-11-20T24:00:00Z",
        "2026-11-20T10:60:00Z",
        "2026-06-30T23:59:60Z",
        "2026-02-29T00:00:00Z",
        "2026-13-01T00:00:00Z",
        "0000-01-01T00:00:00Z",
        " 2026-11-20T10:00:00Z",
        "2026-11-20T10:00:00Z\n",
        "2026-11-20T10:00:00Z\x00",
        "٢٠٢٦-11-20T10:00:00Z",
        "-2026-11-20T10:00:00Z",
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_moment(text)


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59"])
def test_an_instant_that_overflows_in_utc_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="years 1 to 9999"):
        parse_moment(text)


def test_a_moment_is_written_in_utc_with_milliseconds() -> None:
    assert format_moment(TEN + 0.0625) == "2026-11-20T10:00:00.062Z"


@pytest.mark.parametrize("seconds", [0.0, TEN, TEN + 0.5, -1.0])
def test_what_is_written_is_read_back(seconds: float) -> None:
    assert parse_moment(format_moment(seconds)) == seconds


def test_the_first_and_the_last_moment_of_all_years_are_read() -> None:
    assert format_moment(parse_moment("0001-01-01T00:00:00Z")) == "0001-01-01T00:00:00.000Z"
    assert parse_moment("9999-12-31T23:59:59.999999Z") == datetime.max.replace(tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("now", "not a full RFC 3339 date and time with zone, such as 2026-11-20T10:00:00Z"),
        ("0001-01-01T00:00:00+01:00", "outside the years 1 to 9999 in UTC"),
    ],
)
def test_what_is_no_moment_says_why(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(words)}$"):
        parse_moment(text)
