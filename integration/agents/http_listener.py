#!/usr/bin/env python3
"""An agent without a shared directory: it asks over HTTP for the handoffs addressed to it.

Owns the three calls this agent makes: poll, accept, complete. Standard library only. The rule that must stay true: only
a 200 to `accept` is a claim; a 409 is a lost race.

    http_listener.py --hub http://127.0.0.1:8787 --agent alice --token-file alice.token --ledger alice-http.jsonl
"""

import argparse
import http.client
import json
import os
import signal
import threading
import uuid
from pathlib import Path
from urllib.parse import quote, urlsplit

from contract import digest, note

REQUEST_S = 10.0
POLL_S = 5
"""How long the hub may keep a poll open: the answer comes with the handoff."""
API = "/api/v1/handoffs"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Claim and finish handoffs over HTTP.")
    parser.add_argument("--hub", required=True)
    parser.add_argument("--agent", required=True)
    parser.add_argument("--token-file", type=Path, required=True)
    parser.add_argument("--ledger", type=Path, required=True)
    return parser.parse_args()


class Hub:
    """The hub as this agent sees it: one request, one answer, always with its bearer token."""

    def __init__(self, address: str, token: str) -> None:
        self.where, self.token = urlsplit(address), token

    def ask(self, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(self.where.hostname or "", self.where.port, timeout=REQUEST_S)
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()


def serve_one(hub: Hub, options: argparse.Namespace) -> None:
    """Take at most one handoff: see it, try to win it, end it."""
    status, content = hub.ask("GET", f"{API}/poll?agent={options.agent}&wait={POLL_S}")
    if status != 200:
        return
    label = quote(json.loads(content)["handoff_id"])
    status, won = hub.ask("POST", f"{API}/{label}/accept", json.dumps({"nonce": uuid.uuid4().hex}).encode())
    if status != 200:
        note(options.ledger, options.agent, "lost", status=status, handoff_id=label)
        return
    note(options.ledger, options.agent, "claimed", sha256=digest(won), handoff_id=label, pid=os.getpid())
    status, _ = hub.ask("POST", f"{API}/{label}/complete")
    note(options.ledger, options.agent, "completed", status=status, handoff_id=label)


def main() -> None:
    options = arguments()
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    hub = Hub(options.hub, options.token_file.read_text().strip())
    note(options.ledger, options.agent, "listening", pid=os.getpid())
    while not stop.is_set():
        serve_one(hub, options)


if __name__ == "__main__":
    main()
