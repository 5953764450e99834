"""The round trip: a canary handoff to each peer and back, and when it came by where (docs/custody.md section 18).

It makes the canary, signs it with a key that it forgets, and reads the end. The rule that must stay true: `completed`
is said only of a canary whose outcome came home with the peer's word for it.
"""

import secrets
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any
from urllib.parse import quote

from handoffd.agent.draft import Draft, compose
from handoffd.cli.doctor.finding import Finding, failure, fine, unchecked
from handoffd.cli.doctor.patient import Patient
from handoffd.cli.failure import ExitCode, Failure
from handoffd.cli.operator import ask
from handoffd.cli.root import wall_s
from handoffd.protocol.moment import parse_moment
from handoffd.protocol.name import CANARY_AGENT
from handoffd.protocol.reason import State
from handoffd.view.words import printable

TTL_S = 15.0
"""A healthy link needs some 20 ms; an operator's patience ends about here."""
PATIENCE_S = 60.0
"""Above the daemon's own wait for the end (hub.operation)."""
AT_ONCE = 8
HOPS = ("taken", "posted", "stored", "claimed", "completed", "home")


def round_trips(patient: Patient) -> Iterator[Finding]:
    """Send a canary to each peer whose link is up."""
    if not patient.runs:
        if patient.config is not None and patient.config.peers:
            yield unchecked("round trip", "the daemon must run: handoffd run, or systemctl start handoffd")
        return
    up = [name for name, link in patient.links.items() if link.get("state") == "up"]
    for name in patient.links:
        if name not in up:
            yield unchecked("round trip", f"not to {name}: its link is not up")
    if up:
        with ThreadPoolExecutor(min(AT_ONCE, len(up))) as pool:
            yield from pool.map(partial(_round_trip, patient), up)


def _round_trip(patient: Patient, peer: str) -> Finding:
    assert patient.root is not None
    draft = Draft(to=CANARY_AGENT, reason="doctor", ttl_s=TTL_S)
    data, _ = compose(draft, CANARY_AGENT, secrets.token_bytes(32), wall_s())
    try:
        told = ask(patient.root, "POST", f"/operator/canary?peer={quote(peer)}", data=data, patience_s=PATIENCE_S)
    except Failure as error:
        if error.code is ExitCode.TRY_AGAIN:
            return unchecked("round trip", f"not to {peer}: another doctor's canary is on its way; try again")
        return failure(
            "round_trip",
            f"no canary could be sent to {peer}: {printable(error)}",
            "see the daemon's log; an older daemon wants a restart",
        )
    record = told["record"]
    if told["state"] != State.COMPLETED:
        return _lost(peer, record)
    hops = _hops(told["at"], record)
    words = ", ".join(f"{hop} +{ms}" for hop, ms in hops.items())
    offset_ms = record.get("clock_offset_ms")
    clock = "clock not measured" if offset_ms is None else f"clock {offset_ms:+d} ms"
    found = fine("round trip", f"{peer} in {hops['home']} ms: {words} ({clock})")
    facts = {"peer": peer, "tid": told["tid"], "ms": hops, "clock_offset_ms": offset_ms}
    return replace(found, facts=facts)


def _hops(here: Mapping[str, str | None], record: Mapping[str, Any]) -> dict[str, int]:
    """Return milliseconds since it was asked for, by this host's clock; the offset is taken off the peer's own times.

    Those are good to the milliseconds in which they are told, and to half a round trip.
    """
    offset_s = (record.get("clock_offset_ms") or 0) / 1000
    times = {hop: parse_moment(text) for hop, text in here.items() if text}
    times |= {hop: parse_moment(text) - offset_s for hop, text in record["edges"].items() if hop in HOPS}
    began = times["asked"]
    return {hop: round((times[hop] - began) * 1000) for hop in HOPS if hop in times}


def _lost(peer: str, record: Mapping[str, Any]) -> Finding:
    detail, reason = printable(record.get("detail") or record["state"]), record.get("reason")
    if reason in ("refused_policy", "unroutable"):
        return failure(
            "round_trip",
            f"{peer} refused the canary: {detail}",
            f"update handoffd on {peer}: it does not know canaries",
        )
    if reason == "expired":
        return failure(
            "round_trip",
            f"the canary did not reach {peer} within {TTL_S:g} s: {detail}",
            f"compare the clocks, and see the log of {peer}",
        )
    message = f"the canary went to {peer}, and no word of it came back within {TTL_S:g} s ({detail})"
    return failure("round_trip", message, f"see the log of {peer}, and run handoffd doctor there")
