"""The log's lines: for people, for collectors, and with priorities where journald reads."""

import io
import json
import logging
import os
import re
import tempfile
from pathlib import Path

import pytest

from handoffd.app.log import PRIORITIES, form_of
from handoffd.journal import WARNINGS, Journal, Story
from handoffd.systemd import leads_to_journal

DOCS = Path(__file__).parents[3] / "docs"
FAULT = "a request failed unexpectedly"


def record(level: int = logging.WARNING, words: object = "the disk is slow", **more: object) -> logging.LogRecord:
    args = (words,) if isinstance(words, Story) else ()
    made = logging.LogRecord("handoffd.x", level, "x.py", 1, "%s" if args else str(words), args, None)
    made.__dict__.update(more)
    made.created = 1_795_168_800.0
    return made


def story(*events: str) -> Story:
    return Story([(1_795_168_800.0, event, {"sender": "bob", "detail": "two\nlines"}) for event in events])


def with_traceback() -> logging.LogRecord:
    try:
        raise ValueError("one\ntwo")
    except ValueError as error:
        return record(logging.ERROR, FAULT, exc_info=(ValueError, error, error.__traceback__))


@pytest.fixture
def plain() -> logging.Formatter:
    return form_of("text", {}, 2)


@pytest.fixture
def stream() -> tuple[dict[str, str], int]:
    """Return the environment and descriptor of a service whose standard error is this file."""
    with tempfile.TemporaryFile() as file:
        found = os.fstat(file.fileno())
        yield {"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}"}, file.fileno()


def test_text_has_time_level_and_words(plain: logging.Formatter) -> None:
    assert plain.format(record()) == "2026-11-20T10:00:00.000Z warning the disk is slow"
    assert plain.format(record(fields={"operation": "start"})).endswith("the disk is slow operation=start")


def test_each_event_of_a_story_is_one_line(plain: logging.Formatter) -> None:
    lines = plain.format(record(logging.INFO, story("stored", "published"))).split("\n")
    assert [line.split()[1:3] for line in lines] == [["info", "stored"], ["info", "published"]]
    told = [json.loads(line) for line in form_of("json", {}, 2).format(record(words=story("stored"))).split("\n")]
    assert [(one["at"], one["event"], one["from"], one["detail"]) for one in told] == [
        ("2026-11-20T10:00:00.000Z", "stored", "bob", "two\nlines")
    ]


def test_json_is_one_object_a_line_even_for_a_fault() -> None:
    form = form_of("json", {}, 2)
    (line,) = form.format(with_traceback()).split("\n")
    told = json.loads(line)
    assert (told["at"], told["level"], told["logger"]) == ("2026-11-20T10:00:00.000Z", "error", "handoffd.x")
    assert told["message"] == FAULT
    assert "ValueError: one\ntwo" in told["traceback"]
    assert json.loads(form.format(record(fields={"operation": "start"})))["operation"] == "start"


def test_on_the_journals_stream_a_priority_stands_for_time_and_level(stream: tuple[dict[str, str], int]) -> None:
    form = form_of("text", *stream)
    assert form.format(record()) == "<4>the disk is slow"
    assert form.format(record(logging.INFO, story("stored"))).startswith("<6>stored ")
    lines = form.format(with_traceback()).split("\n")
    assert len(lines) > 3
    assert all(line.startswith("<3>") for line in lines)


def test_json_on_the_journals_stream_keeps_the_object_whole(stream: tuple[dict[str, str], int]) -> None:
    line = form_of("json", *stream).format(record(logging.CRITICAL))
    assert line.startswith("<2>{")
    assert json.loads(line[3:])["level"] == "critical"


def test_a_stream_that_leads_elsewhere_is_not_taken_for_the_journal(stream: tuple[dict[str, str], int]) -> None:
    environment, descriptor = stream
    assert leads_to_journal(environment, descriptor)
    with tempfile.TemporaryFile() as other:
        assert not leads_to_journal(environment, other.fileno())
    assert not leads_to_journal({}, descriptor)
    assert not leads_to_journal({"JOURNAL_STREAM": "nonsense"}, descriptor)
    assert not leads_to_journal(environment, 999_999)


@pytest.mark.parametrize("level", [*PRIORITIES, 35, 5])
def test_every_level_has_a_priority(level: int, stream: tuple[dict[str, str], int]) -> None:
    assert re.match(r"<[2-7]>", form_of("text", *stream).format(record(level)))


def test_events_somebody_should_read_are_warnings_in_their_order(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Clock:
        def wall(self) -> float:
            return 1_795_168_800.0

    journal = Journal(tmp_path / "events.jsonl", "bob-vm", 1 << 20, 1, Clock())
    with caplog.at_level(logging.INFO):
        for event in ("stored", "published", "in_doubt", "claimed"):
            journal.write(event)
        journal.flush()
    assert [(one.levelname, one.getMessage()) for one in caplog.records] == [
        ("INFO", "stored\npublished"),
        ("WARNING", "in_doubt"),
        ("INFO", "claimed"),
    ]


def test_the_pages_list_warnings_and_fields() -> None:
    journal, operations = (DOCS / "journal.md").read_text(), (DOCS / "operations.md").read_text()
    listed = journal[journal.index("those somebody should read are warnings") : journal.index("## Size")]
    assert set(re.findall(r"`([a-z_]+)`", listed)) == WARNINGS
    form = form_of("json", {}, 2)
    told = json.loads(form.format(with_traceback())) | json.loads(form.format(record(words=story("stored"))))
    chapter = operations[operations.index("## Log and journal") : operations.index("## Watching it")]
    assert [key for key in told.keys() - {"from", "detail"} if f"`{key}`" not in chapter] == []


def test_a_stream_of_lines_stays_a_stream_of_lines() -> None:
    out = io.StringIO()
    handler = logging.StreamHandler(out)
    handler.setFormatter(form_of("json", {}, 2))
    for made in (record(), with_traceback(), record(logging.INFO, story("stored", "published"))):
        handler.emit(made)
    assert len([json.loads(line) for line in out.getvalue().splitlines()]) == 4
