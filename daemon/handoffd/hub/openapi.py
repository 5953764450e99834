"""The OpenAPI 3.1 document, made from the route table; nothing in it is written twice.

It leaves out the operator's calls over the socket and those of the status page.
"""

import json
from collections.abc import Iterable
from typing import Any

from handoffd.hub import schema
from handoffd.hub.answer import JSON, PROBLEM_JSON
from handoffd.hub.route import UNDOCUMENTED, Audience, Body, Reply, Route

_SECURITY: dict[Audience, list[dict[str, list[str]]]] = {
    Audience.NEAR: [{}, {"operator": []}],
    Audience.STRANGER: [{}],
    Audience.AGENT: [{"agent": []}],
    Audience.PEER: [{"peer": []}],
    Audience.PARTY: [{"agent": []}, {"peer": []}],
}
_SCHEMES = {name: {"type": "http", "scheme": "bearer"} for name in ("agent", "peer", "operator")}


def describe(routes: Iterable[Route], version: str) -> bytes:
    """Return the document as JSON bytes; `version` is the daemon's."""
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        if route.audience not in UNDOCUMENTED:
            paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    document = {
        "openapi": "3.1.0",
        "info": {"title": "handoffd", "version": version, "license": {"name": "MIT"}},
        "paths": paths,
        "components": {"schemas": schema.SCHEMAS, "securitySchemes": _SCHEMES},
    }
    return json.dumps(document).encode()


def _operation(route: Route) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": route.operation,
        "summary": route.summary,
        "description": f"For {route.audience.value}.",
        "security": _SECURITY[route.audience],
        "parameters": _parameters(route),
        "responses": {
            **{str(status): _reply(reply, status) for status, reply in route.replies.items()},
            **{str(status): _PROBLEM for status in route.statuses()},
        },
    }
    if route.body is not None:
        operation["requestBody"] = _body(route.body)
    return operation


def _parameters(route: Route) -> list[dict[str, Any]]:
    found = [_parameter("query", name, form) for name, form in route.query.items()]
    found += [_parameter("header", name, form) for name, form in route.headers.items()]
    if route.has_ident:
        found.append(_parameter("path", "id", schema.IDENT, required=True))
    if route.audience in (Audience.PEER, Audience.PARTY):
        found.append(_parameter("header", "Handoffd-Epoch", schema.NONCE, required=route.needs_epoch))
    return found


def _parameter(place: str, name: str, form: Any, required: bool = False) -> dict[str, Any]:
    return {"in": place, "name": name, "required": required, "schema": form}


def _body(body: Body) -> dict[str, Any]:
    limit = f"{body.limit_bytes} bytes" if body.limit_bytes else "the configured max_payload"
    return {
        "required": body.required,
        "description": f"At most {limit}.",
        "content": {JSON: {"schema": _ref(body.schema)}},
    }


def _reply(reply: Reply, status: int) -> dict[str, Any]:
    told: dict[str, Any] = {"description": reply.words}
    if status != 204:
        told["content"] = {reply.media: {"schema": _ref(reply.schema)} if reply.schema else {}}
    return told


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


_PROBLEM = {"description": "A problem (RFC 9457).", "content": {PROBLEM_JSON: {"schema": _ref("Problem")}}}
