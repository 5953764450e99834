"""From a request to its answer: route, token, limits, epoch, body, handler; and the last handler of all exceptions.

It owns the order of these checks and none of the work. The rules that must stay true: another epoch is refused before
anything is done; a 503 says that nothing was done, a 500 that it is not known, because a sender closes an attempt
upon the one and not upon the other (docs/custody.md section 5, a10); who is not known learns no epoch; and a token
that is accepted no more does nothing, however early its request began.
"""

import asyncio
import logging
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Final, cast

from aiohttp.web import BaseRequest, StreamResponse

from handoffd.custody.desk import DeskDied
from handoffd.custody.message import Principal
from handoffd.hub.answer import UNKNOWN_STATUS, Stamp
from handoffd.hub.body import read_body
from handoffd.hub.call import Call, Hub
from handoffd.hub.connection import Connection
from handoffd.hub.door import NOBODY, Signpost, Visitor, identify, legal_ident
from handoffd.hub.limit import Budget, Turnstile
from handoffd.hub.refusal import Refused, unauthorized_any_more
from handoffd.hub.route import PAGES, Audience, Route
from handoffd.hub.settings import Directory, HubSettings
from handoffd.hub.visit import identify_viewer
from handoffd.protocol.name import is_transfer_id
from handoffd.protocol.reason import Problem

LOG = logging.getLogger("handoffd.hub")

TELL_S: Final = 0.5
"""A poll whose token was taken away has so long to answer 401; it ends within a second in any case."""
_NO_ROUTE = "none"
_BY_TOKEN = frozenset({Audience.AGENT, Audience.PEER, Audience.PARTY})


class Dispatcher:
    """Answers requests; the one thing the server calls."""

    def __init__(self, hub: Hub, routes: Iterable[Route]) -> None:
        self._hub = hub
        self._signpost = Signpost(routes)
        self._waiting: dict[Connection, str] = {}
        settings = hub.settings
        self._turnstile = Turnstile(settings.agent_requests_per_s, settings.agent_burst)
        self._peer_budget = Budget(settings.peer_limit_bytes)
        self._agent_budget = Budget(settings.agent_limit_bytes)

    def reload(self, settings: HubSettings, directory: Directory) -> None:
        """Go on with other settings and other principals; patience is read once, at start.

        Who waits with a token that is gone is woken to be told, and cut off if that does not end it at once.
        """
        gone = self._hub.take_up(settings, directory)
        self._change_limits(settings)
        if gone:
            asyncio.get_running_loop().call_later(TELL_S, self._cut_off, gone)

    def _cut_off(self, gone: frozenset[str]) -> None:
        for connection, digest in list(self._waiting.items()):
            if digest in gone and digest not in self._hub.directory.principals:
                connection.cut_off()

    async def handle(self, request: BaseRequest) -> StreamResponse:
        """Answer one request. Raises nothing but what means that the client has gone."""
        connection = cast(Connection, request.protocol)
        connection.begin()
        began_s = asyncio.get_running_loop().time()
        route = visitor = None
        try:
            route, ident = self._signpost.find(request, connection.by_socket)
            visitor = self._identify(request, connection, route)
            response: StreamResponse = await self._serve(request, connection, route, ident, visitor)
        except Refused as refused:
            response = self._refuse(request, refused, self._stamp(request, visitor))
        except ConnectionError:
            raise
        except Exception as error:
            if not isinstance(error, DeskDied):  # of which its owner tells, once
                operation = route and route.operation
                LOG.exception("a request failed unexpectedly", extra={"fields": {"operation": operation}})
            if request.writer.output_size > 0:  # a stream: nothing more can be said
                raise ConnectionError("the answer has begun") from None
            response = self._stamp(request, visitor).problem(Problem.UNAVAILABLE, UNKNOWN_STATUS, _UNKNOWN)
        finally:
            connection.end()
        if not request.content.is_eof():
            response.force_close()
        self._count(route, response.status, began_s)
        return response

    def _identify(self, request: BaseRequest, connection: Connection, route: Route) -> Visitor:
        if route.audience in PAGES:
            return identify_viewer(self._hub, request, connection.near, route.audience)
        return identify(request, connection, route.audience, self._hub.directory, self._hub.settings.host)

    async def _serve(
        self, request: BaseRequest, connection: Connection, route: Route, ident: str, visitor: Visitor
    ) -> StreamResponse:
        if visitor.principal.agent is not None:
            self._turnstile.pass_one(visitor.digest, asyncio.get_running_loop().time())
        ident = legal_ident(route, ident)
        self._check_epoch(request, route, visitor)
        limit = self._limit(route)
        with self._held(request, visitor, limit):
            body = await read_body(request, limit, self._hub.settings.patience.body_s)
            call = Call(request, connection, self._still(route, visitor), ident, body, visitor.digest)
            if route.waits:
                self._waiting[connection] = visitor.digest
            try:
                return await route.handler(self._hub, call)
            finally:
                self._waiting.pop(connection, None)

    def _still(self, route: Route, visitor: Visitor) -> Principal:
        """Return who asks as it is known now that the body is here: a reload may have come before it."""
        if route.audience not in _BY_TOKEN:
            return visitor.principal
        known = self._hub.directory.principals.get(visitor.digest)
        if known is None or known.peer != visitor.principal.peer:
            raise unauthorized_any_more()
        return known

    def _check_epoch(self, request: BaseRequest, route: Route, visitor: Visitor) -> None:
        if route.audience not in (Audience.PEER, Audience.PARTY):
            return
        epoch = request.headers.get("Handoffd-Epoch")
        if epoch is None:
            if route.needs_epoch:
                raise Refused(Problem.BAD_REQUEST, "Handoffd-Epoch is missing; /api/v1/hello tells it.")
        elif epoch != self._hub.engine.epoch:
            raise Refused(Problem.EPOCH_CHANGED, fields={"refused_epoch": epoch[:128]})

    def _limit(self, route: Route) -> int:
        if route.body is None:
            return 0
        return route.body.limit_bytes or self._hub.settings.max_payload_bytes

    def _held(self, request: BaseRequest, visitor: Visitor, limit: int) -> AbstractContextManager[None]:
        if not limit:
            return nullcontext()
        # Without a length it may be anything up to the limit.
        size = request.content_length if request.content_length is not None else limit
        budget = self._peer_budget if visitor.principal.agent is None else self._agent_budget
        return budget.hold(visitor.principal.peer, min(size, limit))

    def _stamp(self, request: BaseRequest, visitor: Visitor | None) -> Stamp:
        if visitor is not None and visitor.principal is not NOBODY:
            return self._hub.stamp()
        return self._hub.stamp_for_stranger(request.headers.get("Handoffd-Epoch"))

    def _refuse(self, request: BaseRequest, refused: Refused, stamp: Stamp) -> StreamResponse:
        self._hub.metrics.refused(refused.reason)
        fields = dict(refused.fields)
        # The sender must see that this is about its T, though we may not have read the body it is the hash of.
        claimed = request.headers.get("Idempotency-Key", "")
        if is_transfer_id(claimed):
            fields["tid"] = claimed
        response = stamp.problem(refused.reason, refused.status, refused.detail, fields, refused.headers)
        if refused.closes:
            response.force_close()
        return response

    def _change_limits(self, settings: HubSettings) -> None:
        self._turnstile.change(settings.agent_requests_per_s, settings.agent_burst)
        self._peer_budget.change(settings.peer_limit_bytes)
        self._agent_budget.change(settings.agent_limit_bytes)

    def _count(self, route: Route | None, status: int, began_s: float) -> None:
        if route is None:
            self._hub.metrics.answered(_NO_ROUTE, status, None)
            return
        seconds = None if route.waits else asyncio.get_running_loop().time() - began_s
        self._hub.metrics.answered(route.operation, status, seconds)


_UNKNOWN = "The request failed here after it was handed on; whether it took effect is not known. Ask again."
