"""What the event loop may complain of."""

import asyncio
import gc
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


def never_retrieved(loop: asyncio.AbstractEventLoop, error: Exception) -> None:
    loop.create_future().set_exception(error)  # the only reference to it ends here


def test_a_handshake_that_nobody_waits_for_any_more_may_fail(
    loop: asyncio.AbstractEventLoop, caplog: pytest.LogCaptureFixture
) -> None:
    never_retrieved(loop, ConnectionResetError())
    assert [record for record in caplog.records if record.levelno > logging.DEBUG] == []
    never_retrieved(loop, ValueError("lost"))
    assert "lost" in caplog.text


def test_a_task_that_a_lost_connection_ends_unseen_is_an_error(
    loop: asyncio.AbstractEventLoop, caplog: pytest.LogCaptureFixture
) -> None:
    async def dies() -> None:
        raise ConnectionResetError("unseen")

    task = loop.create_task(dies())
    loop.run_until_complete(asyncio.wait((task,)))
    del task
    gc.collect()
    assert "unseen" in caplog.text


def test_a_task_that_dies_unseen_is_an_error(loop: asyncio.AbstractEventLoop, caplog: pytest.LogCaptureFixture) -> None:
    hear(loop, {"message": "Task exception was never retrieved", "exception": ValueError("lost")})
    assert "lost" in caplog.text
