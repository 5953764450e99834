"""The calls of operators: health, metrics, status, withdrawal."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from tests.unit.hub.fake_engine import OPERATOR_TOKEN
from tests.unit.hub.harness import Running, directory, payload, running, talk

from handoffd.hub import operation
from handoffd.hub.connection import _is_loopback
from handoffd.hub.door import identify
from handoffd.hub.refusal import Refused
from handoffd.hub.route import Audience
from handoffd.protocol.name import HostName

HUB = HostName("hub-vm")
NEAR = ("/healthz", "/readyz", "/metrics", "/openapi.json")


@pytest.fixture
async def here() -> AsyncIterator[Running]:
    async with running() as hub:
        yield hub


class Elsewhere:
    """A request's headers and an origin beyond this host."""

    near = False
    by_socket = False

    def __init__(self, token: str | None) -> None:
        self.headers = {} if token is None else {"Authorization": f"Bearer {token}"}


@asynccontextmanager
async def over_socket(path: Path) -> AsyncIterator[aiohttp.ClientSession]:
    async with (
        running(socket_path=path) as here,
        aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(path))) as session,
    ):
        await here.start(payload())
        yield session


@pytest.mark.parametrize("path", NEAR)
async def test_health_and_metrics_need_no_token_over_loopback(here: Running, path: str) -> None:
    assert (await here.ask("GET", path, token=None)).status == 200


@pytest.mark.parametrize("path", NEAR)
async def test_a_page_whose_name_was_made_to_point_here_reads_none_of_them(here: Running, path: str) -> None:
    for name in ("evil.example:8787", "hub-vm.evil.example", "192.168.1.1", ""):
        answer = await here.ask("GET", path, None, headers={"Host": name})
        assert (answer.status, answer.body["reason"]) == (403, "forbidden")
        assert "relay/handoffd.sock" in answer.body["detail"]
        assert "epoch" not in answer.body
        assert (await here.ask("GET", path, "wrong", headers={"Host": name})).status == 401
        assert (await here.ask("GET", path, OPERATOR_TOKEN, headers={"Host": name})).status == 200
    for name in ("localhost:9000", "127.0.0.1:1", "[::1]", "hub-vm:8787", "HUB-VM"):
        assert (await here.ask("GET", path, None, headers={"Host": name})).status == 200


async def test_who_names_no_host_is_no_browser(here: Running) -> None:
    answer = await talk(here.port, b"GET /healthz HTTP/1.0\r\n\r\n")
    assert b" 200 " in answer.partition(b"\r\n")[0]


def test_from_elsewhere_they_need_an_operators_token() -> None:
    for token in (None, "wrong", "token-of-alice", "token-of-bob-vm"):
        caller: Any = Elsewhere(token)
        with pytest.raises(Refused) as refused:
            identify(caller, caller, Audience.NEAR, directory(), HUB)
        assert refused.value.status == 401
    operator: Any = Elsewhere(OPERATOR_TOKEN)
    assert identify(operator, operator, Audience.NEAR, directory(), HUB).principal.agent is None


@pytest.mark.parametrize(
    ("peer", "near"),
    [
        (("127.0.0.1", 1), True),
        (("127.8.9.1", 1), True),
        (("::1", 1, 0, 0), True),
        (("::ffff:127.0.0.1", 1, 0, 0), True),
        (("192.0.2.1", 1), False),
        (("::ffff:192.0.2.1", 1, 0, 0), False),
        (("fe80::1%eth0", 1, 0, 2), False),
        (None, False),
        ("", False),
        (("", 1), False),
    ],
)
def test_loopback_is_told_from_the_address(peer: object, near: bool) -> None:
    assert _is_loopback(peer) is near


async def test_an_operators_token_opens_nothing_else(here: Running) -> None:
    assert (await here.ask("GET", "/api/v1/handoffs/poll", OPERATOR_TOKEN)).status == 401


async def test_it_is_not_ready_before_it_says_so(here: Running) -> None:
    assert (await here.ask("GET", "/readyz", None)).body["status"] == "ready"
    here.ready = False
    answer = await here.ask("GET", "/readyz", None)
    assert (answer.status, answer.body["reason"]) == (503, "unavailable")
    assert (await here.ask("GET", "/healthz", None)).status == 200


async def test_it_is_not_ready_while_the_disk_takes_nothing(here: Running) -> None:
    here.engine.disk_trouble = "relay/ cannot be written: Input/output error"
    answer = await here.ask("GET", "/readyz", None)
    assert (answer.status, answer.body["reason"]) == (503, "unavailable")
    assert answer.body["detail"] == "relay/ cannot be written: Input/output error."
    assert (await here.ask("GET", "/healthz", None)).status == 200


async def test_it_is_not_ready_while_custody_hangs(here: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operation, "CUSTODY_S", 0.05)
    here.desk.gate.clear()
    answer = await here.ask("GET", "/readyz", None)
    here.desk.gate.set()
    assert answer.status == 503
    assert "Custody has not answered for 0.05 s" in answer.body["detail"]


async def test_metrics_count_what_passed(here: Running) -> None:
    await here.start(payload())
    await here.start(payload(1, to="gordon"))
    await here.ask("GET", "/nowhere", None)
    page = (await here.ask("GET", "/metrics", None)).data.decode()
    for line in (
        'handoffd_http_responses_total{operation="start",status="201"} 1.0',
        'handoffd_http_responses_total{operation="none",status="404"} 1.0',
        'handoffd_refusals_total{reason="not_here"} 1.0',
        'handoffd_refusals_total{reason="not_found"} 1.0',
        'handoffd_link_up{peer="alice-vm"} 1.0',
        'handoffd_open{role="sender",state="queued"} 0.0',
        'handoffd_build_info{version="1.2.3"} 1.0',
        'handoffd_http_seconds_count{operation="start"} 2.0',
    ):
        assert line in page.splitlines()


async def test_a_path_nobody_knows_makes_no_series_of_its_own(here: Running) -> None:
    for number in range(5):
        await here.ask("GET", f"/nowhere/{number}", None)
        await here.ask(f"M{number}", f"/{number}", None)
    assert b"/0" not in (await here.ask("GET", "/metrics", None)).data


async def test_withdrawing_takes_back_what_is_not_claimed(tmp_path: Path) -> None:
    tid = sha256(payload()).hexdigest()
    async with over_socket(tmp_path / "s") as session:
        async with session.post("http://hub/operator/withdraw", json={"tid": tid}) as response:
            told = await response.json()
        assert (response.status, told["tid"], told["state"], told["record"]["reason"]) == (
            200,
            tid,
            "revoked",
            "revoked",
        )


async def test_giving_up_is_final(tmp_path: Path) -> None:
    tid = sha256(payload()).hexdigest()
    async with (
        over_socket(tmp_path / "s") as session,
        session.post("http://hub/operator/resolve", json={"tid": tid}) as response,
    ):
        told = await response.json()
    assert (told["state"], told["record"]["reason"]) == ("unknown", "outcome_unknown")


@pytest.mark.parametrize(("body", "status"), [({"tid": "0" * 64}, 404), ({"tid": "short"}, 400), ({}, 400)])
async def test_withdrawing_what_is_not_there_is_told(tmp_path: Path, body: object, status: int) -> None:
    async with (
        over_socket(tmp_path / "s") as session,
        session.post("http://hub/operator/withdraw", json=body) as response,
    ):
        assert response.status == status
        assert response.content_type == "application/problem+json"
