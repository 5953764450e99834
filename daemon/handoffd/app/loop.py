"""The event loop: which one it is, and which of its complaints are worth a word.

It knows no daemon. The rule that must stay true: a complaint is kept quiet only if it is about a connection that has
ended already: whoever waits for that connection is told anyway.
"""

import asyncio
import logging
from typing import Any

log = logging.getLogger(__name__)


def make_loop() -> asyncio.AbstractEventLoop:
    """Return uvloop's event loop where it exists, which is on CPython only, else asyncio's."""
    try:
        import uvloop  # noqa: PLC0415
    except ImportError:
        loop = asyncio.new_event_loop()
    else:
        loop = uvloop.new_event_loop()
    loop.set_exception_handler(hear)
    return loop


def hear(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log what the loop complains of, with its traceback; see the module's rule for what is kept quiet.

    uvloop (0.23 too) answers late bytes of TLS on a transport that it has closed itself, and calls the failure fatal:
    https://github.com/MagicStack/uvloop/issues/506. And it drops the future of a TLS handshake when whoever connects
    gives up before TCP is through; a reset then comes to nobody: https://github.com/MagicStack/uvloop/issues/437
    """
    transport = context.get("transport")
    if (transport is not None and _has_ended(transport)) or _is_dropped_handshake(context):
        log.debug("%s: %s", context.get("message"), context.get("exception"))
    else:
        loop.default_exception_handler(context)


def _is_dropped_handshake(context: dict[str, Any]) -> bool:
    """Tell whether a connection was lost that nobody waits for; a task of ours that ends so is another matter."""
    future, error = context.get("future"), context.get("exception")
    return isinstance(error, ConnectionError) and future is not None and not isinstance(future, asyncio.Task)


def _has_ended(transport: asyncio.BaseTransport) -> bool:
    # No isinstance: uvloop's transports are such by what they do, not by their class. One that it has closed for good
    # says so in its repr alone: `is_closing` may still be false.
    return transport.is_closing() or " closed=True " in repr(transport)
