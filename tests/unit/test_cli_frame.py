"""Frames: what of a page a window of some size shows, and the codes that draw it."""

import pytest
from tests.unit.a_status import a_status

from handoffd.cli.frame import CLEAR, drawn, fitted
from handoffd.cli.status_page import Line, page
from handoffd.status.model import Concern, LinkStatus, fields

LONG = Concern(
    "unreachable", "https://alice-vm:8788: " + "no route to host " * 9 + "at all", "check that it runs", "alice-vm"
)
PAGE = page(fields(a_status(links=(LinkStatus("alice-vm", "down", error=LONG),))))


@pytest.mark.parametrize("columns", [1, 20, 40, 80, 200])
@pytest.mark.parametrize("rows", [1, 2, 5, 24, 100])
def test_no_row_is_wider_and_no_frame_higher_than_the_window(columns: int, rows: int) -> None:
    shown = fitted(PAGE, columns, rows)
    assert 0 < len(shown) <= rows
    assert max(len(row.text) for row in shown) <= max(columns, 8)


def test_what_does_not_fit_is_counted() -> None:
    lines = [Line(f"line {number}") for number in range(10)]
    assert [row.text for row in fitted(lines, 80, 4)] == ["line 0", "line 1", "line 2", "… 7 more lines"]
    assert fitted(lines, 80, 10) == lines


def test_a_warning_is_folded_whole_and_a_table_is_cut() -> None:
    shown = fitted(PAGE, 40, 100)
    text = " ".join(row.text.strip() for row in shown)
    assert text.startswith(f"warning: alice-vm: unreachable: {LONG.detail}; {LONG.remedy}")
    (head,) = [row.text for row in shown if row.text.startswith("PEER")]
    assert head.endswith("…")
    assert len(head) == 40


def test_a_frame_is_drawn_over_the_last_one_and_nothing_is_erased_first() -> None:
    text = drawn([Line("one"), Line("two")], 5, colour=False)
    assert "\r\x1b[4Aone\x1b[K\r\ntwo\x1b[K\x1b[J" in text
    assert CLEAR not in text


def test_the_first_frame_begins_where_the_cursor_is() -> None:
    assert "A" not in drawn([Line("one")], 0, colour=False)


def test_colour_can_be_left_out() -> None:
    warned = fitted(PAGE, 80, 24)
    assert "\x1b[31m" in drawn(warned, 0, colour=True)
    assert "\x1b[31m" not in drawn(warned, 0, colour=False)
