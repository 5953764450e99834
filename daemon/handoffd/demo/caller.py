"""An agent of the demonstration that has no directory: it claims over HTTP, with a bearer token.

It owns three calls: poll, accept, complete. Standard library only, and nothing of handoffd; it is run as a script, and
told what to do as agent.py is. The rule that must stay true: only a 200 to `accept` is a claim.
"""

import argparse
import hashlib
import http.client
import json
import sys
import time
from email.message import Message
from pathlib import Path
from typing import Any

REQUEST_S = 10.0
POLL_S = 5
"""How long the daemon may keep a poll open; the answer comes with the handoff."""


class Caller:
    """One agent and the daemon of its host."""

    def __init__(self, name: str, port: int, token: str) -> None:
        self.name, self.port, self.token = name, port, token

    def see(self) -> dict[str, Any]:
        """Wait until the daemon shows something; seeing is not claiming."""
        while True:
            status, _, headers = self.ask("GET", f"poll?agent={self.name}&wait={POLL_S}")
            if status == http.HTTPStatus.OK:
                return {"tid": headers["Handoffd-Tid"]}
            if status != http.HTTPStatus.NO_CONTENT:
                sys.exit(f"poll was answered with {status}")

    def accept(self, tid: str) -> dict[str, Any]:
        """Ask for a handoff; the answer is its bytes, or why there are none."""
        # The nonce makes it safe to ask again for what was won already.
        nonce = json.dumps({"nonce": f"demo-{tid[:12]}"}).encode()
        status, content, _ = self.ask("POST", f"{tid}/accept", nonce)
        if status != http.HTTPStatus.OK:
            return {"lost": str(status), "reason": json.loads(content).get("reason")}
        return {"sha256": hashlib.sha256(content).hexdigest()}

    def complete(self, tid: str) -> dict[str, Any]:
        """Say that the work is done."""
        status, _, _ = self.ask("POST", f"{tid}/complete")
        return {"status": status}

    def ask(self, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes, Message]:
        """Return status, body and headers of one answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=REQUEST_S)
        try:
            connection.request(method, f"/api/v1/handoffs/{path}", body, {"Authorization": f"Bearer {self.token}"})
            answer = connection.getresponse()
            return answer.status, answer.read(), answer.headers
        finally:
            connection.close()


def main() -> None:
    """Do what standard input says, line by line, until it ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--token-file", type=Path, required=True)
    options = parser.parse_args()
    caller = Caller(options.name, options.port, options.token_file.read_text().strip())
    for line in sys.stdin:
        order = json.loads(line)
        did = order.pop("do")
        told = getattr(caller, did)(**order)
        print(json.dumps({"at": time.monotonic(), "what": did, **told}), flush=True)


if __name__ == "__main__":
    main()
