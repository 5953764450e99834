"""The agent's HTTP client against a server that answers, drops, delays and lies as a test tells it."""

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.plain import port_without_tls

from handoffd.agent import ANYONE, Draft, Ended, agent_name
from handoffd.agent.address import BadAddress
from handoffd.agent.bootstrap import write_bootstrap
from handoffd.agent.draft import compose
from handoffd.agent.hub import LAST_PAUSE_S, Hub, Refused, Unreachable
from handoffd.agent.listener import INTERRUPTED, Listener, Work
from handoffd.agent.remote import Remote
from handoffd.agent.wake import Wake
from handoffd.protocol.payload import transfer_id

SECRET = b"pair-secret"
DATA, ENVELOPE = compose(Draft(to="alice", reason="test"), "bob", SECRET, time.time())
T = ENVELOPE.tid
PATIENCE_S = 30.0

Answer = tuple[int, dict[str, str], bytes]
Step = Answer | None
"""What the server answers next; None: it reads the request and hangs up."""


def told(state: str = "completed", status: int = 200) -> Answer:
    return status, {}, json.dumps({"tid": T, "state": state}).encode()


def problem(status: int, reason: str) -> Answer:
    return status, {}, json.dumps({"reason": reason, "detail": f"because of {reason}"}).encode()


OFFER: Answer = (200, {"Handoffd-Tid": T}, DATA)
NOTHING: Answer = (204, {}, b"")


class Server:
    """Answers by a list; `asked` are method, path and body of what came."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.asked: list[tuple[str, str, bytes]] = []
        self.headers: list[dict[str, str]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def serve(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                outer.asked.append((self.command, self.path.removeprefix("/api/v1/handoffs/"), body))
                outer.headers.append(dict(self.headers))
                step = outer.steps.pop(0) if outer.steps else NOTHING
                if step is None:
                    self.close_connection = True
                    return
                status, headers, data = step
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(data))}.items():
                    self.send_header(name, value)
                with contextlib.suppress(ConnectionError):  # a poll that was aborted
                    self.end_headers()
                    self.wfile.write(data)

            do_GET = do_POST = serve

            def log_message(self, format: str, *arguments: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


@pytest.fixture
def hub(server: Server) -> Iterator[Hub]:
    hub = Hub(server.url, "a-token")
    yield hub
    hub.close()


class Pauses:
    """The clock and the sleep of the client: time passes where it pauses, and nowhere else."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return sum(self.slept)

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> Pauses:
    made = Pauses()
    monkeypatch.setattr("handoffd.agent.hub.time", made)
    return made


# ---------------------------------------------------------------- calls


def test_a_call_is_repeated_until_somebody_knows(server: Server, hub: Hub, pauses: Pauses) -> None:
    server.steps = [None, problem(503, "unavailable"), problem(429, "rate_limited"), told("published", 201)]
    assert hub.start(DATA, T, PATIENCE_S)["state"] == "published"
    assert [asked[:2] for asked in server.asked] == [("POST", "start")] * 4
    assert {asked[2] for asked in server.asked} == {DATA}
    assert {headers["Idempotency-Key"] for headers in server.headers} == {T}
    assert {headers["Authorization"] for headers in server.headers} == {"Bearer a-token"}
    assert pauses.slept == [pytest.approx(pause_s, rel=0.21) for pause_s in (0.25, 0.5, 1.0)]


def test_a_refusal_is_not_repeated(server: Server, hub: Hub) -> None:
    server.steps = [problem(409, "already_claimed")]
    with pytest.raises(Refused, match="because of already_claimed") as refused:
        hub.accept(T, "n", PATIENCE_S)
    assert (refused.value.status, refused.value.reason) == (409, "already_claimed")
    assert len(server.asked) == 1


@pytest.mark.parametrize("steps", [[None] * 99, [problem(503, "unavailable")] * 99])
def test_patience_ends(server: Server, hub: Hub, steps: list[Step], pauses: Pauses) -> None:
    server.steps = steps
    with pytest.raises(Unreachable):
        hub.complete(T, None, PATIENCE_S)
    assert len(server.asked) == len(pauses.slept) + 1
    assert PATIENCE_S - LAST_PAUSE_S <= sum(pauses.slept) <= PATIENCE_S + 0.2 * LAST_PAUSE_S
    assert max(pauses.slept) <= 1.2 * LAST_PAUSE_S


def test_a_connection_that_the_hub_closed_meanwhile_costs_nothing(server: Server, hub: Hub) -> None:
    server.steps = [NOTHING, None, OFFER]
    assert hub.poll(0.0) is None
    seen = hub.poll(0.0)  # without patience
    assert seen is not None
    assert seen.data == DATA


def test_a_port_without_tls_is_told_so() -> None:
    with (
        port_without_tls() as port,
        pytest.raises(Unreachable, match="that port speaks no TLS: name the one that does"),
    ):
        Hub(f"https://127.0.0.1:{port}", "a-token").get(T, 0.0)


def test_what_is_no_hub_is_not_believed(server: Server, hub: Hub) -> None:
    server.steps = [
        (200, {}, b"<html>"),
        (200, {"Handoffd-Tid": "0" * 64}, DATA),
        (302, {"Location": "http://x/"}, b""),
    ]
    with pytest.raises(Unreachable, match="is this the right address"):
        hub.get(T, 0.0)
    with pytest.raises(Unreachable, match="not those of its Handoffd-Tid"):
        hub.poll(0.0)
    with pytest.raises(Refused):
        hub.get(T, 0.0)


def test_an_id_is_one_segment_of_the_path_whatever_it_holds(server: Server, hub: Hub) -> None:
    server.steps = [told()]
    hub.get("../../etc?x#y", 0.0)
    assert server.asked[0][1] == "..%2F..%2Fetc%3Fx%23y"


@pytest.mark.parametrize(
    ("url", "options", "words"),
    [
        ("hub-vm:8788", {}, "write scheme, host and port alone"),
        ("https://hub-vm:8788/api", {}, "write scheme, host and port alone"),
        ("https://hub-vm:port", {}, "write it as https"),
        ("http://hub-vm:8788", {}, "plain http to this machine alone"),
        ("https://hub-vm", {"fingerprint": "SHA256:12"}, "as `handoffd init` on the hub prints it"),
        ("https://hub-vm", {"ca": Path(__file__)}, "no readable PEM certificate"),
    ],
)
def test_an_address_that_makes_no_sense_is_refused(url: str, options: dict[str, Any], words: str) -> None:
    with pytest.raises(BadAddress, match=words):
        Hub(url, "t", **options)


def test_a_poll_ends_when_it_is_aborted_and_ends_go_on(server: Server, hub: Hub) -> None:
    original, server.steps = server.steps, (slow := _Slow([NOTHING]))  # type: ignore[assignment]
    stop = threading.Thread(target=lambda: slow.asked.wait(30) and hub.abort())
    stop.start()
    try:
        with pytest.raises(Unreachable):
            hub.poll(25.0, PATIENCE_S)
    finally:
        slow.release.set()
        stop.join()
    server.steps = [*original, told()]
    with pytest.raises(Unreachable, match="stopped"):
        hub.poll(25.0)
    assert hub.reject(T, "stopped", PATIENCE_S)["tid"] == T


class _Slow(list[Step]):
    """Steps that wait to be released; `asked` is set once one is asked for."""

    def __init__(self, steps: list[Step]) -> None:
        super().__init__(steps)
        self.asked, self.release = threading.Event(), threading.Event()

    def pop(self, at: Any = -1) -> Step:
        self.asked.set()
        self.release.wait(30)
        return super().pop(at)


# ---------------------------------------------------------------- the mailbox on a hub


class Box:
    def __init__(self, hub: Hub, state: Path, secret: bytes = SECRET) -> None:
        self.ended: list[Ended] = []
        self.warned: list[str] = []
        self.wake = Wake()
        self.remote = Remote(
            hub,
            agent_name("alice"),
            {ANYONE: secret},
            state,
            self.wake,
            told=self.ended.append,
            warn=self.warned.append,
        )


@pytest.fixture
def box(hub: Hub, tmp_path: Path) -> Iterator[Callable[..., Box]]:
    made: list[Box] = []

    def make(**options: Any) -> Box:
        made.append(Box(hub, tmp_path / "state", **options))
        return made[-1]

    yield make
    for one in made:
        one.wake.close()


def interrupted(server: Server, box: Callable[..., Box]) -> Box:
    """Return the box of a listener that comes after one that died."""
    server.steps = [OFFER, OFFER]
    claim = box().remote.claim_next()
    assert claim is not None
    claim.hold.release()
    return box()


def memory(tmp_path: Path) -> list[str]:
    return [path.name[:64] for path in (tmp_path / "state").iterdir()]


def test_a_claim_is_noted_before_it_is_asked_for(server: Server, box: Callable[..., Box], tmp_path: Path) -> None:
    server.steps = [OFFER, OFFER, told()]
    one = box()
    claim = one.remote.claim_next()
    assert claim is not None
    assert (claim.data, claim.envelope.tid, claim.shown.read_bytes()) == (DATA, T, DATA)
    assert memory(tmp_path) == [T]
    one.remote.complete(claim)
    assert memory(tmp_path) == []
    assert [asked[1].partition("?")[0] for asked in server.asked] == ["poll", f"{T}/accept", f"{T}/complete"]
    assert (one.ended[0].handoff_id, one.ended[0].words) == (ENVELOPE.handoff_id, "")


def test_a_lost_race_leaves_nothing(server: Server, box: Callable[..., Box], tmp_path: Path) -> None:
    server.steps = [OFFER, problem(409, "already_claimed")]
    assert box().remote.claim_next() is None
    assert memory(tmp_path) == []


def test_what_a_crash_left_is_taken_over_once_nobody_works_on_it(
    server: Server, box: Callable[..., Box], tmp_path: Path
) -> None:
    server.steps = [OFFER, OFFER]
    claim = box().remote.claim_next()
    assert claim is not None
    second = box()
    assert second.remote.interrupted() == []  # the first one still holds the lock
    claim.hold.release()
    server.steps = [told("claimed"), OFFER, told("rejected")]
    (left,) = second.remote.interrupted()
    assert (left.tid, left.data) == (T, DATA)
    second.remote.reject(left, INTERRUPTED)
    nonces = {asked[2] for asked in server.asked if asked[1] == f"{T}/accept"}
    assert len(nonces) == 1
    assert json.loads(server.asked[-1][2]) == {"reason": INTERRUPTED}
    assert memory(tmp_path) == []
    assert second.remote.interrupted() == []


@pytest.mark.parametrize(
    "answers", [[told("claimed"), problem(409, "already_claimed")], [told("published")]], ids=["another's", "nobody's"]
)
def test_what_a_crash_came_before_the_claim_of_is_not_rejected(
    server: Server, box: Callable[..., Box], tmp_path: Path, answers: list[Step]
) -> None:
    left = interrupted(server, box)
    server.steps = answers
    assert left.remote.interrupted() == []
    assert not [asked for asked in server.asked if asked[1] == f"{T}/reject"]
    assert left.ended == []
    assert memory(tmp_path) == []


def test_what_a_crash_left_and_the_hub_has_forgotten_is_told(
    server: Server, box: Callable[..., Box], tmp_path: Path
) -> None:
    left = interrupted(server, box)
    server.steps = [problem(404, "not_found"), problem(404, "not_found")]
    left.remote.reject(left.remote.interrupted()[0], INTERRUPTED)
    assert left.ended[0].words == INTERRUPTED
    assert memory(tmp_path) == []


def test_what_a_crash_left_waits_for_a_hub_that_is_silent(
    server: Server, box: Callable[..., Box], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("handoffd.agent.remote.PATIENCE_S", 0.0)
    left = interrupted(server, box)
    server.steps = [None, None]
    assert left.remote.interrupted() == []
    assert "the hub does not say" in left.warned[0]
    assert memory(tmp_path) == [T]
    server.steps = [told("claimed"), OFFER]
    assert [hold.tid for hold in left.remote.interrupted()] == [T]


def test_what_was_completed_before_the_crash_is_not_told_as_rejected_for_it(
    server: Server, box: Callable[..., Box], tmp_path: Path
) -> None:
    left = interrupted(server, box)
    server.steps = [told("completed")]
    assert left.remote.interrupted() == []
    assert [one.words for one in left.ended] == [""]
    assert memory(tmp_path) == []


def test_the_bootstrap_of_another_listener_that_won_is_left_alone(
    server: Server, box: Callable[..., Box], tmp_path: Path
) -> None:
    left = interrupted(server, box)
    bootstrap = write_bootstrap(tmp_path, json.loads(DATA), T, 1_795_168_800.0)
    server.steps = [told("claimed"), problem(409, "already_claimed"), problem(401, "unauthorized")]
    with pytest.raises(Refused):
        Listener(left.remote, Work(lambda: 0.0, state=tmp_path), left.wake).run()
    assert bootstrap.exists()


def test_a_claim_whose_answer_never_came_is_found_by_the_same_listener(
    server: Server, box: Callable[..., Box], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("handoffd.agent.remote.PATIENCE_S", 0.0)
    monkeypatch.setattr("handoffd.agent.remote.SILENCE_S", 0.0)
    server.steps = [OFFER, None, None]
    one = box()
    assert one.remote.claim_next() is None
    server.steps = [told("claimed"), OFFER, told("rejected")]
    one.remote.reject(one.remote.interrupted()[0], INTERRUPTED)
    assert one.ended[0].words == INTERRUPTED
    assert memory(tmp_path) == []


@pytest.mark.parametrize("status", [404, 409])
def test_an_end_that_the_hub_knows_better_is_told_as_such(
    server: Server, box: Callable[..., Box], tmp_path: Path, status: int
) -> None:
    server.steps = [OFFER, OFFER, problem(status, "not_claimed_by_you")]
    one = box()
    claim = one.remote.claim_next()
    assert claim is not None
    one.remote.complete(claim)
    assert "the hub had ended it already" in one.ended[0].words
    assert memory(tmp_path) == []


def test_a_wrong_signature_is_rejected_and_not_worked_on(
    server: Server, box: Callable[..., Box], tmp_path: Path
) -> None:
    server.steps = [OFFER, OFFER, told("rejected")]
    one = box(secret=b"another")
    assert one.remote.claim_next() is None
    assert one.ended[0].words.startswith("bad_hmac")
    assert memory(tmp_path) == []


def test_a_silent_hub_is_told_once_and_its_return_too(
    server: Server, box: Callable[..., Box], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("handoffd.agent.remote.SILENCE_S", 0.0)
    server.steps = [None, None, problem(503, "unavailable"), NOTHING]
    one = box()
    for _ in range(4):
        assert one.remote.claim_next() is None
    assert ["trying again" in words for words in one.warned] == [True, False]
    assert "answers again" in one.warned[1]


def test_an_end_that_could_not_be_told_stays_for_the_next_start(
    server: Server, box: Callable[..., Box], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("handoffd.agent.remote.PATIENCE_S", 0.0)
    server.steps = [OFFER, OFFER, None, None]
    one = box()
    claim = one.remote.claim_next()
    assert claim is not None
    one.remote.complete(claim)
    assert "the hub does not know yet" in one.warned[0]
    assert memory(tmp_path) == [T]
    assert one.ended == []
    assert transfer_id(DATA) == T
