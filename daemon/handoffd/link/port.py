"""The narrow view the link has of custody: some engine methods, reached through the desk of the one custody thread.

It owns no behaviour. The rule that must stay true: the link reads and decides nothing about a handoff that is not in
these answers.
"""

from collections.abc import Callable
from concurrent.futures import Future
from typing import Protocol, TypeVar

from handoffd.custody.message import (
    Answer,
    Arrival,
    Batch,
    Debts,
    Hello,
    Landing,
    Lookup,
    Mirror,
    Offer,
    Settlement,
    Want,
)
from handoffd.custody.visit import Received, Tidings, Untold
from handoffd.protocol.name import HostName, TransferId
from handoffd.protocol.record import Record

Item = TypeVar("Item")
Result = TypeVar("Result")


class Engine(Protocol):
    """What the link asks of custody; each takes a list and answers one of the same length and order."""

    def offers(self, wants: list[Want], /) -> list[tuple[Offer, ...]]:
        """Open an attempt for each payload that is due, oldest deadline first."""

    def settle(self, settlements: list[Settlement], /) -> list[None]:
        """Note how attempts ended."""

    def hello(self, hellos: list[Hello], /) -> list[bool]:
        """Note a peer's epoch; True when payloads may go out under it."""

    def noted(self, peers: list[HostName], /) -> list[str]:
        """Return the epoch noted of each peer; empty where there is none."""

    def mirror(self, mirrors: list[Mirror], /) -> list[Record | None]:
        """Take over a peer's record; answer it when its artefact should be fetched."""

    def lost(self, batches: list[Batch], /) -> list[None]:
        """Note that the peer does not know what it had said to have."""

    def land(self, landings: list[Landing], /) -> list[None]:
        """Take a fetched artefact, or the news that it is not to be had."""

    def pushed_to(self, peers: list[HostName], /) -> list[None]:
        """Note that these peers ask for states themselves."""

    def wanted(self, batches: list[Batch], /) -> list[tuple[TransferId, ...]]:
        """Tell which of what a peer has for us is not here yet."""

    def receive(self, arrivals: list[Arrival], /) -> list[Received]:
        """Admit what was leased."""

    def verdict(self, batches: list[Batch], /) -> list[tuple[Record, ...]]:
        """End what the peer wants an end of; answer what is told of those that stand in no file."""

    def tidings(self, asked: list[Untold], /) -> list[Tidings]:
        """Tell what a peer is to be told."""

    def lookup(self, asked: list[Lookup], /) -> list[Answer]:
        """Read an artefact."""

    def forget(self, batches: list[Batch], /) -> list[tuple[Record | None, ...]]:
        """Note that the peer has recorded these ends."""

    def debts(self, peers: list[HostName], /) -> list[Debts]:
        """Tell what the link owes a peer now."""

    def forgotten(self, batches: list[Batch], /) -> list[None]:
        """Note that the peer confirmed a forget."""


class Desk(Protocol):
    """The way to the custody thread."""

    def submit(self, method: Callable[[list[Item]], list[Result]], item: Item, /) -> Future[Result]:
        """Queue one item for an engine method."""

    def submit_many(self, method: Callable[[list[Item]], list[Result]], items: list[Item], /) -> Future[list[Result]]:
        """Queue several items that belong together."""
