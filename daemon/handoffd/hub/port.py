"""What the hub needs of the custody floor: an engine's methods, and a desk that runs them on the custody thread.

Structural types only, so that the hub stands on no one implementation. The rule that must stay true: an engine's
method is never called from here except through the desk; `counts` and `epoch` are the two exceptions it grants.
"""

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Protocol, TypeVar

from handoffd.custody.message import Accept, Answer, Arrival, Batch, Finish, Lookup, Poll, StatesNews, StatesQuery
from handoffd.protocol.name import TransferId
from handoffd.protocol.record import Record

Item = TypeVar("Item")
Result = TypeVar("Result")
Records = tuple[Record | None, ...]


class Engine(Protocol):
    """The custody engine as the hub sees it: lists in, lists of the same length and order out."""

    @property
    def epoch(self) -> str:
        """The id of this tree (docs/custody.md section 8); constant while the process lives."""

    def admit(self, items: list[Arrival], /) -> list[Answer]:
        """Take custody of posted payloads: section 6, b1 to b7."""

    def poll(self, items: list[Poll], /) -> list[Answer]:
        """Find the oldest pending payload of an agent."""

    def accept(self, items: list[Accept], /) -> list[Answer]:
        """Claim over HTTP."""

    def finish(self, items: list[Finish], /) -> list[Answer]:
        """Complete or reject what was claimed over HTTP."""

    def lookup(self, items: list[Lookup], /) -> list[Answer]:
        """Find a record, or the final artefact's bytes."""

    def states(self, items: list[StatesQuery], /) -> list[StatesNews]:
        """Find what is higher than a sending peer knows."""

    def revoke(self, items: list[Batch], /) -> list[Records]:
        """Take back what a peer no longer wants delivered."""

    def forget(self, items: list[Batch], /) -> list[Records]:
        """Note that a peer has recorded these outcomes."""

    def withdraw(self, items: list[TransferId], /) -> list[Record | None]:
        """End a handoff at the wish of an operator."""

    def resolve(self, items: list[TransferId], /) -> list[Record | None]:
        """Give up a handoff that is in doubt, at the wish of an operator."""

    def counts(self) -> Mapping[str, int]:
        """Return how many handoffs are where; safe from any thread."""


class Desk(Protocol):
    """Runs the engine's methods on the one custody thread, grouping what waits."""

    def submit(self, method: Callable[[list[Item]], list[Result]], item: Item, /) -> "Future[Result]":
        """Queue one item. Raises DeskClosed."""

    def submit_many(self, method: Callable[[list[Item]], list[Result]], items: list[Item], /) -> "Future[list[Result]]":
        """Queue several items as one. Raises DeskClosed."""
