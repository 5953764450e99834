"""Who may see the status page: from where, and by which token.

It decides by what it is handed and owns nothing. The rule that must stay true: over plain HTTP the browser must call
this machine by a name that no other host's name server decides, or a foreign page could speak for it (DNS rebinding).
"""

import asyncio

from aiohttp.web import BaseRequest

from handoffd.hub.call import Hub
from handoffd.hub.door import NOBODY, Visitor, digest_of, is_own_name, known_digest, no_such_path, unauthorized
from handoffd.hub.refusal import Refused
from handoffd.hub.route import Audience
from handoffd.hub.settings import Scope
from handoffd.protocol.reason import Problem

_WRONG_NAME = "Over plain HTTP the page answers to 127.0.0.1, [::1] and localhost only: use the link as it was printed."


def identify_viewer(hub: Hub, request: BaseRequest, near: bool, audience: Audience) -> Visitor:
    """Return who asks for a part of the page; `near`: from this host itself.

    Raises Refused: no such path from there, forbidden, unauthorized.
    """
    scope = hub.settings.page.scope
    if scope is Scope.NOWHERE or (scope is Scope.LOOPBACK and not near):
        raise no_such_path()
    if request.scheme == "http" and not is_own_name(request.headers.get("Host", "")):
        raise Refused(Problem.FORBIDDEN, _WRONG_NAME, closes=True)
    if audience is Audience.PAGE:
        return Visitor(NOBODY, "")
    digest = digest_of(request.headers.get("Authorization", ""))
    known = known_digest(digest, hub.directory.viewers) is not None
    if not known and not hub.guests.knows(digest, asyncio.get_running_loop().time()):
        raise unauthorized()
    return Visitor(NOBODY, digest)
