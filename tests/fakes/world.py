"""A pair of hosts, the agents on them and the wire between, driven in rounds until nothing moves any more.

A round does what the daemons and agents would do in a second. Every act on an engine may be that engine's last one:
then the host starts again and its answer is lost. A `Witness` looks after every act.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from tests.fakes.faulty import Crash
from tests.fakes.witness import Witness
from tests.unit.custody.pair import Host, Pair, settlement

from handoffd.custody.filesystem import FlushFailed
from handoffd.custody.message import (
    Answer,
    Attempt,
    Batch,
    Debts,
    Hello,
    Landing,
    Lookup,
    Mirror,
    Offer,
    Settlement,
    StatesQuery,
)
from handoffd.protocol.name import tid_of_published

Result = TypeVar("Result")
STARTS = 60
"""More failed starts than any plan of faults can cause."""


class World:
    """`power`: a crash is a power cut; with `once`, only the first one is, and later ones are plain crashes.

    Of a disk's layers one is played: a claim by rename that B has not flushed is undone by a power cut at B.
    """

    def __init__(self, directory: Path, *, power: bool = False, once: bool = False) -> None:
        self.pair = Pair(directory)
        self.a, self.b = self.pair.a, self.pair.b
        self.power, self.once = power, once
        self.unflushed: dict[str, tuple[int, int]] = {}
        self.restarts = 0
        self.witness = Witness(self.a, self.b)
        for host in (self.a, self.b):
            host.faults.rest()

    def close(self) -> None:
        self.pair.close()

    def hand_over(self, name: str, data: bytes) -> None:
        """Bob writes a handoff for alice."""
        self.witness.given(name, data)
        self.a.drop(name, data)

    # ------------------------------------------------------------ one act

    def at(self, host: Host, act: Callable[[], Result]) -> Result | None:
        """Let a host's engine do something; None if it did not live to answer."""
        try:
            answer = act()
        except (Crash, FlushFailed):
            self.restart(host)
            answer = None
        self.witness.look_if_changed()
        return answer

    def restart(self, host: Host) -> None:
        doubted = False
        for _ in range(STARTS):
            self.restarts += 1
            if self.power:
                doubted = doubted or host.read("relay/boot") != b"clean\n"
                self._cut_power(host)
            else:
                host.crash()
            try:
                host.start()
            except (Crash, FlushFailed, OSError):
                continue
            published = [name for name in host.names("handoff") if tid_of_published(name)]
            assert not (doubted and published), f"believed after a power cut: {published}"
            return
        raise AssertionError(f"{host.name} does not start any more")

    def _cut_power(self, host: Host) -> None:
        host.power_cut()
        self.power = not self.once
        if host is self.b:
            for name, flushes in self.unflushed.items():
                claimed = host.root / "claimed" / name
                if flushes == self._flushes() and claimed.exists():
                    os.rename(claimed, host.root / "handoff" / name)
            self.unflushed.clear()

    def claimed(self, name: str) -> None:
        """An agent has claimed by rename, just now; nothing has flushed it yet."""
        self.unflushed[name] = self._flushes()
        self.witness.claimed(name)

    def _flushes(self) -> tuple[int, int]:
        return self.b.faults.flushes["claimed"], self.b.faults.flushes[""]

    def stop(self, host: Host) -> None:
        """An orderly stop, a reboot, and the next start. A stop that crashed was none."""
        engine = host.engine
        try:
            self.at(host, engine.stop)
        except OSError:  # the daemon ends without its mark
            self.restart(host)
        if host.engine is engine:
            host.boot_id += "'"
            self.restart(host)

    # ------------------------------------------------------------ a round

    def round(self, seconds: float = 1.0) -> None:
        for host in (self.a, self.b):
            host.clock.advance(seconds)
            self.tick(host)
        self.push()
        self.follow()

    def tick(self, host: Host) -> None:
        self.at(host, lambda: host.engine.tick([0.0]))

    def push(self, *, answers_arrive: bool = True) -> None:
        """One POST of all that is to be sent; a crash on either side loses the answer."""
        engine = self.a.engine
        self.at(self.a, lambda: self.a.engine.hello([Hello(self.b.name, self.b.engine.epoch)]))
        offers = self.at(self.a, lambda: self.pair.offers(self.a, self.b))
        if not offers:
            return
        answers = self.at(self.b, lambda: self.pair.post(self.a, self.b, offers))
        self.witness.answered(answers or [])
        if self.a.engine is not engine:
            return
        told = settlements(offers, answers if answers_arrive else None)
        self.at(self.a, lambda: self.a.engine.settle(told))

    def follow(self) -> None:
        """A full sweep of states, artefacts, forgets; revokes whenever custody owes them."""
        debts = self.pay_revokes()
        news = self.at(self.b, lambda: self.b.engine.states([StatesQuery(self.a.name, dict(debts.known), None)]))
        if news:
            mirrors = [Mirror(self.b.name, record, 0) for record in news[0].records]
            self.at(self.a, lambda: self.a.engine.mirror(mirrors))
            self.at(self.a, lambda: self.a.engine.lost([Batch(self.b.name, news[0].lost)]))
        for tid in self.pay_revokes().fetch:
            self._fetch(tid)
        owed = self.pay_revokes().forget
        if owed and self.at(self.b, lambda: self.b.engine.forget([Batch(self.a.name, owed)])) is not None:
            self.at(self.a, lambda: self.a.engine.forgotten([Batch(self.b.name, owed)]))

    def pay_revokes(self) -> Debts:
        """Ask what is owed, and pay the revokes of it: custody counts them as asked."""
        found = self.at(self.a, lambda: self.a.engine.debts([self.b.name]))
        if not found:
            return Debts()
        asked = Batch(self.a.name, found[0].revoke)
        records = self.at(self.b, lambda: self.b.engine.revoke([asked])) if asked.tids else None
        told = [Mirror(self.b.name, record, 0) for record in (records[0] if records else ()) if record]
        self.at(self.a, lambda: self.a.engine.mirror(told))
        return found[0]

    def _fetch(self, tid: Any) -> None:
        wanted = Lookup(self.pair.principal(self.a), tid, artefact=True)
        answers = self.at(self.b, lambda: self.b.engine.lookup([wanted]))
        if answers is not None and answers[0].status != 503:
            self.at(self.a, lambda: self.a.engine.land([Landing(tid, answers[0].data)]))

    def until_quiet(self, agents: Callable[["World"], None], rounds: int = 45, seconds: float = 1.0) -> None:
        """Go on, agents and all, until every handoff has its outcome at A and nothing is left to do."""
        # What is in doubt is asked about once a minute: long rounds at the end, for what is still open then.
        for pause in [seconds] * rounds + [61.0] * 12:
            agents(self)
            self.witness.look()
            self.round(pause)
            if self.witness.all_ended():
                self.round(pause)
                return


def settlements(offers: list[Offer], answers: list[Answer] | None) -> list[Settlement]:
    if answers is None:
        return [Settlement(offer.peer, offer.tid, Attempt.UNKNOWN) for offer in offers]
    return [settlement(offer.peer, offer, answer) for offer, answer in zip(offers, answers, strict=True)]
