#!/usr/bin/env python3
"""An agent that hands a caller over: it writes signed files into `handoff/` and goes on with its life.

Owns the making of payloads. Does not know where the other agent lives. Standard library only.

    initiator.py --root /srv/voice-shared --from bob --to alice --secret-file pair.key --ledger bob.jsonl --caller Anna
"""

import argparse
import json
import signal
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from contract import Payload, digest, make_places, note, replace_into, signature, timestamp

DEFAULT_LIFETIME_S = 60.0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Hand callers over to another agent.")
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--from", dest="from_agent", required=True)
    parser.add_argument("--to", dest="to_agent", required=True)
    parser.add_argument("--secret-file", type=Path, required=True)
    parser.add_argument("--ledger", type=Path, required=True, help="JSON lines: what this agent did")
    parser.add_argument("--caller", required=True, help="who is calling")
    parser.add_argument("--callers", type=int, default=1, help="how many different people call, in turn")
    parser.add_argument("--reason", default="scheduling_capability")
    parser.add_argument("--handoff-id", help="instead of {unix}-{from}-{to}-{caller_hash}")
    parser.add_argument("--lifetime", type=float, default=DEFAULT_LIFETIME_S, help="seconds until expires_at")
    parser.add_argument("--short-lifetime", type=float, help="seconds, for one in --short-every")
    parser.add_argument("--short-every", type=int, default=0)
    parser.add_argument("--refused-every", type=int, default=0, help="one in N has the reason `unwanted`")
    parser.add_argument("--count", type=int, default=1)
    parser.add_argument("--pause", type=float, default=0.0, help="seconds between two handoffs")
    parser.add_argument("--filler-bytes", type=int, default=0, help="length of an extra transcript text")
    return parser.parse_args()


def caller_hash(caller: str) -> str:
    return digest(caller.encode())[:16]


def next_name(handoff: Path, caller: str) -> str:
    """Count from the names present in the local `handoff/` only, so the number starts again at 0 after every claim."""
    present = {path.name for path in handoff.glob(f"{caller}-*.json")}
    seq = 0
    while f"{caller}-{seq}.json" in present:
        seq += 1
    return f"{caller}-{seq}.json"


def every(number: int, step: int) -> bool:
    return step > 0 and number % step == step - 1


def payload(options: argparse.Namespace, caller: str, number: int, now: datetime) -> Payload:
    """Build one unsigned payload; the transcript carries the number, so no two are alike."""
    lifetime_s = options.short_lifetime if every(number, options.short_every) else options.lifetime
    transcript = [
        {"role": "user", "text": f"Call {number}: får jag prata med {options.to_agent}?", "ts": timestamp(now)},
        {"role": "assistant", "text": "One moment."},
    ]
    if options.filler_bytes:
        transcript.append({"role": "user", "text": "x" * options.filler_bytes})
    default_id = f"{int(now.timestamp())}-{options.from_agent}-{options.to_agent}-{caller}"
    return {
        "protocol_version": 1,
        "handoff_id": options.handoff_id or default_id,
        "caller_hash": caller,
        "from_agent": options.from_agent,
        "to_agent": options.to_agent,
        "reason": "unwanted" if every(number, options.refused_every) else options.reason,
        "initiated_at": timestamp(now),
        "expires_at": timestamp(now + timedelta(seconds=lifetime_s)),
        "transcript": transcript,
        "call_number": number,
        "confidence": 1.0,
    }


def hand_over(options: argparse.Namespace, secret: bytes, number: int) -> None:
    caller = caller_hash(f"{options.caller} {number % options.callers}")
    content = payload(options, caller, number, datetime.now(UTC))
    content["hmac"] = signature(content, secret)
    text = json.dumps(content).encode()
    handoff = options.root / "handoff"
    name = next_name(handoff, caller)
    fields = {key: content[key] for key in ("handoff_id", "from_agent", "to_agent", "expires_at", "reason", "hmac")}
    # Noted before it is written: the log may name a handoff that never was, but no handoff goes unnamed.
    note(options.ledger, options.from_agent, "written", file=name, sha256=digest(text), **fields)
    replace_into(handoff, name, text)
    print(json.dumps({"file": name, "sha256": digest(text), **fields}), flush=True)


def numbers(count: int, pause_s: float, stop: threading.Event) -> Iterator[int]:
    for number in range(count):
        if stop.is_set():
            return
        yield number
        stop.wait(pause_s)


def main() -> None:
    options = arguments()
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    make_places(options.root)
    secret = options.secret_file.read_bytes().strip()
    for number in numbers(options.count, options.pause, stop):
        hand_over(options, secret, number)


if __name__ == "__main__":
    main()
