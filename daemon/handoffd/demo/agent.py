"""An agent of the demonstration: a program that knows four directories and a signed file, and of no daemon.

It owns writing, claiming and filing away, as agents do that existed before handoffd: no flush, plain renames. Standard
library only, and nothing of handoffd; it is run as a script. One JSON object a line on standard input says what to do,
one a line on standard output what was done. The rule that must stay true: only a rename that succeeded is a claim.
"""

import argparse
import base64
import errno
import hashlib
import hmac
import json
import os
import select
import sys
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

PLACES = ("handoff", "claimed", "archive", "rejected")
LOOK_EVERY_MS = 2

Payload = dict[str, Any]


def moment(at: datetime) -> str:
    """Return a time as it stands in payloads: ISO 8601, UTC, `Z`."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def digest(content: bytes) -> str:
    """Return the SHA-256 in hex."""
    return hashlib.sha256(content).hexdigest()


class Agent:
    """One agent and the directory it shares with others."""

    def __init__(self, root: Path, name: str, secret: bytes) -> None:
        self.root, self.name, self.secret = root, name, secret
        for place in PLACES:
            (root / place).mkdir(exist_ok=True)

    # ------------------------------------------------------------ the one who hands over

    def hand_over(self, to: str, caller: str, reason: str, transcript: list[Payload], lifetime_s: float) -> Payload:
        """Write a signed handoff."""
        now = datetime.now(UTC)
        caller_hash = digest(caller.encode())[:16]
        payload: Payload = {
            "protocol_version": 1,
            "handoff_id": f"{int(now.timestamp())}-{self.name}-{to}-{caller_hash}",
            "caller_hash": caller_hash,
            "from_agent": self.name,
            "to_agent": to,
            "reason": reason,
            "initiated_at": moment(now),
            "expires_at": moment(now + timedelta(seconds=lifetime_s)),
            "transcript": transcript,
        }
        content = json.dumps(payload | {"hmac": self.signature(payload)}).encode()
        seq = len(list((self.root / "handoff").glob(f"{caller_hash}-*.json")))
        file = f"{caller_hash}-{seq}.json"
        told = {"file": file, "sha256": digest(content), "bytes": len(content)}
        return self.put("handoff", file, content) | told | {key: payload[key] for key in ("handoff_id", "expires_at")}

    def signature(self, payload: Payload) -> str:
        """Return the base64 HMAC-SHA256 over the canonical JSON of all fields but `hmac`."""
        signed = {key: value for key, value in payload.items() if key != "hmac"}
        canonical = json.dumps(signed, sort_keys=True, separators=(",", ":"))
        return base64.b64encode(hmac.new(self.secret, canonical.encode(), hashlib.sha256).digest()).decode()

    def put(self, place: str, name: str, content: bytes) -> Payload:
        """Write beside the place, then move there; tell when it was visible."""
        temporary = self.root / place / f".{name}.tmp"
        temporary.write_bytes(content)
        at = time.monotonic()
        os.replace(temporary, self.root / place / name)
        return {"at": at}

    # ------------------------------------------------------------ the one who takes over

    def see(self) -> Payload:
        """Wait until something for this agent lies in handoff/; end if nobody is there any more to be told."""
        orders = select.poll()
        orders.register(sys.stdin, 0)  # POLLHUP is always told
        while not orders.poll(LOOK_EVERY_MS):
            for path in sorted((self.root / "handoff").glob("[!.]*.json")):
                with suppress(FileNotFoundError):  # somebody else has claimed it meanwhile
                    content = path.read_bytes()
                    if json.loads(content)["to_agent"] == self.name:
                        return {"file": path.name, "sha256": digest(content)}
        sys.exit()

    def claim(self, file: str) -> Payload:
        """Claim by rename, and say so if somebody else was first."""
        try:
            os.rename(self.root / "handoff" / file, self.root / "claimed" / file)
        except FileNotFoundError as error:
            return {"lost": errno.errorcode[error.errno or 0], "file": file}
        at = time.monotonic()
        content = (self.root / "claimed" / file).read_bytes()
        payload = json.loads(content)
        is_good = hmac.compare_digest(payload["hmac"], self.signature(payload))
        return {"at": at, "file": file, "sha256": digest(content), "signature": "good" if is_good else "bad"}

    def take(self) -> Payload:
        """Wait for something for this agent, and claim it at once."""
        return self.claim(self.see()["file"])

    def file_away(self, file: str, text: str) -> Payload:
        """Append what was said to the transcript and move the call to archive/; its bytes are others now."""
        payload = json.loads((self.root / "claimed" / file).read_bytes())
        payload["transcript"].append({"role": "assistant", "text": text, "ts": moment(datetime.now(UTC))})
        content = json.dumps(payload, indent=1).encode()
        name = f"{int(time.time())}-{payload['from_agent']}-{payload['to_agent']}-{payload['handoff_id']}.json"
        told = self.put("archive", name, content)
        os.unlink(self.root / "claimed" / file)
        return told | {"file": name, "sha256": digest(content), "turns": len(payload["transcript"])}


def main() -> None:
    """Do what standard input says, line by line, until it ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--name", required=True)
    parser.add_argument("--secret-file", type=Path, required=True)
    options = parser.parse_args()
    agent = Agent(options.root, options.name, options.secret_file.read_bytes().strip())
    for line in sys.stdin:
        order = json.loads(line)
        did = order.pop("do")
        told = getattr(agent, did)(**order)
        print(json.dumps({"at": time.monotonic(), "what": did, **told}), flush=True)


if __name__ == "__main__":
    main()
