"""The door: which route a request means, who asks, and whether that one may.

It owns the check of tokens and knows no handler's work. The rule that must stay true: a token is never compared
itself, only its SHA-256 with those known, in constant time.
"""

from collections.abc import Iterable
from hashlib import sha256
from hmac import compare_digest
from typing import Final, NamedTuple, Protocol
from urllib.parse import unquote

from aiohttp.web import BaseRequest

from handoffd.custody.message import Principal
from handoffd.hub.refusal import METHOD_STATUS, Refused
from handoffd.hub.route import IDENT, Audience, Route
from handoffd.hub.settings import Directory
from handoffd.protocol.name import BadName, handoff_id
from handoffd.protocol.reason import Problem

OPERATOR: Final = Principal(peer="", agent=None, sends=frozenset())
"""Who stands behind the calls of operators; it is no party to any handoff."""
_BEARER: Final = "bearer "
_TOKEN_LIMIT: Final = 512
"""Characters of a token that are looked at; ours have 43."""


class Origin(Protocol):
    """Where a request comes from. `near`: this host itself; `by_socket`: over the unix socket."""

    near: bool
    by_socket: bool


class Visitor(NamedTuple):
    """Who a request speaks for, and the hash of the token it bore (empty when it needed none)."""

    principal: Principal
    digest: str


class Signpost:
    """Finds the route of a request."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._paths: dict[str, dict[str, Route]] = {}
        for route in routes:
            self._paths.setdefault(route.path, {})[route.method] = route
        self._place = {path.split("/").index(IDENT) for path in self._paths if IDENT in path}

    def find(self, request: BaseRequest, by_socket: bool) -> tuple[Route, str]:
        """Return the route and what stands for `{id}` in its path, legal or not. Raises Refused."""
        methods, ident = self._match(request.rel_url.raw_path)
        served = {name: route for name, route in methods.items() if _is_served(route, by_socket)}
        if not served:
            raise Refused(Problem.NOT_FOUND, "There is no such path; /openapi.json lists them.")
        route = served.get(request.method)
        if route is None:
            raise _no_such_method(request.method, served)
        return route, ident

    def _match(self, path: str) -> tuple[dict[str, Route], str]:
        if path in self._paths:
            return self._paths[path], ""
        segments = path.split("/")
        for place in self._place:
            if place < len(segments):
                ident, segments[place] = segments[place], IDENT
                return self._paths.get("/".join(segments), {}), unquote(ident)
        return {}, ""


def identify(request: BaseRequest, origin: Origin, audience: Audience, directory: Directory) -> Visitor:
    """Return who asks. Raises Refused: unauthorized, or forbidden to this kind of token."""
    if audience is Audience.SOCKET or (audience is Audience.NEAR and origin.near):
        return Visitor(OPERATOR, "")
    digest = _digest(request.headers.get("Authorization", ""))
    if audience is Audience.NEAR:
        if _known(digest, directory.operators) is None:
            raise _unauthorized()
        return Visitor(OPERATOR, digest)
    known = _known(digest, directory.principals)
    if known is None:
        raise _unauthorized()
    principal = directory.principals[known]
    if audience is not Audience.PARTY and (principal.agent is None) != (audience is Audience.PEER):
        raise Refused(Problem.FORBIDDEN, f"This call is for {audience.value}; the token is another one's.")
    return Visitor(principal, digest)


def _known(digest: str, known: Iterable[str]) -> str | None:
    """Return the digest among those known, each compared in constant time: a host has a handful of tokens."""
    found = None
    for one in known:
        if compare_digest(one, digest):
            found = one
    return found


def _digest(authorization: str) -> str:
    """Return the hex SHA-256 of the bearer token. Raises Refused."""
    if authorization[: len(_BEARER)].lower() != _BEARER or len(authorization) > _TOKEN_LIMIT:
        raise _unauthorized()
    return sha256(authorization[len(_BEARER) :].strip().encode("utf-8", "surrogateescape")).hexdigest()


def _unauthorized() -> Refused:
    # The connection ends too, so that nobody without a token keeps one of them.
    return Refused(Problem.UNAUTHORIZED, headers={"WWW-Authenticate": 'Bearer realm="handoffd"'}, closes=True)


def _is_served(route: Route, by_socket: bool) -> bool:
    return route.audience is Audience.NEAR or (route.audience is Audience.SOCKET) is by_socket


def _no_such_method(method: str, served: Iterable[str]) -> Refused:
    allowed = ", ".join(sorted(served))
    detail = f"{method[:20]} is not served here; it takes {allowed}."
    return Refused(Problem.BAD_REQUEST, detail, status=METHOD_STATUS, headers={"Allow": allowed})


def legal_ident(route: Route, ident: str) -> str:
    """Return what stands for `{id}` in a path; empty where none does. Raises Refused."""
    if not route.has_ident:
        return ""
    try:
        return handoff_id(ident)  # a T is one by its form
    except BadName:
        raise Refused(Problem.NOT_FOUND) from None
