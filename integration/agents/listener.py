#!/usr/bin/env python3
"""An agent that takes callers over: it claims the files addressed to it, talks, and files them away.

Owns claiming by `os.rename` and the two ways a handoff ends. Does not know where the file came from. Standard library
only. The rule that must stay true: whoever's rename succeeded works on the handoff, and nobody else.

    listener.py --root /srv/voice-shared --agent alice --secret-file pair.key --ledger alice.jsonl
"""

import argparse
import json
import os
import signal
import threading
from datetime import UTC, datetime
from pathlib import Path

from contract import Payload, digest, make_places, note, replace_into, timestamp, validate

LOOK_EVERY_S = 0.02
UNWANTED = "unwanted"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Claim and finish the handoffs addressed to one agent.")
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--agent", required=True)
    parser.add_argument("--secret-file", type=Path, required=True)
    parser.add_argument("--ledger", type=Path, required=True, help="JSON lines: what this agent did")
    parser.add_argument("--talk", type=float, default=0.0, help="seconds between the claim and the end")
    parser.add_argument("--ending", choices=("append", "move", "none"), default="append", help="how it is filed away")
    parser.add_argument("--greedy", action="store_true", help="look without a pause, to win races")
    return parser.parse_args()


class Listener:
    """One agent's loop over `handoff/`; `stop` ends it between two handoffs."""

    def __init__(self, options: argparse.Namespace, stop: threading.Event) -> None:
        self.options, self.stop = options, stop
        self.root: Path = options.root
        self.secret: bytes = options.secret_file.read_bytes().strip()

    def run(self) -> None:
        note(self.options.ledger, self.options.agent, "listening", pid=os.getpid())
        while not self.stop.is_set():
            for name in sorted(os.listdir(self.root / "handoff")):
                if name.endswith(".json") and not name.startswith("."):
                    self.look_at(name)
            self.stop.wait(0 if self.options.greedy else LOOK_EVERY_S)

    def look_at(self, name: str) -> None:
        try:
            payload: Payload = json.loads((self.root / "handoff" / name).read_bytes())
        except FileNotFoundError:
            return
        if payload["to_agent"] != self.options.agent:
            return
        refusal = validate(payload, self.secret, datetime.now(UTC))
        if refusal != "expired" and self.claim(name):
            self.finish(name, refusal)

    def claim(self, name: str) -> bool:
        try:
            os.rename(self.root / "handoff" / name, self.root / "claimed" / name)
        except FileNotFoundError:
            note(self.options.ledger, self.options.agent, "lost", file=name, error="ENOENT")
            return False
        content = (self.root / "claimed" / name).read_bytes()
        payload = json.loads(content)
        note(
            self.options.ledger,
            self.options.agent,
            "claimed",
            file=name,
            sha256=digest(content),
            handoff_id=payload["handoff_id"],
            pid=os.getpid(),
        )
        return True

    def finish(self, name: str, refusal: str | None) -> None:
        self.stop.wait(self.options.talk)
        if self.options.ending == "none":
            return
        payload: Payload = json.loads((self.root / "claimed" / name).read_bytes())
        reason = refusal or ("not_my_department" if payload["reason"] == UNWANTED else None)
        if reason:
            self.reject(name, payload, reason)
        else:
            self.archive(name, payload)

    def reject(self, name: str, payload: Payload, reason: str) -> None:
        payload["rejection_reason"] = reason
        replace_into(self.root / "rejected", name, json.dumps(payload).encode())
        os.unlink(self.root / "claimed" / name)
        note(self.options.ledger, self.options.agent, "rejected", file=name, reason=reason)

    def archive(self, name: str, payload: Payload) -> None:
        now = datetime.now(UTC)
        final = f"{int(now.timestamp())}-{payload['from_agent']}-{payload['to_agent']}-{payload['handoff_id']}.json"
        if self.options.ending == "move":
            os.rename(self.root / "claimed" / name, self.root / "archive" / final)
        else:
            payload["transcript"].append({"role": "assistant", "text": "Thank you, goodbye.", "ts": timestamp(now)})
            replace_into(self.root / "archive", final, json.dumps(payload, indent=1).encode())
            os.unlink(self.root / "claimed" / name)
        content = (self.root / "archive" / final).read_bytes()
        note(self.options.ledger, self.options.agent, "archived", file=final, sha256=digest(content))


def main() -> None:
    options = arguments()
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    make_places(options.root)
    Listener(options, stop).run()


if __name__ == "__main__":
    main()
