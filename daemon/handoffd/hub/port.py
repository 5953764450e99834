"""What the hub needs of the custody floor: an engine's methods, and a desk that runs them on the custody thread.

Structural types only, so that the hub stands on no one implementation. The rule that must stay true: an engine's
method is never called from here except through the desk; `epoch` is the one exception it grants.
"""

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any, Protocol, TypeVar

from aiohttp.web import Response, StreamResponse

from handoffd.custody.message import (
    Accept,
    Answer,
    Arrival,
    Batch,
    Finish,
    Journey,
    Launch,
    Lookup,
    Poll,
    StatesNews,
    StatesQuery,
)
from handoffd.custody.visit import Bring, Lease, Leased, Telling, Welcome, Wishes
from handoffd.hub.refusal import Refused
from handoffd.protocol.name import TransferId
from handoffd.protocol.reason import Problem
from handoffd.protocol.record import Record
from handoffd.status.model import Status

Item = TypeVar("Item")
Result = TypeVar("Result")
Records = tuple[Record | None, ...]


class Engine(Protocol):
    """The custody engine as the hub sees it: lists in, lists of the same length and order out."""

    @property
    def epoch(self) -> str:
        """The id of this tree (docs/custody.md section 8); constant while the process lives."""

    def try_disk(self, items: list[None], /) -> list[str]:
        """Tell why the disk takes nothing, empty if it does."""

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

    def welcome(self, items: list[Welcome], /) -> list[bool]:
        """Begin the session of a peer that dials in; False if that cannot be noted now."""

    def tell(self, items: list[Telling], /) -> list[Wishes]:
        """Take what such a peer tells; say what is wanted of it."""

    def lease(self, items: list[Lease], /) -> list[Leased]:
        """Hand payloads out to it."""

    def bring(self, items: list[Bring], /) -> list[Answer]:
        """Keep a final artefact until its end is told."""

    def withdraw(self, items: list[TransferId], /) -> list[Record | None]:
        """End a handoff at the wish of an operator."""

    def resolve(self, items: list[TransferId], /) -> list[Record | None]:
        """Give up a handoff that is in doubt, at the wish of an operator."""

    def launch(self, items: list[Launch], /) -> list[Answer]:
        """Send a canary to a peer at the wish of an operator (docs/custody.md section 18)."""

    def journey(self, items: list[TransferId], /) -> list[Journey | None]:
        """Tell how far a canary has come."""


class Board(Protocol):
    """What the status page shows. Both read files: never on the event loop, and one call at a time is enough."""

    def look(self, status: Status, /) -> Mapping[str, Mapping[str, Any]]:
        """Return the board's parts by name; ages are for the page to count, so what rests is no news."""

    def handoff(self, ident: str, with_payload: bool, /) -> Mapping[str, Any] | None:
        """Return one handoff's story, None if nothing knows of it; its payload's text only if asked for."""


class Page(Protocol):
    """The status page as the routes see it; `call` is a hub.call.Call."""

    def file(self, name: str, /) -> Response:
        """Return one of the page's files."""

    async def stream(self, call: Any, /) -> StreamResponse:
        """Serve one viewer's stream. Raises Refused."""

    async def handoff(self, call: Any, /) -> Response:
        """Tell one handoff's story. Raises Refused."""


class Keeper(Protocol):
    """Whoever may change what this host believes of its peers, and reads the configuration again."""

    def tell(self, event: str, /, **fields: object) -> None:
        """Write a line of the journal."""

    async def reload(self) -> list[str]:
        """Read the configuration again; return why it was refused, empty if it is in force."""

    async def add_token(self, peer: str, present: str, digest: str) -> None:
        """Accept a token with this SHA-256 (hex) beside the present one, from now on. Raises Refused."""

    async def keep_token(self, peer: str, digest: str) -> None:
        """Accept from a peer only the token with this SHA-256 (hex). Raises Refused."""

    async def pin(self, peer: str, digest: str, pem: str, signature: str) -> None:
        """Pin a certificate of a peer that a pinned one vouches for; without signature a pinned one alone.

        `digest` is the SHA-256 (hex) of the token it came with. Raises Refused.
        """


class Idle:
    """A keeper that keeps nothing: for a hub without a configuration behind it."""

    def tell(self, event: str, /, **fields: object) -> None:
        """Forget it."""

    async def reload(self) -> list[str]:
        """Refuse."""
        return ["there is no configuration here to read again"]

    async def add_token(self, peer: str, present: str, digest: str) -> None:
        """Refuse."""
        raise _UNKEPT

    async def keep_token(self, peer: str, digest: str) -> None:
        """Refuse."""
        raise _UNKEPT

    async def pin(self, peer: str, digest: str, pem: str, signature: str) -> None:
        """Refuse."""
        raise _UNKEPT


_UNKEPT = Refused(Problem.UNAVAILABLE, "There is no configuration here to change.")


class Desk(Protocol):
    """Runs the engine's methods on the one custody thread, grouping what waits."""

    def submit(self, method: Callable[[list[Item]], list[Result]], item: Item, /) -> "Future[Result]":
        """Queue one item. Raises DeskClosed."""

    def submit_many(self, method: Callable[[list[Item]], list[Result]], items: list[Item], /) -> "Future[list[Result]]":
        """Queue several items as one. Raises DeskClosed."""
