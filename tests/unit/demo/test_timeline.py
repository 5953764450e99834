"""handoffd.demo.timeline: order, columns, colour."""

import io
import time

import pytest

from handoffd.demo.timeline import HOLD_BACK_S, Timeline


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def timeline():
    return Timeline(io.StringIO())


def printed(timeline: Timeline) -> list[str]:
    return [line for line in timeline.out.getvalue().splitlines() if line]


def test_lines_come_in_the_order_in_which_things_happened(timeline):
    timeline.add(timeline.start_s + 0.009, 0, "alice-vm", "alice", "second")
    timeline.add(timeline.start_s + 0.005, 9, "bob-vm", "bob", "first")
    timeline.release(everything=True)

    assert [line.split()[-1] for line in printed(timeline)] == ["first", "second"]


def test_within_a_millisecond_a_cause_precedes_what_it_causes(timeline):
    timeline.add(timeline.start_s + 0.0052, 2, "alice-vm", "handoffd", "stored")
    timeline.add(timeline.start_s + 0.0058, 1, "bob-vm", "handoffd", "taken")
    timeline.release(everything=True)

    assert [line.split()[-1] for line in printed(timeline)] == ["taken", "stored"]


def test_a_line_waits_for_those_that_may_precede_it(timeline):
    timeline.add(time.monotonic(), 0, "bob-vm", "bob", "just now")
    timeline.add(time.monotonic() - 2 * HOLD_BACK_S, 0, "bob-vm", "bob", "before")
    timeline.release()

    assert [line.split()[-1] for line in printed(timeline)] == ["before"]


def test_two_lines_that_look_alike_are_both_printed(timeline):
    for _ in range(2):
        timeline.add(timeline.start_s, 0, "bob-vm", "bob", "twice")
    timeline.release(everything=True)
    timeline.release(everything=True)

    assert len(printed(timeline)) == 2


def test_columns_are_aligned(timeline):
    timeline.add(timeline.start_s + 0.001, 0, "bob-vm", "bob", "says")
    timeline.add(timeline.start_s + 12.345, 0, "alice-vm", "alice/http", "answers")
    timeline.release(everything=True)

    assert printed(timeline) == [
        "      1 ms  bob-vm     bob         says",
        " 12,345 ms  alice-vm   alice/http  answers",
    ]


def test_a_title_comes_after_all_that_happened_before_it(timeline):
    timeline.add(time.monotonic(), 0, "bob-vm", "bob", "earlier")
    timeline.heading("next")

    assert printed(timeline)[-1] == "next"
    assert printed(timeline)[0].endswith("earlier")


def test_colour_is_for_terminals(monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)

    assert Timeline(Terminal()).colour("ok", "ok") == "\x1b[32mok\x1b[0m"
    assert Timeline(io.StringIO()).colour("ok", "ok") == "ok"


def test_no_colour_is_heard(monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")

    assert Timeline(Terminal()).colour("ok", "ok") == "ok"
