"""The custody engine: every verb of docs/custody.md behind one door.

It owns nothing but the order of its parts. Synchronous and single-threaded: the desk's thread, a simulator or a test
calls it. Every method takes a list and returns one answer each, in order. The rule that must stay true: one item
that goes wrong never fails its group; a failed directory flush fails everything (R7).
"""

import logging
import random
import secrets
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from handoffd.custody import layout
from handoffd.custody.acquaintance import Acquaintances
from handoffd.custody.admit import Admitter, problem
from handoffd.custody.canary import Canaries
from handoffd.custody.claim import Claims
from handoffd.custody.closing import Closing
from handoffd.custody.collect import Collector
from handoffd.custody.ending import Ending
from handoffd.custody.filesystem import Filesystem, FlushFailed
from handoffd.custody.forward import Forwarder
from handoffd.custody.ledger import Ledger
from handoffd.custody.lend import Lender
from handoffd.custody.message import (
    Accept,
    Answer,
    Arrival,
    Batch,
    Debts,
    Finish,
    Hello,
    Journey,
    Landing,
    Launch,
    Lookup,
    Mirror,
    News,
    Offer,
    Owed,
    Poll,
    Seen,
    Settlement,
    StatesNews,
    StatesQuery,
    Want,
)
from handoffd.custody.observe import Observer
from handoffd.custody.opened import Open, in_memory
from handoffd.custody.recall import Recall
from handoffd.custody.recovery import Recovery, Steps
from handoffd.custody.report import Reporter
from handoffd.custody.send import Sender
from handoffd.custody.take import Taker
from handoffd.custody.tree import Clock, Journal, Settings, Tree
from handoffd.custody.trial import disk_trouble
from handoffd.custody.visit import (
    Bring,
    Lease,
    Leased,
    Received,
    Telling,
    Tidings,
    Untold,
    Welcome,
    Wishes,
)
from handoffd.protocol.name import HostName, TransferId
from handoffd.protocol.reason import Problem
from handoffd.protocol.record import Record

log = logging.getLogger(__name__)
Item = TypeVar("Item")
Result = TypeVar("Result")


class Engine:
    """One root's custody."""

    def __init__(
        self,
        fs: Filesystem,
        clock: Clock,
        settings: Settings,
        journal: Journal,
        *,
        salt: Callable[[], str] = lambda: secrets.token_hex(16),
        chance: Callable[[], float] = random.random,
    ) -> None:
        """`salt` returns 32 fresh hex digits, `chance` a number in [0, 1): handed in so that a run can be repeated."""
        self._tree = tree = Tree(fs, clock, settings, journal, salt, Ledger(salt()))
        self._ending = Ending(tree)
        self._closing = Closing(tree)
        self._admitter = Admitter(tree)
        self._observer = Observer(tree, self._closing)
        self._peers = Acquaintances(tree)
        self._sender = Sender(tree, self._ending, self._peers, chance)
        self._recall = Recall(tree, self._closing, self._observer, self._admitter, self._sender, self._ending)
        self._claims = Claims(tree, self._closing, self._observer, self._admitter)
        self._taker = Taker(tree, self._ending)
        self._canaries = Canaries(tree, self._closing, self._observer)
        self._reporter = Reporter(tree, self._admitter, self._sender)
        self._lender = Lender(tree, self._ending, self._sender, self._peers)
        self._collector = Collector(tree, self._admitter, self._recall, self._reporter)
        self._recovery = Recovery(
            tree,
            Steps(
                self._ending,
                self._closing,
                self._admitter,
                self._observer,
                self._recall,
                self._taker,
                self._sender,
                self._peers,
                Forwarder(tree),
            ),
        )
        self._stopped = False

    # ------------------------------------------------------------ life

    @property
    def epoch(self) -> str:
        """The random id of this relay/ tree."""
        return self._tree.epoch

    @property
    def settings(self) -> Settings:
        """The settings in force."""
        return self._tree.settings

    def start(self, boot_id: str) -> None:
        """Recover the root (section 13). Raises UnsafeRoot, OSError, FlushFailed."""
        self._tree.watch_clock()  # the first step of a time service after boot may come before the first tick
        self._keep_for_telling()
        self._recovery.start(boot_id)
        for peer in self._tree.settings.peers:
            self._tree.tell(Owed(peer))

    def stop(self) -> None:
        """Leave in order; nothing moves afterwards. Raises OSError, FlushFailed: then the next start decides."""
        self._stopped = True
        self._recovery.stop()

    def configure(self, settings: Sequence[Settings]) -> list[None]:
        """Take up new settings; the host's name and root do not change while it runs."""
        return self._each(_one_by_one(self._configure), settings, _nothing)

    def _configure(self, new: Settings) -> None:
        for peer in new.peers:
            if peer not in self._tree.settings.peers:
                self._tree.open_peer(peer)
                self._peers.load(peer)
        self._tree.settings = new
        self._tree.open_shared()
        self._keep_for_telling()
        for peer in new.peers:
            if self._peers.has_changed(peer):
                self._peers.change_mode(peer)
        self._peers.settle_shared()
        for where in self._tree.ledger.shared():
            self._tree.owe(where)

    def _keep_for_telling(self) -> None:
        """Whoever we call may be one that is to be told by us, until its answer says that it calls us."""
        settings = self._tree.settings
        for peer in settings.peers:
            if peer not in settings.pulls:
                self._tree.ledger.keep_for_telling(peer)

    def hand_over_early(self, pass_on: Callable[[], None]) -> None:
        """Have `pass_on` called, to drain the news, as soon as payloads may go: within a group that is not done yet."""
        self._tree.hand_over = pass_on

    def prepare(self) -> None:
        """Do ahead, while nobody waits, what the next payload would wait for."""
        self._guarded(self._admitter.prepare)

    def drain_news(self) -> list[News]:
        """Return what link, hub and app should hear, and forget it."""
        news, self._tree.news = self._tree.news, []
        return news

    def open_handoffs(self) -> Iterator[Open]:
        """Return what has not ended, for whoever counts it; safe from any thread."""
        return in_memory(self._tree.ledger)

    def set_aside(self) -> int:
        """Return how many handoffs contradict the rules and are touched no more; safe from any thread."""
        return len(self._tree.ledger.aside)

    # ------------------------------------------------------------ the directory

    @property
    def is_at_rest(self) -> bool:
        """Whether nothing is open here: while handoff/ is empty a tick has nothing to do but to begin a sweep."""
        ledger, closing = self._tree.ledger, self._closing
        return not (
            ledger.sendings or ledger.receipts or self._taker.waits or closing.last.waits or self._reporter.sweeps
        )

    def tick(self, times: Sequence[float]) -> list[bool]:
        """Do what the clock asks for: scan, observe, expire, forget. Once for any number of calls in a group.

        True: files are left to be looked at; call `look` with no hints at once.
        """
        if self._stopped:
            return [False] * len(times)
        self._tree.watch_clock()
        for step in (
            self._taker.scan,
            self._peers.settle_shared,
            self._observer.tick,
            self._recall.janitor,
            self._sender.expire,
            self._admitter.publish_waiting,
            self._ending.last.repeat,
            self._closing.last.repeat,
            self._canaries.repeat,
            self._reporter.sweep,
        ):
            self._guarded(step)
        self._take_next()
        return [self._taker.has_more] * len(times)

    def look(self, hints: Sequence[Seen]) -> list[bool]:
        """Follow the watch's hints; an empty set of names means the whole directory. True as in `tick`."""
        if self._stopped:
            return [False] * len(hints)
        self._guarded(lambda: self._hint(hints))
        self._take_next()
        merged = _merged(hints)
        if merged:
            self._guarded(lambda: self._observer.look(merged))
        return [self._taker.has_more] * len(hints)

    def _hint(self, hints: Sequence[Seen]) -> None:
        for seen in hints:
            if layout.HANDOFF in seen:
                self._taker.hint(sorted(seen[layout.HANDOFF]) or self._tree.fs.names(layout.HANDOFF))

    def _take_next(self) -> None:
        names = self._taker.next_names()
        if names:
            self._each(_as_group(self._taker.take), names, _nothing)

    # ------------------------------------------------------------ for the hub

    def try_disk(self, asked: Sequence[None]) -> list[str]:
        """Tell why relay/ cannot be written, empty if it can; one trial for a group."""
        return [disk_trouble(self._tree)] * len(asked)

    def admit(self, arrivals: Sequence[Arrival]) -> list[Answer]:
        """Admit and publish: b1 to b7."""
        return self._act(self._admitter.admit, arrivals, _failed)

    def poll(self, asked: Sequence[Poll]) -> list[Answer]:
        """Return the oldest pending payload of an agent."""
        return self._each(_one_by_one(self._claims.poll), asked, _failed)

    def accept(self, asked: Sequence[Accept]) -> list[Answer]:
        """Claim over HTTP."""
        return self._act(_one_by_one(self._claims.accept), asked, _failed)

    def finish(self, asked: Sequence[Finish]) -> list[Answer]:
        """Complete or reject a claim made over HTTP."""
        return self._act(_one_by_one(self._claims.finish), asked, _failed)

    def lookup(self, asked: Sequence[Lookup]) -> list[Answer]:
        """Return a record or an artefact to somebody who may read it."""
        return self._each(_one_by_one(self._reporter.lookup), asked, _failed)

    def states(self, asked: Sequence[StatesQuery]) -> list[StatesNews]:
        """Return what is higher than a peer knows."""
        return self._each(_one_by_one(self._reporter.states), asked, _no_states)

    def revoke(self, asked: Sequence[Batch]) -> list[tuple[Record | None, ...]]:
        """Take back, or say why not; an unknown T gets a tombstone."""
        return self._act(_one_by_one(self._recall.revoke), asked, _no_records)

    def forget(self, asked: Sequence[Batch]) -> list[tuple[Record | None, ...]]:
        """Hear that a peer has recorded outcomes."""
        return self._each(_one_by_one(self._reporter.forget), asked, _no_records)

    def welcome(self, told: Sequence[Welcome]) -> list[bool]:
        """Begin the session of a peer that dials in."""
        return self._act(_one_by_one(self._lender.welcome), told, _no)

    def tell(self, told: Sequence[Telling]) -> list[Wishes]:
        """Take over what such a peer tells, and say what is wanted of it."""
        return self._act(self._lender.hear, told, _no_wishes)

    def lease(self, asked: Sequence[Lease]) -> list[Leased]:
        """Hand payloads out to it."""
        return self._act(self._lender.lease, asked, _nothing_leased)

    def bring(self, brought: Sequence[Bring]) -> list[Answer]:
        """Keep the artefacts that it brings."""
        return self._act(_one_by_one(self._lender.bring), brought, _failed)

    # ------------------------------------------------------------ for the link

    def wanted(self, asked: Sequence[Batch]) -> list[tuple[TransferId, ...]]:
        """Return which of these are to be leased."""
        return self._each(_one_by_one(self._collector.wanted), asked, _none_of_them)

    def receive(self, arrivals: Sequence[Arrival]) -> list[Received]:
        """Admit what was leased: b1 to b6, every refusal an end."""
        return self._act(self._collector.receive, arrivals, _later)

    def verdict(self, asked: Sequence[Batch]) -> list[tuple[Record, ...]]:
        """End what the peer wants an end of; return what stands in no file and is told as it is."""
        return self._act(_one_by_one(self._collector.verdict), asked, _none_of_them)

    def tidings(self, asked: Sequence[Untold]) -> list[Tidings]:
        """Return what a peer is to be told."""
        return self._each(_one_by_one(self._collector.tidings), asked, _no_tidings)

    def pushed_to(self, peers: Sequence[HostName]) -> list[None]:
        """Hear that these peers ask for states themselves."""
        return self._each(_one_by_one(self._collector.is_pushed_to), peers, _nothing)

    def offers(self, wants: Sequence[Want]) -> list[tuple[Offer, ...]]:
        """Open attempts for due payloads."""
        return self._act(_one_by_one(self._sender.offers), wants, _no_offers)

    def settle(self, settlements: Sequence[Settlement]) -> list[None]:
        """Close attempts."""
        return self._each(_as_group(self._sender.settle), settlements, _nothing)

    def hello(self, told: Sequence[Hello]) -> list[bool]:
        """Take up a peer's epoch; True when payloads may go out under it."""
        return self._act(_one_by_one(self._sender.hello), told, _no)

    def noted(self, peers: Sequence[HostName]) -> list[str]:
        """Return the epoch noted of each peer; empty where there is none."""
        return [self._peers.epoch(peer) or "" for peer in peers]

    def mirror(self, told: Sequence[Mirror]) -> list[Record | None]:
        """Take over a peer's states."""
        return self._each(self._sender.mirror, told, _nothing)

    def lost(self, told: Sequence[Batch]) -> list[None]:
        """Hear that a peer does not know what it had stored."""
        return self._each(_one_by_one(self._sender.lost), told, _nothing)

    def land(self, landed: Sequence[Landing]) -> list[None]:
        """Bring an artefact home."""
        return self._each(_one_by_one(self._sender.land), landed, _nothing)

    def debts(self, peers: Sequence[HostName]) -> list[Debts]:
        """Return what the link owes each peer."""
        return self._each(_one_by_one(self._sender.debts), peers, _no_debts)

    def forgotten(self, told: Sequence[Batch]) -> list[None]:
        """Hear that a peer has forgotten."""
        for one in told:
            self._ending.peer_forgot(one.peer, one.tids)
        return [None] * len(told)

    # ------------------------------------------------------------ canaries (section 18)

    def launch(self, asked: Sequence[Launch]) -> list[Answer]:
        """Send a canary to a peer."""
        return self._act(_one_by_one(self._canaries.launch), asked, _failed)

    def journey(self, tids: Sequence[TransferId]) -> list[Journey | None]:
        """Tell how far a canary of ours has come."""
        return self._each(_one_by_one(self._canaries.journey), tids, _nothing)

    def answer(self, tids: Sequence[TransferId]) -> list[None]:
        """Claim and complete canaries of peers."""
        return self._act(_one_by_one(self._canaries.answer), tids, _nothing)

    # ------------------------------------------------------------ for the operator

    def withdraw(self, tids: Sequence[TransferId]) -> list[Record | None]:
        """Take a handoff of this host back (the operator's reject)."""
        return self._each(_one_by_one(self._sender.withdraw), tids, _nothing)

    def resolve(self, tids: Sequence[TransferId]) -> list[Record | None]:
        """Give up one in doubt."""
        return self._each(_one_by_one(self._sender.resolve), tids, _nothing)

    def record(self, tids: Sequence[TransferId]) -> list[Record | None]:
        """Return what is known of T on this host."""
        return self._each(_one_by_one(self._reporter.record), tids, _nothing)

    # ------------------------------------------------------------ bulkheads

    def _guarded(self, step: Callable[[], None]) -> None:
        """Run a part of the tick; a bug in it is loud and does not stop the others."""
        try:
            step()
        except FlushFailed:
            raise
        except Exception as error:
            log.exception("a part of the tick failed")
            self._tree.journal.write("parked", detail=f"tick: {type(error).__name__}: {error}"[:300])

    def _act(
        self,
        method: Callable[[Sequence[Item]], list[Result]],
        items: Sequence[Item],
        failed: Callable[[Item, str], Result],
    ) -> list[Result]:
        """Run a group that moves files; after the orderly stop none does, or the clean mark would be a lie."""
        if self._stopped:
            return [failed(item, "the daemon is stopping") for item in items]
        return self._each(method, items, failed)

    def _each(
        self,
        method: Callable[[Sequence[Item]], list[Result]],
        items: Sequence[Item],
        failed: Callable[[Item, str], Result],
    ) -> list[Result]:
        """Run a group; if it fails, run its items alone, so that a poisonous one is the only one to fail.

        Every step may be repeated: a T that was stored the first time is known the second time.
        """
        try:
            return method(items)
        except FlushFailed:
            raise
        except Exception as error:
            log.exception("a group of %d failed; its items are tried alone", len(items))
            if len(items) == 1:
                self._tree.journal.write("parked", detail=f"{type(error).__name__}: {error}"[:300])
                return [failed(items[0], type(error).__name__)]
        return [self._each(method, [item], failed)[0] for item in items]


def _merged(hints: Sequence[Seen]) -> Seen:
    """Return all hints as one; a directory to be looked at whole stays so."""
    merged: dict[str, set[str]] = {}
    whole = {directory for seen in hints for directory, names in seen.items() if not names}
    for seen in hints:
        for directory, names in seen.items():
            merged.setdefault(directory, set()).update(() if directory in whole else names)
    return merged


def _one_by_one(function: Callable[[Item], Result]) -> Callable[[Sequence[Item]], list[Result]]:
    return lambda items: [function(item) for item in items]


def _as_group(function: Callable[[Sequence[Item]], None]) -> Callable[[Sequence[Item]], list[None]]:
    def run(items: Sequence[Item]) -> list[None]:
        function(items)
        return [None] * len(items)

    return run


def _failed(item: object, error: str) -> Answer:
    return problem(Problem.UNAVAILABLE, TransferId(""), f"this handoff met an error here ({error}); see the log")


def _no_wishes(item: object, error: str) -> Wishes:
    return Wishes(failed=True)


def _nothing_leased(item: object, error: str) -> Leased:
    return Leased()


def _none_of_them(item: object, error: str) -> tuple[()]:
    return ()


def _later(arrival: Arrival, error: str) -> Received:
    return Received(TransferId(arrival.claimed_tid or ""), later=True)


def _no_tidings(asked: Untold, error: str) -> Tidings:
    return Tidings((), asked.since)


def _nothing(item: object, error: str) -> None:
    return None


def _no(item: object, error: str) -> bool:
    return False


def _no_offers(item: object, error: str) -> tuple[Offer, ...]:
    return ()


def _no_debts(item: object, error: str) -> Debts:
    return Debts()


def _no_records(item: Batch, error: str) -> tuple[Record | None, ...]:
    return (None,) * len(item.tids)


def _no_states(item: object, error: str) -> StatesNews:
    return StatesNews((), "", reset=True)
