"""What an HTTP client sees of a running daemon (docs/http-api.md): agents with a token, operators without."""

import json
import re
import socket
import threading
from pathlib import Path

import pytest
from tests.spec.daemon.rig import Answer, Pair, payload, tid_of, until


def problem(answer: Answer) -> tuple[int, str]:
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert {"type", "title", "status", "detail"} <= answer.body.keys()
    return answer.status, answer.body["reason"]


def test_an_existing_client_posts_a_payload_and_reads_id_and_status(calm_pair: Pair) -> None:
    data, token = payload("carol", "alice"), calm_pair.alice.token("carol")
    answer = calm_pair.alice.post("start", data, token=token)
    assert (answer.status, answer.body["status"]) == (201, "pending")
    assert answer.body["handoff_id"] == json.loads(data)["handoff_id"]
    calm_pair.alice.archive(calm_pair.alice.claim(tid_of(data)))
    calm_pair.alice.ended(tid_of(data))
    again = calm_pair.alice.post("start", data, token=token)
    assert again.body["record"]["state"] == "completed"


def test_a_post_for_an_agent_of_another_host_is_carried_there(calm_pair: Pair) -> None:
    data = payload("alice", "bob")
    answer = calm_pair.alice.post("start", data)
    assert answer.body["status"] == "pending", answer
    calm_pair.bob.archive(calm_pair.bob.claim(tid_of(data)))
    for host in calm_pair.hosts:
        assert host.ended(tid_of(data))["reason"] == "completed"
    read = calm_pair.alice.ask("GET", f"/api/v1/handoffs/{tid_of(data)}")
    assert read.body["status"] == "completed"


def test_a_post_for_an_agent_that_nobody_is_home_to_is_told_421(calm_pair: Pair) -> None:
    assert problem(calm_pair.alice.post("start", payload("alice", "nobody"))) == (421, "not_here")


def test_a_post_without_a_token_or_with_a_wrong_one_is_told_401(calm_pair: Pair) -> None:
    for token in (None, "nobody's"):
        answer = calm_pair.alice.post("start", payload("alice", "bob"), token=token)
        assert problem(answer) == (401, "unauthorized")
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")


def test_a_token_sends_for_its_own_agent_alone(calm_pair: Pair) -> None:
    assert problem(calm_pair.alice.post("start", payload("bob", "alice"))) == (403, "forbidden")


def test_a_token_polls_for_its_own_agent_alone(calm_pair: Pair) -> None:
    assert problem(calm_pair.alice.ask("GET", "/api/v1/handoffs/poll?agent=bob")) == (403, "forbidden")
    assert calm_pair.bob.ask("GET", "/api/v1/handoffs/poll?agent=bob").status == 204


def test_an_agent_s_token_cannot_speak_for_a_daemon(calm_pair: Pair) -> None:
    assert problem(calm_pair.alice.ask("GET", "/api/v1/hello")) == (403, "forbidden")


def test_another_agent_s_handoff_looks_like_one_that_is_not_there(calm_pair: Pair) -> None:
    tid = calm_pair.bob.hand_over("alice")
    calm_pair.alice.published(tid)
    peer_token = (calm_pair.bob.directory / "peers" / "alice-vm.out").read_text().strip()
    assert problem(calm_pair.alice.post("f" * 64 + "/accept")) == (404, "not_found")
    assert problem(calm_pair.bob.post(f"{tid}/accept")) == (404, "not_found")  # bob is its sender, and not at its home
    assert problem(calm_pair.alice.post(f"{tid}/accept", token=peer_token)) == (403, "forbidden")
    calm_pair.alice.archive(calm_pair.alice.claim(tid))


def test_both_parties_read_where_a_handoff_stands(calm_pair: Pair) -> None:
    tid = calm_pair.bob.hand_over("alice")
    calm_pair.alice.published(tid)
    for host in calm_pair.hosts:
        answer = until(
            f"{host.agent} sees it", lambda host=host: _published(host.ask("GET", f"/api/v1/handoffs/{tid}"))
        )
        assert answer.body["record"]["from"] == "bob"
    calm_pair.alice.archive(calm_pair.alice.claim(tid))


def _published(answer: Answer) -> Answer | None:
    return answer if answer.status == 200 and answer.body["state"] == "published" else None


def test_a_waiting_poll_is_woken_by_what_arrives(calm_pair: Pair) -> None:
    """An answer without a handoff, 204, is what its own end would bring."""
    answers: list[Answer] = []
    waiting = threading.Thread(
        target=lambda: answers.append(calm_pair.alice.ask("GET", "/api/v1/handoffs/poll?agent=alice&wait=25"))
    )
    waiting.start()
    data = payload("bob", "alice")
    tid = calm_pair.bob.write(data)
    waiting.join()
    assert answers[0].data == data
    assert answers[0].headers["Handoffd-Tid"] == tid
    assert answers[0].headers["Handoffd-Handoff-Id"] == json.loads(data)["handoff_id"]
    calm_pair.alice.archive(calm_pair.alice.claim(tid))


def test_a_claim_over_http_wins_once_and_its_retry_gets_the_same_bytes(calm_pair: Pair) -> None:
    data = payload("bob", "alice")
    tid = calm_pair.bob.write(data)
    calm_pair.alice.published(tid)
    first = calm_pair.alice.post(f"{tid}/accept", b'{"nonce": "mine"}')
    again = calm_pair.alice.post(f"{tid}/accept", b'{"nonce": "mine"}')
    assert (first.status, first.data) == (again.status, again.data) == (200, data)
    assert problem(calm_pair.alice.post(f"{tid}/accept", b'{"nonce": "other"}')) == (409, "already_claimed")
    assert problem(calm_pair.alice.post(f"{tid}/accept")) == (409, "already_claimed")
    calm_pair.bob.told("claimed", tid=tid)
    assert calm_pair.alice.post(f"{tid}/complete").body["status"] == "completed"
    assert calm_pair.bob.ended(tid)["reason"] == "completed"


def test_a_claim_over_http_may_be_named_by_handoff_id_and_without_a_nonce_says_so(calm_pair: Pair) -> None:
    data = payload("bob", "alice")
    tid, handoff_id = calm_pair.bob.write(data), json.loads(data)["handoff_id"]
    calm_pair.alice.published(tid)
    answer = calm_pair.alice.post(f"{handoff_id}/accept")
    assert (answer.status, answer.headers["Handoffd-Safe-To-Retry"]) == (200, "no")
    assert calm_pair.alice.post(f"{handoff_id}/complete").status == 200
    assert calm_pair.bob.ended(tid)["reason"] == "completed"


def test_a_file_listener_loses_to_a_claim_over_http_with_enoent(calm_pair: Pair) -> None:
    tid = calm_pair.bob.hand_over("alice")
    name = calm_pair.alice.published(tid)
    assert calm_pair.alice.post(f"{tid}/accept").status == 200
    with pytest.raises(FileNotFoundError):
        Path(calm_pair.alice.root / "handoff" / name).rename(calm_pair.alice.root / "claimed" / name)
    assert calm_pair.alice.post(f"{tid}/reject", b'{"reason": "no time"}').body["reason"] == "rejected_by_agent"
    assert calm_pair.bob.ended(tid)["detail"] == "no time"


def test_a_final_artefact_sent_with_complete_comes_home(calm_pair: Pair) -> None:
    data = payload("bob", "alice")
    tid = calm_pair.bob.write(data)
    calm_pair.alice.published(tid)
    final = json.dumps({**json.loads(data), "transcript": [{"role": "system", "text": "all of it"}]}).encode()
    calm_pair.alice.post(f"{tid}/accept", b'{"nonce": "mine"}')
    assert calm_pair.alice.post(f"{tid}/complete", final).status == 200
    assert calm_pair.alice.post(f"{tid}/complete", final).status == 200
    name = calm_pair.bob.ended(tid)["artefact"]["name"]
    until("the artefact is here", lambda: f"{name}.original" in calm_pair.bob.names("archive"))
    assert calm_pair.bob.read("archive", name) == final
    for host in calm_pair.hosts:
        assert host.ask("GET", f"/api/v1/handoffs/{tid}/artefact").data == final


def test_a_body_over_the_limit_is_413_and_a_broken_one_422(calm_pair: Pair) -> None:
    large = payload("alice", "alice", context_summary="x" * (1 << 20))
    assert problem(calm_pair.alice.post("start", large)) == (413, "too_large")
    assert problem(calm_pair.alice.post("start", b"{")) == (422, "refused_policy")


def test_operators_read_health_metrics_and_the_interface_on_loopback(calm_pair: Pair) -> None:
    calm_pair.deliver()
    for path in ("/healthz", "/readyz"):
        assert calm_pair.alice.ask("GET", path, token=None).status == 200
    metrics = calm_pair.alice.ask("GET", "/metrics", token=None).data.decode()
    assert 'handoffd_build_info{version="' in metrics
    interface = calm_pair.alice.ask("GET", "/openapi.json", token=None).body
    assert "/api/v1/handoffs/start" in interface["paths"]


def test_a_burst_of_one_token_is_slowed_with_429(calm_pair: Pair) -> None:
    """All at once over one connection: a client that waits for each answer may be too slow for the limit."""
    head = f"GET /api/v1/handoffs/{'0' * 64} HTTP/1.1\r\nHost: hub\r\n"
    head += f"Authorization: Bearer {calm_pair.alice.token('carol')}\r\n"
    burst = f"{head}\r\n" * 399 + f"{head}Connection: close\r\n\r\n"
    with socket.create_connection(("127.0.0.1", calm_pair.alice.local_port), timeout=60) as client:
        writer = threading.Thread(target=client.sendall, args=(burst.encode(),))
        writer.start()
        told = b"".join(iter(lambda: client.recv(65536), b""))
        writer.join()
    _, *slowed = told.split(b"HTTP/1.1 429 ")
    assert slowed
    assert int(re.findall(rb"Retry-After: (\d+)\r\n", slowed[0])[0]) >= 1


def test_what_is_no_http_gets_an_answer_and_no_traceback(calm_pair: Pair) -> None:
    with socket.create_connection(("127.0.0.1", calm_pair.alice.local_port), timeout=10) as stranger:
        stranger.sendall(b"\x16\x03\x01 hello?\r\n\r\n")
        assert b" 400 " in stranger.recv(1000)
    with socket.create_connection(("127.0.0.1", calm_pair.alice.tls_port), timeout=10) as stranger:
        stranger.sendall(b"GET / HTTP/1.0\r\n\r\n")
        until("it hung up", lambda: not _received(stranger))
    calm_pair.deliver()


def _received(stranger: socket.socket) -> bytes:
    try:
        return stranger.recv(1000)
    except ConnectionResetError:
        return b""
