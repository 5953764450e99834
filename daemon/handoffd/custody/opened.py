"""The handoffs that have not ended, as plain values to be counted: from the engine's memory, or from the directories.

It decides nothing and moves nothing. Canaries are nobody's handoffs and are left out. The rule that must stay true:
both sources tell the same of the same handoff, except that memory knows what the peer said of one in sent/, and the
directories do not.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from handoffd.custody.entry import Entry
from handoffd.custody.ledger import Ledger, Receipt, Sending
from handoffd.custody.place import Role
from handoffd.protocol.moment import parse_moment
from handoffd.protocol.name import CANARY_AGENT


class Open(NamedTuple):
    """An open handoff. `state`: custody's word, or the place of a file that is not in custody (place.py, LEGAL).

    `since`: POSIX seconds from which on this host has had it.
    """

    role: Role
    state: str
    tid: str
    peer: str | None
    to: str | None
    since: float
    expires_at: float | None


def in_memory(ledger: Ledger) -> Iterator[Open]:
    """Return what the engine has in hand; safe from any thread."""
    sendings = [one for one in list(ledger.sendings.values()) if not one.facts.is_canary]
    receipts = [one for one in list(ledger.receipts.values()) if not one.facts.is_canary]
    both = {receipt.tid for receipt in receipts} & {sending.tid for sending in sendings}
    for sending in sendings:
        if sending.outcome is None:
            yield _sending(sending, Role.RELAY if sending.tid in both else Role.SENDER)
    for receipt in receipts:
        if receipt.tid not in both:
            yield _receipt(receipt)


def _sending(one: Sending, role: Role) -> Open:
    facts = one.facts
    return Open(role, one.state.value, one.tid, one.peer, facts.to, one.since_ns / 1e9, facts.expires_at or None)


def _receipt(one: Receipt) -> Open:
    facts = one.facts
    since = one.published_ns / 1e9 if one.published_ns else parse_moment(one.edges["stored"])
    return Open(Role.RECEIVER, one.state.value, one.tid, one.peer, facts.to, since, facts.expires_at or None)


def on_disk(entries: Iterable[Entry | None]) -> Iterator[Open]:
    """Return what the files tell of the same."""
    for one in entries:
        if one is not None and not one.ended and one.to != CANARY_AGENT:
            yield Open(one.role, one.word, one.tid, one.onward or one.peer, one.to, one.since, one.expires_at)
