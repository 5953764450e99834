"""The calls of the status page: its files, the exchange of a link's code, the stream of news, one handoff.

It owns the way in; what is shown is behind `Hub.page`, which is made when somebody first asks (docs/status-page.md).
The rule that must stay true: what needs no token tells nothing of this host, not even its name.
"""

import asyncio

from aiohttp.web import Response, StreamResponse

from handoffd.hub.call import Call, Handler, Hub
from handoffd.hub.document import read_object, text_field
from handoffd.hub.guest import CODE_S, SESSION_S
from handoffd.hub.refusal import Refused
from handoffd.hub.settings import Scope
from handoffd.protocol.moment import format_moment
from handoffd.protocol.reason import Problem

FILES = ("page.css", "page.js", "dom.js", "session.js", "story.js", "latency.js", "icon.svg")
"""What the page loads besides itself; all of it from here."""


async def page(hub: Hub, call: Call) -> Response:
    """Send a browser on to the page, which finds its files beside it."""
    return hub.stamp_for_stranger(None).reply(b"", "text/plain", 308, {"Location": "/page/"})


async def page_index(hub: Hub, call: Call) -> Response:
    """Show the page itself, empty."""
    return hub.page.file("index.html")


def page_file(name: str) -> Handler:
    """Return the handler that shows one of FILES."""

    async def show(hub: Hub, call: Call) -> Response:
        return hub.page.file(name)

    show.__name__ = "page_" + name.replace(".", "_")
    return show


async def page_link(hub: Hub, call: Call) -> Response:
    """Make a link for the operator: where the page is, and a code that opens it once."""
    settings = hub.settings.page
    if settings.scope is Scope.NOWHERE:
        raise Refused(Problem.FORBIDDEN, "The page is switched off: `page: {serve: nowhere}` in the configuration.")
    code = hub.guests.invite(asyncio.get_running_loop().time())
    far = settings.far_urls if settings.scope is Scope.EVERYWHERE else ()
    return hub.stamp().fields({"code": code, "within_s": CODE_S, "near": list(settings.near_urls), "far": list(far)})


async def page_enter(hub: Hub, call: Call) -> Response:
    """Exchange a link's code for the token of a session."""
    code = text_field(read_object(call.body), "code") or ""
    token = hub.guests.enter(code, asyncio.get_running_loop().time())
    if token is None:
        raise Refused(Problem.UNAUTHORIZED, "This link has been used, or is too old. Run `handoffd page` again.")
    until = format_moment(hub.clock() + SESSION_S)
    return hub.stamp_for_stranger(None).fields({"token": token, "until": until})


async def page_events(hub: Hub, call: Call) -> StreamResponse:
    """Send news until the viewer leaves."""
    return await hub.page.stream(call)


async def page_handoff(hub: Hub, call: Call) -> Response:
    """Tell one handoff's story."""
    return await hub.page.handoff(call)
