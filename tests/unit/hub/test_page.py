"""The status page over HTTP: who may see it, what its answers forbid the browser, and its stream."""

import asyncio
import json
import re
import threading
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from tests.unit.hub.fake_engine import OPERATOR_TOKEN, TOKENS, digest
from tests.unit.hub.harness import DEADLINE_S, Running, directory, impatient, running, settings, until, wire

from handoffd.hub.page import room, stream
from handoffd.hub.page.room import SEATS, STORIES, Room
from handoffd.hub.settings import PageSettings, Scope
from handoffd.hub.viewer import FILES
from handoffd.status.model import Status

VIEWER = "token-of-a-viewer-which-is-long-enough"
T = "a" * 64


class FakeBoard:
    """A board whose parts a test sets."""

    def __init__(self) -> None:
        self.parts: dict[str, dict[str, Any]] = {"host": {"host": "hub-vm"}, "handoffs": {"open": []}}
        self.looks = 0
        self.told: Status | None = None
        self.threads: set[int] = set()
        self.fault: Exception | None = None

    def look(self, status: Status) -> dict[str, dict[str, Any]]:
        self.looks += 1
        if self.fault is not None:
            raise self.fault
        self.told = status
        self.threads.add(threading.get_ident())
        return dict(self.parts)

    def handoff(self, ident: str, with_payload: bool) -> dict[str, Any] | None:
        return {"tid": ident, "payload": "words" if with_payload else None} if ident == T else None


@pytest.fixture
def board() -> FakeBoard:
    return FakeBoard()


@asynccontextmanager
async def serving(board: FakeBoard, tmp_path: Path, **page: Any) -> AsyncIterator[Running]:
    chosen = settings(page=PageSettings(near_urls=("http://127.0.0.1:8787",), **page))
    async with running(chosen, socket_path=tmp_path / "handoffd.sock", open_page=lambda hub: Room(hub, board)) as here:
        here.listener.reload(chosen, replace(directory(), viewers=frozenset({digest(VIEWER)})))
        yield here


@pytest.fixture
async def here(board: FakeBoard, tmp_path: Path) -> AsyncIterator[Running]:
    async with serving(board, tmp_path) as hub:
        yield hub


@pytest.fixture(autouse=True)
def brisk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "TURN_S", 0.01)
    monkeypatch.setattr(room, "LOOK_EVERY_S", 0.01)


async def link(here: Running) -> dict[str, Any]:
    """Ask for a link over the socket, as `handoffd page` does."""
    connector = aiohttp.UnixConnector(str(here.socket_path))
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        session.post("http://localhost/operator/page", json={}) as answer,
    ):
        told: dict[str, Any] = await answer.json()
        return {"status": answer.status, **told}


class Reader:
    """Reads a stream's events."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.response = response
        self.ident = ""

    async def event(self) -> tuple[str, Any] | None:
        """Return the next event's name and value; None at the end."""
        fields: dict[str, str] = {}
        async with asyncio.timeout(DEADLINE_S):
            while (line := (await self.response.content.readline()).decode()) not in ("\n", ""):
                key, _, value = line.rstrip("\n").partition(": ")
                fields[key] = value
        if not fields:
            return None
        self.ident = fields["id"]
        return fields["event"], json.loads(fields["data"])["value"]

    async def part(self) -> tuple[str, Any] | None:
        while (found := await self.event()) is not None and found[0] == "beat":
            pass
        return found


@asynccontextmanager
async def watching(here: Running, token: str = VIEWER, last: str = "") -> AsyncIterator[Reader]:
    headers = {"Authorization": f"Bearer {token}"} | ({"Last-Event-ID": last} if last else {})
    url = f"http://127.0.0.1:{here.port}/page/events"
    async with here.session.get(url, headers=headers) as response:
        assert response.status == 200
        yield Reader(response)


# ---------------------------------------------------------------- who may see it


async def test_a_link_opens_the_page_once(here: Running) -> None:
    made = await link(here)
    assert (made["status"], made["near"], made["far"]) == (200, ["http://127.0.0.1:8787"], [])
    entered = await here.ask("POST", "/page/session", None, {"code": made["code"]})
    assert entered.status == 200
    assert (await here.ask("GET", f"/page/handoffs/{T}", entered.body["token"])).status == 200
    again = await here.ask("POST", "/page/session", None, {"code": made["code"]})
    assert (again.status, again.body["reason"]) == (401, "unauthorized")
    assert "handoffd page" in again.body["detail"]


@pytest.mark.parametrize("token", [None, "wrong", OPERATOR_TOKEN, *TOKENS])
@pytest.mark.parametrize("path", ["/page/events", f"/page/handoffs/{T}"])
async def test_data_is_for_viewers_alone_also_on_loopback(here: Running, token: str | None, path: str) -> None:
    answer = await here.ask("GET", path, token)
    assert (answer.status, answer.body["reason"]) == (401, "unauthorized")
    assert "hub-vm" not in str(answer.body)


async def test_a_viewers_token_opens_nothing_else(here: Running) -> None:
    for path in ("/api/v1/handoffs/poll", "/api/v1/hello", f"/api/v1/handoffs/{T}"):
        assert (await here.ask("GET", path, VIEWER)).status == 401


@pytest.mark.parametrize("name", ["", *FILES])
async def test_the_files_are_for_every_browser_and_tell_nothing(here: Running, name: str) -> None:
    answer = await here.ask("GET", f"/page/{name}", None)
    assert answer.status == 200
    told = f"{answer.headers}{answer.data.decode()}"
    assert "hub-vm" not in told
    assert here.engine.epoch not in told
    assert "1.2.3" not in told


async def test_every_file_of_the_page_is_served_and_small() -> None:
    there = {file.name for file in files("handoffd.hub.page").joinpath("files").iterdir()}
    assert there == {"index.html", *FILES}
    assert sum(len(files("handoffd.hub.page").joinpath("files", name).read_bytes()) for name in there) < 60_000


async def test_a_bare_path_leads_to_the_page(here: Running) -> None:
    async with here.session.get(f"http://127.0.0.1:{here.port}/page", allow_redirects=False) as answer:
        assert (answer.status, answer.headers["Location"]) == (308, "/page/")


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1", 200),
        ("127.0.0.1:1", 200),
        ("127.8.8.8:8787", 200),
        ("localhost:9000", 200),
        ("LOCALHOST", 200),
        ("[::1]:8787", 200),
        ("evil.example", 403),
        ("evil.example:8787", 403),
        ("localhost.evil.example", 403),
        ("127.0.0.1.evil.example", 403),
        ("192.168.1.1", 403),
        ("0.0.0.0:8787", 403),
        ("[::1", 403),
        ("user@evil.example", 403),
        ("", 403),
    ],
)
@pytest.mark.parametrize("path", ["/page/", f"/page/handoffs/{T}"])
async def test_a_name_that_anybody_may_point_here_is_refused(here: Running, host: str, status: int, path: str) -> None:
    answer = await here.ask("GET", path, VIEWER, headers={"Host": host})
    assert answer.status == status


async def test_stories_do_not_queue(here: Running, board: FakeBoard, monkeypatch: pytest.MonkeyPatch) -> None:
    go_on, asked = threading.Event(), []

    def slow(ident: str, with_payload: bool) -> dict[str, Any]:
        asked.append(ident)
        assert go_on.wait(DEADLINE_S)
        return {"tid": ident}

    monkeypatch.setattr(board, "handoff", slow)
    path = f"/page/handoffs/{T}"
    async with asyncio.TaskGroup() as group:
        telling = [group.create_task(here.ask("GET", path, VIEWER)) for _ in range(STORIES)]
        await until(lambda: len(asked) == STORIES)
        refused = await here.ask("GET", path, VIEWER)
        go_on.set()
    assert (refused.status, refused.body["reason"], refused.headers["Retry-After"]) == (429, "rate_limited", "1")
    assert [task.result().status for task in telling] == [200] * STORIES
    assert (await here.ask("GET", path, VIEWER)).status == 200


async def test_its_files_are_read_once(here: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    first = await here.ask("GET", "/page/page.js", None)
    monkeypatch.setattr(room, "files", None)
    assert (await here.ask("GET", "/page/page.js", None)).data == first.data


async def test_it_can_be_switched_off(board: FakeBoard, tmp_path: Path) -> None:
    async with serving(board, tmp_path, scope=Scope.NOWHERE) as here:
        for path in ("/page", "/page/", "/page/page.js", "/page/events", f"/page/handoffs/{T}"):
            assert (await here.ask("GET", path, VIEWER)).status == 404
        refused = await link(here)
        assert (refused["status"], refused["reason"]) == (403, "forbidden")
        assert "serve: nowhere" in refused["detail"]


async def test_far_links_are_told_only_where_the_page_is_served_everywhere(board: FakeBoard, tmp_path: Path) -> None:
    far = ("https://hub-vm:8788",)
    async with serving(board, tmp_path, far_urls=far) as here:
        assert (await link(here))["far"] == []
    (tmp_path / "2").mkdir()
    async with serving(board, tmp_path / "2", far_urls=far, scope=Scope.EVERYWHERE) as here:
        assert (await link(here))["far"] == list(far)


async def test_it_is_not_served_over_the_socket_and_links_are_made_nowhere_else(here: Running) -> None:
    assert (await here.ask("POST", "/operator/page", None, {})).status == 404
    connector = aiohttp.UnixConnector(str(here.socket_path))
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        session.get("http://localhost/page/") as answer,
    ):
        assert answer.status == 404


@pytest.mark.parametrize("body", [b"", b"[]", b'{"code": 7}', b'{"code": null}', b"{}", b'{"code": "x"}'])
async def test_a_bad_code_is_a_clear_refusal(here: Running, body: bytes) -> None:
    assert (await here.ask("POST", "/page/session", None, body)).status in (400, 401)


# ---------------------------------------------------------------- what the browser is forbidden


@pytest.mark.parametrize("path", ["/page/", "/page/page.js", "/page/page.css", "/page/icon.svg", f"/page/handoffs/{T}"])
async def test_nothing_is_kept_framed_sniffed_or_loaded_from_elsewhere(here: Running, path: str) -> None:
    headers = (await here.ask("GET", path, VIEWER)).headers
    assert headers["Cache-Control"] == "no-store"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    policy = dict(part.split(" ", 1) for part in headers["Content-Security-Policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["frame-ancestors"] == "'none'"
    assert policy["require-trusted-types-for"] == "'script'"
    assert {policy[f"{kind}-src"] for kind in ("script", "style", "img", "connect")} == {"'self'"}


def test_no_file_names_another_host_or_holds_an_inline_script_or_style() -> None:
    for file in files("handoffd.hub.page").joinpath("files").iterdir():
        text = file.read_text().replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?:|//[a-z0-9.-]+\.[a-z]{2,}", text), file.name
        assert not re.search(r"<script(?![^>]*src=)|<style|\sstyle=|\son[a-z]+=", text), file.name
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function", text)


# ---------------------------------------------------------------- the stream


async def test_a_stream_brings_all_of_it_first_and_then_only_news(here: Running, board: FakeBoard) -> None:
    async with watching(here) as reader:
        assert reader.response.content_type == "text/event-stream"
        assert reader.response.headers["Cache-Control"] == "no-store"
        assert [await reader.part(), await reader.part()] == [("host", {"host": "hub-vm"}), ("handoffs", {"open": []})]
        looks = board.looks
        await until(lambda: board.looks > looks + 2)
        board.parts["handoffs"] = {"open": [1]}
        assert await reader.part() == ("handoffs", {"open": [1]})


async def test_many_changes_between_two_looks_are_one_event(here: Running, board: FakeBoard) -> None:
    async with watching(here) as reader:
        await reader.part(), await reader.part()
        for number in range(1000):
            board.parts["handoffs"] = {"open": [number]}
        assert await reader.part() == ("handoffs", {"open": [999]})


async def test_a_stream_goes_on_where_the_last_one_broke(here: Running, board: FakeBoard) -> None:
    async with watching(here) as reader:
        await reader.part(), await reader.part()
        last = reader.ident
    board.parts["handoffs"] = {"open": [2]}
    async with watching(here, last=last) as reader:
        assert await reader.part() == ("handoffs", {"open": [2]})
        last = reader.ident
    async with watching(here, last=last) as reader:
        assert await reader.event() == ("beat", None)
        assert reader.ident == last


@pytest.mark.parametrize("last", ["x", "-" * 5000, "%00", "a-b-c", "é"])
async def test_a_strange_last_event_id_brings_everything(here: Running, last: str) -> None:
    async with watching(here, last=last) as reader:
        assert await reader.part() == ("host", {"host": "hub-vm"})


async def test_a_silent_stream_beats(here: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "BEAT_S", 0.05)
    async with watching(here) as reader:
        await reader.part(), await reader.part()
        assert await reader.event() == ("beat", None)
        assert await reader.event() == ("beat", None)


async def test_a_stream_ends_after_its_longest_time(here: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "LONGEST_S", 0.05)
    async with watching(here) as reader:
        await reader.part(), await reader.part()
        assert await reader.part() is None


async def test_a_stream_ends_with_the_right_to_look(here: Running) -> None:
    async with watching(here) as reader:
        await reader.part(), await reader.part()
        here.listener.reload(here.hub.settings, directory())
        assert await reader.part() is None
    assert (await here.ask("GET", "/page/events", VIEWER)).status == 401


async def test_streams_end_when_the_daemon_stops(here: Running) -> None:
    async with watching(here) as reader:
        await reader.part(), await reader.part()
        await here.listener.close(grace_s=DEADLINE_S)
        assert await reader.part() is None


async def test_there_are_so_many_seats_and_a_seat_given_back_is_free_again(here: Running) -> None:
    async with AsyncExitStack() as stack:
        readers = [await stack.enter_async_context(watching(here)) for _ in range(SEATS)]
        assert len(readers) == SEATS
        crowded = await here.ask("GET", "/page/events", VIEWER)
        assert (crowded.status, crowded.headers["Retry-After"]) == (429, "10")
        readers[0].response.close()
        async with asyncio.timeout(DEADLINE_S):
            while (answer := await stack.enter_async_context(_get(here))).status != 200:
                await asyncio.sleep(0.01)
        assert answer.content_type == "text/event-stream"


@asynccontextmanager
async def _get(here: Running) -> AsyncIterator[aiohttp.ClientResponse]:
    url = f"http://127.0.0.1:{here.port}/page/events"
    async with here.session.get(url, headers={"Authorization": f"Bearer {VIEWER}"}) as response:
        yield response


async def test_all_viewers_share_one_look_and_the_loop_never_looks_itself(here: Running, board: FakeBoard) -> None:
    async with watching(here) as one, watching(here) as two:
        for reader in (one, two):
            await reader.part(), await reader.part()
        assert threading.get_ident() not in board.threads
        assert board.told is not None
        assert board.told.host == "hub-vm"


async def test_a_slow_look_is_followed_by_a_long_rest(
    here: Running, board: FakeBoard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "LOOK_SHARE", 1e-9)
    async with watching(here) as reader:
        await reader.part(), await reader.part()
        monkeypatch.setattr(stream, "BEAT_S", 0.0)
        for _ in range(5):
            assert await reader.event() == ("beat", None)
        assert board.looks == 1


async def test_nobody_looks_before_somebody_watches(here: Running, board: FakeBoard) -> None:
    assert (await here.ask("GET", "/page/", None)).status == 200
    assert (await here.ask("GET", f"/page/handoffs/{T}", VIEWER)).status == 200
    assert board.looks == 0


async def test_nobody_looks_after_the_last_has_left(here: Running, board: FakeBoard) -> None:
    async with watching(here) as reader:
        await reader.part()
    place: Any = here.hub.page
    await until(lambda: place.seats == 0)
    looks = board.looks
    await asyncio.sleep(10 * room.LOOK_EVERY_S)  # not a wait for anything: a look in this time would be seen
    assert board.looks == looks


async def test_a_viewer_that_reads_nothing_loses_its_seat(board: FakeBoard, tmp_path: Path) -> None:
    patience = impatient(stall_s=0.2).patience
    async with serving(board, tmp_path) as here:
        # Patience is read once for each connection, so a listener of its own.
        here.listener._patience = patience
        async with wire(here.port) as (_, writer):
            head = f"GET /page/events HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {VIEWER}\r\n\r\n"
            writer.write(head.encode())
            place: Any = here.hub.page
            await until(lambda: place.seats == 1)
            board.parts["handoffs"] = {"open": ["x" * (64 << 20)]}
            await until(lambda: place.seats == 0)


async def test_a_board_that_cannot_be_read_ends_the_stream_and_nothing_else(here: Running, board: FakeBoard) -> None:
    async with watching(here) as reader:
        await reader.part(), await reader.part()
        board.fault = FileNotFoundError("the root is gone")
        assert await reader.part() is None
    board.fault = None
    async with watching(here) as reader:
        assert await reader.part() == ("host", {"host": "hub-vm"})


async def test_a_fault_in_the_middle_of_a_stream_cuts_it_off(
    here: Running, board: FakeBoard, caplog: pytest.LogCaptureFixture
) -> None:
    async with watching(here) as reader:
        await reader.part(), await reader.part()
        board.fault = ZeroDivisionError("a fault of ours")
        with pytest.raises(aiohttp.ClientPayloadError):
            await reader.part()
    assert "a fault of ours" in caplog.text
    assert "a request failed unexpectedly" in caplog.text


# ---------------------------------------------------------------- one handoff


async def test_a_handoff_is_told_without_its_payload_unless_that_is_switched_on(
    here: Running, board: FakeBoard, tmp_path: Path
) -> None:
    told = await here.ask("GET", f"/page/handoffs/{T}", VIEWER)
    assert (told.status, told.body) == (200, {"tid": T, "payload": None})
    (tmp_path / "2").mkdir()
    async with serving(board, tmp_path / "2", shows_payloads=True) as open_page:
        assert (await open_page.ask("GET", f"/page/handoffs/{T}", VIEWER)).body["payload"] == "words"


@pytest.mark.parametrize("ident", ["b" * 64, "nothing", "..%2f..%2fetc", "%00"])
async def test_what_nobody_knows_is_not_found(here: Running, ident: str) -> None:
    assert (await here.ask("GET", f"/page/handoffs/{ident}", VIEWER)).status == 404
