"""The daemon's log on standard error: lines for people or JSON for collectors, with priorities where journald reads.

It owns the forms; docs/operations.md lists the fields. The rules that must stay true: one event is one line, and what
an agent or a peer wrote cannot begin another one.
"""

import json
import logging
import os
import sys
from collections.abc import Iterator, Mapping
from typing import Final

from handoffd.config import Config
from handoffd.journal import Story
from handoffd.protocol.moment import format_moment
from handoffd.systemd import leads_to_journal

PRIORITIES: Final = {
    logging.DEBUG: 7,
    logging.INFO: 6,
    logging.WARNING: 4,
    logging.ERROR: 3,
    logging.CRITICAL: 2,
}
"""Of syslog(3), as sd-daemon(3) writes them: `<4>` in front of a line."""


class JsonLines(logging.Formatter):
    """One JSON object a line, for collectors."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line; one for each edge of a story."""
        head = {"at": format_moment(record.created), "level": record.levelname.lower(), "logger": record.name}
        story = _story(record)
        if story is not None:
            told = ({**head, "at": format_moment(at), "event": event, **fields} for at, event, fields in story.edges)
            return "\n".join(json.dumps(one, default=str) for one in told)
        line = {**head, "message": record.getMessage(), **_fields(record)}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


class TextLines(logging.Formatter):
    """Lines for people: time, level, words."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line; one for each edge of a story."""
        return "\n".join(f"{self.head(record)}{words}" for words in self._words(record))

    def head(self, record: logging.LogRecord) -> str:
        """Return what each line of a record begins with."""
        return f"{format_moment(record.created)} {record.levelname.lower()} "

    def _words(self, record: logging.LogRecord) -> Iterator[str]:
        if _story(record) is not None:
            yield from record.getMessage().split("\n")
            return
        fields = "".join(f" {key}={value}" for key, value in _fields(record).items())
        traceback = f"\n{self.formatException(record.exc_info)}" if record.exc_info else ""
        yield f"{record.getMessage()}{fields}{traceback}"


class JournalLines(TextLines):
    """Lines for a reader that notes the time itself."""

    def head(self, record: logging.LogRecord) -> str:
        """Return nothing: the priority tells the level."""
        return ""


class Prioritised(logging.Formatter):
    """What another form makes, each line with the priority of its record."""

    def __init__(self, form: logging.Formatter) -> None:
        super().__init__()
        self._form = form

    def format(self, record: logging.LogRecord) -> str:
        """Return the lines; a traceback stays together by its priority."""
        prefix = f"<{_priority(record.levelno)}>"
        return "\n".join(prefix + line for line in self._form.format(record).split("\n"))


def form_of(kind: str, environment: Mapping[str, str], descriptor: int) -> logging.Formatter:
    """Return the form of lines for whoever reads this descriptor; `kind` is `log.format`."""
    if not leads_to_journal(environment, descriptor):
        return JsonLines() if kind == "json" else TextLines()
    return Prioritised(JsonLines() if kind == "json" else JournalLines())


def set_up_log(config: Config) -> None:
    """Send log lines to standard error in the configured form."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(form_of(config.log.format, os.environ, sys.stderr.fileno()))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(config.log.level.upper())


def _story(record: logging.LogRecord) -> Story | None:
    told = record.args[0] if isinstance(record.args, tuple) and record.args else None
    return told if isinstance(told, Story) else None


def _fields(record: logging.LogRecord) -> Mapping[str, object]:
    """Return what was logged with `extra={"fields": …}`."""
    fields = getattr(record, "fields", None)
    return fields if isinstance(fields, dict) else {}


def _priority(level: int) -> int:
    return next((PRIORITIES[known] for known in sorted(PRIORITIES, reverse=True) if level >= known), 7)
