"""Standard output whose failures are told apart from those of every other file, and standard error, which has none.

It knows nothing of commands. The rules that must stay true: what fails here is no OSError, so nobody who handles the
trouble of a directory or a connection takes it for theirs; and no work ends because nobody reads what is told of it.
"""

import io
import os
from contextlib import suppress
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class ReaderLeft(Exception):
    """Nobody reads standard output any more, as after `| head`."""


class OutputFailed(Exception):
    """Standard output takes no more; the message is the system's."""


class _Descriptor(io.FileIO):
    def write(self, data: "ReadableBuffer", /) -> int | None:  # type: ignore[override] # typeshed: never None
        try:
            return super().write(data)
        except BrokenPipeError:
            raise ReaderLeft from None
        except OSError as error:
            raise OutputFailed(error.strerror or str(error)) from None


class _Patient(io.FileIO):
    def write(self, data: "ReadableBuffer", /) -> int | None:  # type: ignore[override] # as above
        with suppress(OSError):
            return super().write(data)
        return memoryview(data).nbytes


def guarded(stream: TextIO) -> TextIO:
    """Return a stream to the same descriptor that raises ReaderLeft and OutputFailed."""
    return _like(stream, _Descriptor(stream.fileno(), "wb", closefd=False))


def whispering(stream: TextIO | None) -> TextIO:
    """Return a stream to the same descriptor, if there is one, whose words are lost where they cannot be written."""
    return nowhere() if stream is None else _like(stream, _Patient(stream.fileno(), "wb", closefd=False))


def nowhere() -> TextIO:
    """Return a stream whose words are lost."""
    return open(os.devnull, "w", encoding="utf-8")


def _like(stream: TextIO, raw: io.FileIO) -> TextIO:
    by_line = bool(stream.line_buffering) or getattr(stream, "write_through", False)  # the latter: PYTHONUNBUFFERED
    return io.TextIOWrapper(io.BufferedWriter(raw), stream.encoding, stream.errors, line_buffering=by_line)


def drop(stream: TextIO) -> None:
    """Let what is still to be written go nowhere: Python would complain of it once more at exit."""
    with nowhere() as void:
        os.dup2(void.fileno(), stream.fileno())
