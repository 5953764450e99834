"""What the event loop may complain of."""

import asyncio
import logging
from collections.abc import Iterator

import pytest

from handoffd.app.loop import hear, make_loop


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    made = make_loop()
    yield made
    made.close()


class Ended:
    """A transport that is closed already."""

    def is_closing(self) -> bool:
        return True


class Shut:
    """A transport of uvloop's that is closed for good and does not call itself closing."""

    def is_closing(self) -> bool:
        return False

    def __repr__(self) -> str:
        return "<TCPTransport closed=True reading=False 0x55ebb7f29a70>"


class Open:
    def is_closing(self) -> bool:
        return False


def complain(loop: asyncio.AbstractEventLoop, transport: object) -> None:
    error = RuntimeError("the handler is closed")
    context = {"message": "Fatal error on SSL protocol", "exception": error, "protocol": None, "transport": transport}
    loop.call_exception_handler(context)


@pytest.mark.parametrize("transport", [Ended(), Shut()])
def test_a_complaint_about_a_connection_that_has_ended_is_no_news(
    loop: asyncio.AbstractEventLoop, caplog: pytest.LogCaptureFixture, transport: object
) -> None:
    complain(loop, transport)
    assert [record for record in caplog.records if record.levelno > logging.DEBUG] == []


@pytest.mark.parametrize("transport", [Open(), None])
def test_any_other_complaint_is_an_error(
    loop: asyncio.AbstractEventLoop, caplog: pytest.LogCaptureFixture, transport: object
) -> None:
    complain(loop, transport)
    assert [record.levelname for record in caplog.records] == ["ERROR"]


def test_a_task_that_dies_unseen_is_an_error(loop: asyncio.AbstractEventLoop, caplog: pytest.LogCaptureFixture) -> None:
    hear(loop, {"message": "Task exception was never retrieved", "exception": ValueError("lost")})
    assert "lost" in caplog.text
