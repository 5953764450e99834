"""The door: which route a request means, who asks, and whether that one may.

It owns the check of tokens and knows no handler's work. The rules that must stay true: a token is never compared
itself, only its SHA-256 with those known, in constant time; and over plain HTTP without one a browser must call this
machine by a name that no other host's name server decides, or a foreign page could read on (DNS rebinding).
"""

import ipaddress
from collections.abc import Iterable
from hashlib import sha256
from hmac import compare_digest
from typing import Final, NamedTuple, Protocol
from urllib.parse import unquote, urlsplit

from aiohttp.web import BaseRequest

from handoffd.custody.message import Principal
from handoffd.hub.refusal import METHOD_STATUS, Refused
from handoffd.hub.route import IDENT, Audience, Route
from handoffd.hub.settings import Directory
from handoffd.protocol.name import BadName, HostName, handoff_id
from handoffd.protocol.reason import Problem

OPERATOR: Final = Principal(peer="", agent=None, sends=frozenset())
"""Who stands behind the calls of operators; it is no party to any handoff."""
NOBODY: Final = Principal(peer="", agent=None, sends=frozenset())
"""Who stands behind a call that is open to everybody, or to a browser: no epoch is told in a refusal."""
_WRONG_NAME: Final = (
    "Over plain HTTP this is answered without a token to 127.0.0.1, [::1], localhost and the host's name in the "
    "configuration only: ask by one of these, over relay/handoffd.sock, or with the operator's token."
)
_BEARER: Final = "bearer "
_CHALLENGE: Final = {"WWW-Authenticate": 'Bearer realm="handoffd"'}
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
            raise no_such_path()
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
                pattern = "/".join((*segments[:place], IDENT, *segments[place + 1 :]))
                if pattern in self._paths:
                    return self._paths[pattern], unquote(segments[place])
        return {}, ""


def identify(request: BaseRequest, origin: Origin, audience: Audience, directory: Directory, host: HostName) -> Visitor:
    """Return who asks `host`, this one. Raises Refused: unauthorized, or forbidden to this token or under this name."""
    if audience is Audience.SOCKET or (
        audience is Audience.NEAR and origin.near and _may_be_near(request, origin, host)
    ):
        return Visitor(OPERATOR, "")
    if audience is Audience.STRANGER:
        return Visitor(NOBODY, "")
    if audience is Audience.NEAR and origin.near and "Authorization" not in request.headers:
        raise Refused(Problem.FORBIDDEN, _WRONG_NAME, closes=True)
    digest = digest_of(request.headers.get("Authorization", ""))
    if audience is Audience.NEAR:
        if known_digest(digest, directory.operators) is None:
            raise unauthorized()
        return Visitor(OPERATOR, digest)
    known = known_digest(digest, directory.principals)
    if known is None:
        raise _parted(host) if known_digest(digest, directory.parted) else unauthorized()
    principal = directory.principals[known]
    if audience is not Audience.PARTY and (principal.agent is None) != (audience is Audience.PEER):
        raise Refused(Problem.FORBIDDEN, f"This call is for {audience.value}; the token is another one's.")
    return Visitor(principal, digest)


def _may_be_near(request: BaseRequest, origin: Origin, host: HostName) -> bool:
    called = request.headers.get("Host")  # every browser sends one
    return origin.by_socket or request.scheme != "http" or called is None or is_own_name(called, host)


def is_own_name(called: str, host: HostName | None = None) -> bool:
    """Tell whether a Host header means this machine, wherever it was resolved: loopback, or `host` if given."""
    try:
        name = urlsplit(f"//{called}").hostname or ""
        return name in ("localhost", host) or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def known_digest(digest: str, known: Iterable[str]) -> str | None:
    """Return the digest among those known, each compared in constant time: a host has a handful of tokens."""
    found = None
    for one in known:
        if compare_digest(one, digest):
            found = one
    return found


def digest_of(authorization: str) -> str:
    """Return the hex SHA-256 of the bearer token. Raises Refused."""
    if authorization[: len(_BEARER)].lower() != _BEARER or len(authorization) > _TOKEN_LIMIT:
        raise unauthorized()
    return sha256(authorization[len(_BEARER) :].strip().encode("utf-8", "surrogateescape")).hexdigest()


def no_such_path() -> Refused:
    """Return the refusal of a path that is not served, or not there from where it was asked for."""
    return Refused(Problem.NOT_FOUND, "There is no such path; /openapi.json lists them.")


def unauthorized() -> Refused:
    """Return the refusal of a request without a valid token."""
    # The connection ends too, so that nobody without a token keeps one of them.
    return Refused(Problem.UNAUTHORIZED, headers=_CHALLENGE, closes=True)


def _parted(host: HostName) -> Refused:
    """Return the refusal of a peer that this host was paired with: who dials in could not be told otherwise."""
    detail = f"{host} has ended the pairing; its token is accepted no more."
    return Refused(Problem.UNAUTHORIZED, detail, headers=_CHALLENGE, fields={"unpaired": True}, closes=True)


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
