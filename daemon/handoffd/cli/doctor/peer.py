"""Each peer, asked by this command itself with this host's token: does it answer, is it the right one, is its clock?

It owns the words for what a connection that fails means. The rule that must stay true: the question is the link's own
(/hello), judged by the link's own code, so that doctor and daemon cannot disagree on what is wrong.
"""

import asyncio
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from handoffd import __version__, identity
from handoffd.cli.doctor.finding import Finding, failure, fine, unchecked, warning
from handoffd.cli.doctor.patient import Patient
from handoffd.clock import SystemClock
from handoffd.config import Config, PeerConfig
from handoffd.link.client import PeerClient
from handoffd.link.probe import ask_hello
from handoffd.link.trouble import Trouble
from handoffd.link.wire import Greeting, read_time
from handoffd.protocol.name import AgentName, HostName
from handoffd.protocol.offset import ClockOffset
from handoffd.protocol.timing import CONNECT_S
from handoffd.status.concern import CLOCK_OFFSET_S
from handoffd.view.words import offset_words, printable

MORE_HELLOS = 2
"""The first one pays for the connection; of the others the quickest speaks for the clock."""
UNEASY_OFFSET_S = 0.5


@dataclass(frozen=True, slots=True)
class Met:
    """What asking one peer brought: its greeting and clock, or the trouble."""

    found: Greeting | Trouble
    offset_ms: int | None
    round_trip_ms: float | None


def peers(patient: Patient) -> Iterator[Finding]:
    """Ask every peer that this host can reach, all at once."""
    config = patient.config
    if config is None:
        return
    if not config.peers:
        yield unchecked("links", "no peer is configured")
        return
    links = patient.links
    asked = [peer for peer in config.peers.values() if peer.url]
    met = asyncio.run(_meet_all(config, asked))
    for peer, one in zip(asked, met, strict=True):
        yield from _told(peer, one)
        if isinstance(one.found, Greeting) and patient.runs:
            yield from _link(peer.name, links.get(peer.name))
    for peer in config.peers.values():
        if not peer.url:
            yield from _caller(peer.name, links.get(peer.name), running=patient.runs)


async def _meet_all(config: Config, asked: list[PeerConfig]) -> list[Met]:
    return list(await asyncio.gather(*(_meet(config, peer) for peer in asked)))


async def _meet(config: Config, peer: PeerConfig) -> Met:
    context = identity.client_context(peer.pinned_pem) if peer.pinned_pem else None
    client = PeerClient(peer.url, context, peer.token.decode("ascii"), HostName(config.host), __version__)
    local, clock, offset = frozenset(map(AgentName, config.agents)), SystemClock(), ClockOffset()

    async def ask() -> Greeting | Trouble:
        found, reply, _ = await ask_hello(client, local, __version__, peer.fingerprints)
        if reply is not None and (told_s := read_time(reply.body)) is not None:
            offset.note(told_s, clock.wall(), reply.round_trip_s)
        return found

    try:
        found = await ask()
        for _ in range(MORE_HELLOS):
            found = await ask() if isinstance(found, Greeting) else found
        why = await _why(found, peer.url) if isinstance(found, Trouble) else found
        return Met(why, offset.offset_ms(), offset.round_trip_ms())
    finally:
        await client.close()


async def _why(found: Trouble, url: str) -> Trouble:
    """Say of an unreachable peer what the operating system says: whether anything answers, and where."""
    if found.word != "unreachable":
        return found
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    try:
        async with asyncio.timeout(CONNECT_S):
            _, writer = await asyncio.open_connection(host, port)
        writer.transport.abort()
    except ConnectionRefusedError:
        remedy = f"start handoffd there; if it runs, it listens elsewhere: port {port}, and an address beyond 127.0.0.1"
        return Trouble("peer_down", f"{url}: nothing listens there", remedy)
    except socket.gaierror as error:
        remedy = f"correct `url`, or make the name known (getent hosts {host})"
        return Trouble("unknown_name", f"{url}: {host}: {error.strerror}", remedy)
    except (TimeoutError, OSError) as error:
        why = getattr(error, "strerror", None) or "no answer to the connection attempt"
        remedy = f"open TCP {port} in the firewalls of both hosts and between; is {host} switched on?"
        return Trouble("blocked_port", f"{url}: {why}", remedy)
    remedy = "see the peer's log, and restart its daemon if it hangs; else what is it that listens there?"
    return Trouble("no_answer", f"{url}: the connection is taken, and nothing is said", remedy)


def _told(peer: PeerConfig, met: Met) -> Iterator[Finding]:
    if isinstance(met.found, Trouble):
        yield failure(met.found.word, f"{peer.name}: {printable(met.found.detail)}", met.found.remedy)
    else:
        homes = ", ".join(sorted(met.found.homes)) or "none"
        words = f"{peer.name} answers, handoffd {printable(met.found.version)}, agents {homes}"
        yield fine("peer", words if met.round_trip_ms is None else f"{words}, round trip {met.round_trip_ms} ms")
        yield from _strangers(peer, met.found)
    if met.offset_ms is not None:
        yield from _clock(peer.name, met.offset_ms)


def _strangers(peer: PeerConfig, greeting: Greeting) -> Iterator[Finding]:
    missing = sorted(set(peer.agents) - greeting.homes - {"*"})
    if missing:
        message = f"{peer.name} is not home to {', '.join(missing)}, as this configuration says"
        remedy = (
            f"correct `agents` of {peer.name} here, or `agents` there; until then handoffs to them end as unroutable"
        )
        yield failure("nobody_home", message, remedy)


def _clock(name: str, offset_ms: int) -> Iterator[Finding]:
    if abs(offset_ms) < UNEASY_OFFSET_S * 1000:
        yield fine("clock", offset_words(name, offset_ms))
        return
    remedy = "set both hosts by NTP: timedatectl set-ntp true, then timedatectl timesync-status"
    tell = failure if abs(offset_ms) > CLOCK_OFFSET_S * 1000 else warning
    yield tell("clock_offset", f"{offset_words(name, offset_ms)}, so handoffs expire too early or too late", remedy)


def _link(name: str, link: dict[str, Any] | None) -> Iterator[Finding]:
    """The peer answers this command; does the running daemon think so too?"""
    if link is None:
        message = f"{name} answers, but the running daemon knows no such peer"
        yield failure("link_trouble", message, "systemctl reload handoffd")
    elif link.get("error"):
        error = link["error"]
        message = f"{name} answers, but the daemon says {printable(error['word'])}: {printable(error['detail'])}"
        remedy = f"systemctl reload handoffd if the configuration was changed; else {printable(error['remedy'])}"
        yield failure("link_trouble", message, remedy)
    elif link.get("state") != "up":
        message = f"{name} answers, but the daemon's link is {printable(link.get('state'))}"
        yield failure("link_trouble", message, "wait a minute, then see handoffd events")


def _caller(name: str, link: dict[str, Any] | None, *, running: bool) -> Iterator[Finding]:
    """A peer that dials in can only be waited for."""
    if not running or link is None:
        yield unchecked(f"link to {name}", f"{name} dials in; run handoffd doctor there")
    elif link.get("state") == "up":
        yield fine("peer", f"{name} dials in, and has done so")
        if link.get("clock_offset_ms") is not None:
            yield from _clock(name, link["clock_offset_ms"])
    else:
        yield failure("peer_down", f"{name} dials in, and has not of late", f"run handoffd doctor on {name}")
