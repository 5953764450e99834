"""The five scenes, and the books at the end.

It owns what happens and what is to be seen of it. It does not know how processes are run or lines printed. The rule
that must stay true: each scene ends when its outcomes are home, so that the next begins on a quiet stage.
"""

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from signal import SIGTERM

from handoffd.demo.check import equal
from handoffd.demo.errand import CALL, Errand, hand_over
from handoffd.demo.kill import Caught, catch_transfer, go_on, hold, kill, restart
from handoffd.demo.process import Actor, Told
from handoffd.demo.stage import NotSeen, Stage

SHORT_LIFETIME_S = 2.5
"""Long enough to arrive on a busy machine, short enough to watch."""
UNSAID = ("stored", "published@sender", "claimed", "completed@receiver")
"""What the first scene has told well enough."""


@dataclass(frozen=True, slots=True)
class Cast:
    """The stage and who is on it: bob, alice, and alice once more, over HTTP."""

    stage: Stage
    bob: Actor
    alice: Actor
    web: Actor


def live_call(cast: Cast) -> None:
    """A caller goes from bob to alice and back."""
    cast.stage.scene("1  a call is handed from bob to alice, and back")
    _over(cast.stage, cast.bob, cast.alice, CALL, "Tuesday at ten, then.")
    _over(cast.stage, cast.alice, cast.bob, [*CALL, *CALL], "Anything else?")


def _over(stage: Stage, writer: Actor, claimer: Actor, transcript: list[Told], text: str) -> None:
    waiting = claimer.order("take")
    errand = hand_over(stage, writer, "Anna", transcript)
    taken = stage.answer(waiting)
    promise = f"{claimer.name} claims the bytes that {writer.name} wrote"
    stage.checks.append(equal(promise, errand.tid, taken["sha256"]))
    errand.claim_shows()
    filed = stage.ask(claimer, "file_away", file=taken["file"], text=text)
    errand.final_comes_home(filed, f"the final transcript comes home to {writer.name}")
    errand.ends()


def lost_races(cast: Cast) -> None:
    """Two claimers want the same call: first both at once, then whoever lost goes first."""
    stage = cast.stage
    stage.scene("2  two claimers, one winner: alice by rename, and alice over HTTP", *UNSAID)
    errand, file = _seen_by_both(cast, "Bernd")
    stage.note(errand.there, "demo", "both may claim it now")
    orders = cast.alice.order("claim", file=file), cast.web.order("accept", tid=errand.tid)
    first = _Race(errand, stage.answer(orders[0]), stage.answer(orders[1]))
    first.finish(cast)

    errand, file = _seen_by_both(cast, "Carla")
    stage.note(errand.there, "demo", "whoever lost goes first this time")
    if "lost" in first.by_http:
        by_http = stage.ask(cast.web, "accept", tid=errand.tid)
        second = _Race(errand, stage.ask(cast.alice, "claim", file=file), by_http)
    else:
        by_file = stage.ask(cast.alice, "claim", file=file)
        second = _Race(errand, by_file, stage.ask(cast.web, "accept", tid=errand.tid))
    second.finish(cast)

    seen = f"{first.winners} of 2 claimers, then {second.winners} of 2"
    stage.check("one handoff, one winner", seen, (first.winners, second.winners) == (1, 1))
    losses = sorted(first.losses + second.losses)
    kept = losses == ["409 already_claimed", "ENOENT"]
    stage.check("whoever loses is told so, by file and over HTTP", ", ".join(losses) or "nobody lost", kept)


@dataclass(frozen=True, slots=True)
class _Race:
    """What the two claimers of one handoff told."""

    errand: Errand
    by_file: Told
    by_http: Told

    @property
    def winners(self) -> int:
        return sum("lost" not in told for told in (self.by_file, self.by_http))

    @property
    def losses(self) -> list[str]:
        told = [told for told in (self.by_file, self.by_http) if "lost" in told]
        return [f"{each['lost']} {each.get('reason', '')}".strip() for each in told]

    def finish(self, cast: Cast) -> None:
        """Let whoever won end it, and wait until that is home."""
        if "lost" not in self.by_file:
            cast.stage.ask(cast.alice, "file_away", file=self.by_file["file"], text="Alice here.")
        if "lost" not in self.by_http:
            cast.stage.ask(cast.web, "complete", tid=self.errand.tid)
        self.errand.ends()


def _seen_by_both(cast: Cast, caller: str) -> tuple[Errand, str]:
    seen = cast.alice.order("see"), cast.web.order("see")
    errand = hand_over(cast.stage, cast.bob, caller)
    cast.stage.answer(seen[1])
    return errand, str(cast.stage.answer(seen[0])["file"])


def expiry(cast: Cast) -> None:
    """Nobody claims in time."""
    stage = cast.stage
    stage.scene(f"3  nobody answers for {SHORT_LIFETIME_S:g} s: the handoff expires", "stored", "published@sender")
    errand = hand_over(stage, cast.bob, "Dora", lifetime_s=SHORT_LIFETIME_S)
    file = stage.ask(cast.alice, "see")["file"]
    expires_s = datetime.fromisoformat(errand.sent["expires_at"]).timestamp()
    stage.until("the end of a lifetime", lambda: time.time() > expires_s)
    over_http = stage.ask(cast.web, "accept", tid=errand.tid)
    records = stage.until("an expired handoff in bob's rejected/", errand.rejections)
    by_file = stage.ask(cast.alice, "claim", file=file)
    errand.ends()
    late = [str(told.get("lost", "claimed it")) for told in (over_http, by_file)]
    stage.check("past its lifetime nobody gets it", f"HTTP {late[0]}, rename {late[1]}", late == ["410", "ENOENT"])
    said = [f"{record.get('reason')}, {record.get('delivered')}" for record in records]
    stage.check("bob reads in rejected/ why", "; ".join(said), said == ["expired, not_delivered"])


def killed_while_receiving(cast: Cast) -> None:
    """alice-vm's daemon dies with a transfer in its hands."""
    stage = cast.stage
    stage.scene("4  kill -9 of the receiving daemon, a transfer in its hands", *UNSAID)
    caught = catch_transfer(stage, cast.bob, cast.alice, "Emil")
    kill(stage, caught.errand.there)
    restart(stage, caught.errand.there)
    taken = stage.answer(caught.waiting)
    _lives_on(cast, caught, taken, f"{caught.unread:,} bytes died with the receiver's daemon")


def killed_before_the_answer(cast: Cast) -> None:
    """bob-vm's daemon dies when alice has the call, and it has not read so."""
    stage = cast.stage
    stage.scene("5  kill -9 of the sending daemon, the call delivered and the answer unread", *UNSAID)
    caught = catch_transfer(stage, cast.bob, cast.alice, "Frida")
    hold(stage, caught.errand.home)
    go_on(stage, caught.errand.there)
    taken = stage.answer(caught.waiting)
    kill(stage, caught.errand.home)
    restart(stage, caught.errand.home)
    caught.errand.claim_shows()
    _lives_on(cast, caught, taken, "the sender's daemon died not knowing")


def _lives_on(cast: Cast, caught: Caught, taken: Told, fate: str) -> None:
    stage, errand = cast.stage, caught.errand
    stage.checks.append(equal(f"the call lives on: {fate}", errand.tid, taken["sha256"]))
    filed = stage.ask(cast.alice, "file_away", file=taken["file"], text="Sorry, there was a click on the line.")
    errand.final_comes_home(filed, "its final transcript comes home all the same")
    errand.ends()
    counts = stage.published[errand.tid], stage.claims[errand.tid]
    stage.check("it arrives exactly once", f"published {counts[0]} x, claimed {counts[1]} x", counts == (1, 1))


def books(cast: Cast) -> None:
    """Everything once more, as the files of both hosts have it."""
    stage = cast.stage
    stage.scene("6  the books, from the files of both hosts")
    tids = [sent["sha256"] for sent in stage.written]
    pairs = [[(host.outcome(tid) or {}).get("state") for host in stage.hosts] for tid in tids]
    same = sum(pair[0] == pair[1] is not None for pair in pairs)
    stage.check("one outcome each, the same on both hosts", f"{same} of {len(tids)} handoffs", same == len(tids))
    most = max(stage.claims.values(), default=0)
    seen = f"{sum(stage.claims.values())} claims of {len(stage.claims)} handoffs"
    stage.check("no handoff was claimed twice", seen, most == 1 and set(stage.claims) <= set(tids))
    with suppress(NotSeen):  # what is still there then is counted
        stage.until("empty custody", lambda: not any(host.in_custody() for host in stage.hosts))
    custody = sum(len(host.in_custody()) for host in stage.hosts)
    opened = sum(len(host.names(place)) for host in stage.hosts for place in ("handoff", "claimed"))
    seen = f"{custody} files in custody, {opened} in handoff/ and claimed/"
    stage.check("nothing is left behind", seen, custody + opened == 0)


def orderly_stop(cast: Cast) -> None:
    """Both daemons are told to stop."""
    stage = cast.stage
    for host in stage.hosts:
        host.signal(SIGTERM)
    for host in stage.hosts:
        stage.until(f"the end of {host.name}'s daemon", host.has_ended)
    codes = [host.exit_code() for host in stage.hosts]
    stage.check("told to stop, a daemon stops", f"exit codes {codes[0]} and {codes[1]}", codes == [0, 0])


SCENES: tuple[Callable[[Cast], None], ...] = (
    live_call,
    lost_races,
    expiry,
    killed_while_receiving,
    killed_before_the_answer,
    books,
    orderly_stop,
)
