"""The agents' commands against a hub: send, listen, wait, and the end of a claim.

It owns what each does there and prints; options are the commands' own. The rule that must stay true: exit codes and
JSON are those of the same command on a shared directory.
"""

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from handoffd.agent import AgentName, Draft, Ended, Inadmissible
from handoffd.agent.draft import compose
from handoffd.agent.hub import POLL_S, Hub, Unreachable
from handoffd.agent.listener import Listener, Work
from handoffd.agent.remote import Remote
from handoffd.agent.wake import Wake
from handoffd.cli.failure import ExitCode, Failure
from handoffd.cli.hub_side import PATIENCE_S, served
from handoffd.cli.picture import printable
from handoffd.protocol.moment import format_moment
from handoffd.protocol.payload import Envelope, route
from handoffd.protocol.reason import State, is_final

LOOK_S = 0.5
"""Between looks for an outcome; an agent's token may ask 20 times a second."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """Whether and how long to wait for the outcome of what was sent."""

    wanted: bool
    timeout_s: float


def send_over(hub: Hub, draft: Draft, pair: tuple[AgentName, bytes], waiting: Waiting, *, as_json: bool) -> ExitCode:
    """Hand in a signed handoff and print where it stands; `pair`: sender and secret. Raises Failure."""
    sender, secret = pair
    try:
        data, envelope = compose(draft, sender, secret, time.time())  # noqa: TID251
    except (Inadmissible, ValueError, OverflowError) as error:
        raise Failure(f"nothing was sent: {error}", ExitCode.USAGE) from None
    with served(hub):
        told = hub.start(data, envelope.tid, min(PATIENCE_S, draft.ttl_s))
        if waiting.wanted:
            told = _ended(hub, envelope, waiting.timeout_s) or told
    _print_sent(envelope, told, as_json=as_json, waited=waiting.wanted)
    if not waiting.wanted:
        return ExitCode.OK
    if not is_final(State(told["state"])):
        return ExitCode.TRY_AGAIN
    return ExitCode.OK if told["state"] == State.COMPLETED else ExitCode.FAILED


def _ended(hub: Hub, envelope: Envelope, timeout_s: float) -> dict[str, Any] | None:
    """Return the final answer, or the last one when the time is over; None if there was none."""
    until, told = time.monotonic() + timeout_s, None
    try:
        while True:
            told = hub.get(envelope.tid, max(0.0, until - time.monotonic()))
            if is_final(State(told["state"])) or time.monotonic() >= until:
                return told
            time.sleep(min(LOOK_S, max(0.0, until - time.monotonic())))
    except Unreachable:
        return told  # it is there, and goes on
    except KeyboardInterrupt:
        words = f"waits no longer; the handoff is at {hub.name} and goes on: {envelope.handoff_id}  {envelope.tid}"
        raise Failure(words, ExitCode.INTERRUPTED) from None


def _print_sent(envelope: Envelope, told: dict[str, Any], *, as_json: bool, waited: bool) -> None:
    record = told.get("record") or {}
    words = ": ".join(filter(None, (str(record.get("reason") or ""), str(record.get("detail") or ""))))
    if as_json:
        fields = {
            "handoff_id": envelope.handoff_id,
            "tid": envelope.tid,
            "from": envelope.sender,
            "to": envelope.to,
            "expires_at": envelope.expires_text,
            "state": told["state"],
        }
        print(json.dumps(fields | ({"detail": words} if words else {})))
        return
    print(f"{envelope.handoff_id}  {envelope.tid}")
    if waited and is_final(State(told["state"])):
        print(printable(f"{told['state']}  {words}".rstrip()))
    elif waited:
        print(f"no outcome yet: {told['state']}", file=sys.stderr)


def listen_over(
    hub: Hub,
    agent: AgentName,
    known: dict[str, bytes],
    work: Work,
    state: Path,
    told: Callable[[Ended], None],
    *,
    once: bool,
) -> bool | None:
    """Claim and work until stopped, or once; tell as `Listener.run` does. Raises Failure."""
    wake = Wake(hub.abort)
    with served(hub), wake.signals():
        remote = Remote(hub, agent, known, state, wake, told=told, warn=_warn)
        completed = Listener(remote, work, wake, once=once).run()
    wake.close()
    return completed


def _warn(words: str) -> None:
    print(f"handoffd: {printable(words)}", file=sys.stderr, flush=True)


def wait_over(hub: Hub, agent: AgentName, timeout_s: float | None, wake: Wake) -> dict[str, object] | None:
    """Return what can be claimed, None when the time is over or a signal came. Raises Failure."""
    wake.on_stop = hub.abort
    until = None if timeout_s is None else time.monotonic() + timeout_s
    with served(hub):
        while not wake.stopping:
            left_s = POLL_S if until is None else min(POLL_S, until - time.monotonic())
            try:
                seen = hub.poll(max(0.0, left_s), PATIENCE_S, agent)
            except Unreachable:
                if _is_stopped(wake):
                    return None
                raise
            if seen is not None:
                return _fields(seen.tid, seen.data)
            if until is not None and time.monotonic() >= until:
                return None
    return None


def _is_stopped(wake: Wake) -> bool:
    return wake.stopping  # a signal's doing, which no reader of the loop above can see


def _fields(tid: str, data: bytes) -> dict[str, object]:
    found = route(data)
    return {
        "handoff_id": found.handoff_id if found else None,
        "tid": tid,
        "from": found.sender if found else None,
        "expires_at": format_moment(found.expires_at) if found and found.expires_at is not None else None,
    }
