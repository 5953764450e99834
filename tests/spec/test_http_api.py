"""The HTTP interface is what its own OpenAPI document says, whatever is sent (docs/http-api.md).

One table registers the routes and makes the document; the first tests walk both. The last one lets schemathesis make
requests from the document, right and wrong ones, and holds every answer against it. The hub is the real one on a real
socket; custody behind it is the fake engine of the unit tests.
"""

import asyncio
import json
import re
import threading
import urllib.request
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import load_all_checks
from schemathesis.generation.feedback import FeedbackSources
from schemathesis.pytest._test_builder import build_operation_test
from schemathesis.python._constants.orchestrator import make_constants_value_source
from schemathesis.specs.openapi.checks import ignored_auth, negative_data_rejection, positive_data_acceptance
from tests.unit.hub import harness

from handoffd.hub.openapi import describe
from handoffd.hub.reference import tables
from handoffd.hub.route import IDENT, UNDOCUMENTED, Audience
from handoffd.hub.table import ROUTES

TOKENS = {"agent": "token-of-alice", "peer": "token-of-bob-vm", "operator": "token-of-the-operator"}
EXAMPLES = 12
"""For each of the 22 calls, beside what the document's limits suggest: 1,479 requests, the same ones in every run."""
DOCUMENT: dict[str, Any] = json.loads(describe(ROUTES, harness.settings().version))
PAGE = Path(__file__).parents[2] / "docs" / "http-api.md"

# ---------------------------------------------------------------- table, document and page


def operations(document: dict[str, Any]) -> set[tuple[str, str]]:
    return {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}


def test_the_document_holds_every_route_but_those_of_the_operator_and_of_the_page() -> None:
    routes = {(route.method, route.path) for route in ROUTES if route.audience not in UNDOCUMENTED}
    assert operations(DOCUMENT) == routes
    assert len(routes) == 22


def test_no_two_routes_are_one() -> None:
    assert len({(route.method, route.path) for route in ROUTES}) == len(ROUTES)
    assert len({route.operation for route in ROUTES}) == len(ROUTES)


def test_every_call_of_the_specification_is_there() -> None:
    page = (PAGE.parent / "custody.md").read_text()
    section = page[page.index("\n## 10. HTTP") : page.index("\n## 11.")]
    named = set(
        re.findall(r"/(start|batch|poll|accept|complete|reject|artefact|hello|states|lease|revoke|forget)\b", section)
    )
    assert named <= {route.operation for route in ROUTES}
    assert len(named) == 12


async def test_every_route_of_the_table_is_served_and_no_other_method() -> None:
    async with harness.running() as here:
        for route in ROUTES:
            path = route.path.replace(IDENT, "0" * 64)
            expected = HTTPStatus.NOT_FOUND if route.audience is Audience.SOCKET else HTTPStatus.METHOD_NOT_ALLOWED
            assert (await here.ask("PATCH", path)).status == expected
            if route.audience not in UNDOCUMENTED:
                open_to_all = route.audience is Audience.STRANGER
                assert (await here.ask(route.method, path, None)).status in ({400} if open_to_all else {200, 401})


def test_the_page_holds_the_tables_of_the_code() -> None:
    page = PAGE.read_text()
    for name, table in tables().items():
        assert f"<!-- {name} -->\n{table}<!-- /{name} -->" in page, (
            "run: python -m handoffd.hub.reference docs/http-api.md"
        )


def test_the_page_names_every_header() -> None:
    page = PAGE.read_text()
    code = "".join(path.read_text() for path in (PAGE.parents[1] / "daemon/handoffd/hub").glob("*.py"))
    for word in set(re.findall(r'"(Handoffd-[A-Za-z-]+)"', code)):
        assert word in page


# ---------------------------------------------------------------- requests made from the document


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Serve a hub from a thread of its own, because schemathesis blocks."""
    loop, told, over = asyncio.new_event_loop(), threading.Event(), asyncio.Event()
    ports: list[int] = []

    async def serve() -> None:
        chosen = harness.settings(agent_requests_per_s=1e6, agent_burst=1_000_000)
        async with harness.running(chosen) as here:
            for number in range(3):
                await here.start(harness.payload(number))
            ports.append(here.port)
            told.set()
            await over.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    assert told.wait(harness.DEADLINE_S)
    yield f"http://127.0.0.1:{ports[0]}"
    loop.call_soon_threadsafe(over.set)
    thread.join()
    loop.close()


def test_the_served_document_is_the_one_these_requests_are_made_from(address: str) -> None:
    with urllib.request.urlopen(f"{address}/openapi.json") as response:
        assert json.load(response) == DOCUMENT


NOT_HELD = {
    # Asked again without a token, these answer over loopback.
    **{path: [ignored_auth] for path in ("/healthz", "/readyz", "/metrics", "/openapi.json")},
    # Whether a payload is admitted hangs on its hash, on the agents that exist and on the time.
    "/api/v1/handoffs/start": [positive_data_acceptance],
    # Parameters that nobody knows are not looked at.
    "/api/v1/handoffs/poll": [negative_data_rejection],
    # Whether an invite is known, and a text is a certificate, no schema can say.
    "/api/v1/pair": [positive_data_acceptance],
    "/api/v1/peer/certificate": [positive_data_acceptance],
    # A bad item fails alone: the batch is answered with 200.
    "/api/v1/handoffs/batch": [negative_data_rejection],
}
"""Checks of schemathesis that are not what the interface promises, by path."""


@pytest.mark.parametrize("operation", sorted(route.operation for route in ROUTES if route.audience not in UNDOCUMENTED))
def test_every_answer_is_one_the_document_names(operation: str, address: str) -> None:
    @settings(max_examples=EXAMPLES, derandomize=True, suppress_health_check=list(HealthCheck))
    def ask(case: Any) -> None:
        _settle(case)
        who = next(iter(next(filter(None, case.operation.definition.raw["security"]), {"operator": []})))
        headers = {"Authorization": f"Bearer {TOKENS[who]}"}
        case.call_and_validate(base_url=address, headers=headers, excluded_checks=NOT_HELD.get(case.operation.path, []))

    # What `schema.parametrize()` does, but when the test runs: there, every collection would make all the requests.
    load_all_checks()
    schema = schemathesis.openapi.from_dict(DOCUMENT).include(operation_id=operation)
    (found,) = schema.get_all_operations()
    feedback = FeedbackSources(constants_value_source=make_constants_value_source(schema))
    build_operation_test(
        config=schema.config, operation=found.ok(), test_func=ask, given_kwargs={}, feedback=feedback
    )()


def _settle(case: Any) -> None:
    """Put in what no schema can say (the hub's epoch and version), and make long polls short."""
    for name, value in (("Handoffd-Epoch", harness.FakeEngine.epoch), ("Handoffd-Version", "1.0")):
        if case.headers and name in case.headers:
            case.headers[name] = value
    if case.query and _is_number(case.query.get("wait")):
        case.query["wait"] = min(float(case.query["wait"]), 0.01)
    if isinstance(case.body, dict) and type(case.body.get("wait")) in (int, float):
        case.body["wait"] = min(case.body["wait"], 0.01)


def _is_number(value: object) -> bool:
    try:
        return float(value) >= 0.0  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return False
