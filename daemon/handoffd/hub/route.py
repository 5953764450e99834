"""What a route is: who may call it, what it takes and gives. The table itself is `table.py`.

It knows no handler by name. The rule that must stay true: the dispatcher, the OpenAPI document and the tables in
docs/http-api.md read nothing but these.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from handoffd.hub.call import Handler

IDENT = "{id}"
"""The one variable segment of a path: T or a handoff_id."""
SMALL_LIMIT_BYTES = 4 << 10
"""Bodies that hold a nonce or one T."""


class Audience(Enum):
    """Who may call. The values are words for the documentation."""

    NEAR = "anybody over loopback or the socket, an operator's token from elsewhere"
    SOCKET = "the operator, over relay/handoffd.sock"
    PAGE = "a browser, where the page is served"
    VIEWER = "a viewer of the page"
    AGENT = "an agent"
    PEER = "a peer's daemon"
    STRANGER = "anybody who has an invite"
    PARTY = "an agent or a peer's daemon"


PAGES = frozenset({Audience.PAGE, Audience.VIEWER})
UNDOCUMENTED = PAGES | {Audience.SOCKET}
"""Not in the OpenAPI document: between parts of handoffd itself, so they change without notice."""


@dataclass(frozen=True, slots=True)
class Body:
    """A request's body. `limit_bytes` None: the configured max_payload. `schema`: a name in `schema.py`."""

    schema: str
    limit_bytes: int | None = None
    required: bool = True


@dataclass(frozen=True, slots=True)
class Reply:
    """One kind of answer that is no problem: `schema` None for bytes or text of the media type, or for no body."""

    words: str
    schema: str | None = None
    media: str = "application/json"


@dataclass(frozen=True, slots=True)
class Route:
    """One method on one path. `refusals` are the problem statuses beyond those that every such call may get."""

    method: str
    path: str
    handler: Handler
    audience: Audience
    summary: str
    replies: Mapping[int, Reply]
    body: Body | None = None
    query: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    headers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    refusals: tuple[int, ...] = ()
    needs_epoch: bool = False
    waits: bool = False

    @property
    def operation(self) -> str:
        """The name of the call, as in metrics and in the OpenAPI document."""
        return self.handler.__name__

    @property
    def has_ident(self) -> bool:
        """Whether the path holds a variable segment."""
        return IDENT in self.path

    def statuses(self) -> tuple[int, ...]:
        """Return every problem status this call may be answered with, ascending."""
        found = {*self.refusals, 400, 500, 503}
        if self.audience not in (Audience.SOCKET, Audience.STRANGER):
            found.add(401)
        if self.audience is Audience.NEAR:
            found.add(403)
        if self.audience in PAGES:
            found |= {403, 404}
        if self.audience in (Audience.AGENT, Audience.PEER, Audience.PARTY):
            found |= {403, 429}
        if self.audience in (Audience.PEER, Audience.PARTY):
            found.add(412)
        if self.body is not None:
            found.add(413)
        if self.has_ident:
            found.add(404)
        return tuple(sorted(found))
