"""What may come up beside the stories of whole handoffs: odd files, refusals, requests that come to nothing.

Each is a function of two hosts with a wire between them. What an engine answers on the way is told like the rest.
"""

import errno
import json
import math
import os
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from enum import Enum
from hashlib import sha256
from pathlib import Path
from typing import Any

from tests.fakes.faulty import Failing
from tests.unit.custody.pair import START, Host, Pair, X, payload, settlement

from handoffd.custody.message import (
    Accept,
    Arrival,
    Attempt,
    Batch,
    Called,
    Finish,
    Hello,
    Landing,
    Launch,
    Lookup,
    Mirror,
    Offer,
    Poll,
    Principal,
    Settlement,
    StatesQuery,
    Want,
)
from handoffd.protocol.name import CANARY_AGENT, AgentName, HostName, Nonce, TransferId, published_name
from handoffd.protocol.payload import transfer_id
from handoffd.protocol.reason import Delivered, Problem, Reason, State
from handoffd.protocol.record import Record, to_fields

ALICE, BOB = AgentName("alice"), AgentName("bob")
A, B = HostName("host-a"), HostName("host-b")
BOBS = Principal("@bob", BOB, frozenset({BOB}))
ALICES = Principal("@alice", ALICE, frozenset({ALICE}))
UNKNOWN = TransferId("0" * 64)


class Talk(Pair):
    """Two hosts; what is asked of an engine with `ask` is remembered with its answer."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.said: list[str] = []

    @property
    def hosts(self) -> list[Host]:
        return [self.a, self.b]

    def ask(self, host: Host, verb: str, *items: Any) -> list[Any]:
        answers: list[Any] = getattr(host.engine, verb)(list(items))
        self.said.extend(f"{host.name} answers {verb}: {shown(answer)}" for answer in answers)
        return answers

    def arrive(self, data: bytes, **more: Any) -> None:
        """Let A post these bytes to B, which is asked as a stranger to them."""
        fitting = {"epoch": self.b.engine.epoch, "path": (A,), **more}
        principal = fitting.pop("principal", self.principal(self.a))
        self.ask(self.b, "admit", Arrival(principal, data, **fitting))

    def drop_and_tick(self, name: str, data: bytes, seconds: float = 0.0) -> None:
        self.a.drop(name, data)
        self.a.tick(seconds)

    def news(self, host: Host) -> None:
        self.said.extend(f"{host.name} says {shown(item)}" for item in host.engine.drain_news())

    def open(self, host: Host) -> None:
        self.said.extend(f"{host.name} holds {shown(one)}" for one in host.engine.open_handoffs())


def refuse(host: Host, verb: str, first: int, last: int, code: int) -> None:
    """Let these calls of a verb fail, counted from now."""
    host.faults.failing, host.faults.fallible = Failing(frozenset({verb}), first, last, code), 0


def shown(value: Any) -> str:
    """Return a value as text: what is empty or as usual is left out, bytes are their hash."""
    if isinstance(value, Record):
        kept = {key: found for key, found in to_fields(value).items() if found not in (None, "", {})}
        return "{" + " ".join(f"{key}={found}" for key, found in kept.items()) + "}"
    if isinstance(value, Enum):
        return str(value.value if isinstance(value.value, str) else value.name)
    if isinstance(value, bytes):
        return f"{len(value)} bytes {sha256(value).hexdigest()}"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {shown(found)}" for key, found in value.items()) + "}"
    names = getattr(value, "_fields", None) or (is_dataclass(value) and [field.name for field in fields(value)])
    if names:
        parts = ((name, getattr(value, name)) for name in names if not name.endswith("_ns"))
        return (
            type(value).__name__
            + "("
            + ", ".join(f"{n}={shown(v)}" for n, v in parts if v is not False and v not in (None, "", ()))
            + ")"
        )
    if isinstance(value, tuple):
        return "(" + ", ".join(map(shown, value)) + ")"
    if isinstance(value, float) and value > START / 2:
        return f"{math.ceil(value - START - 1e-6):+}"  # as told.py shows times
    return str(value)


# ---------------------------------------------------------------- at A, before custody


def stays(talk: Talk) -> None:
    """What is left alone in handoff/, and what becomes of it."""
    talk.drop_and_tick("note.txt", payload())
    talk.drop_and_tick("list.json", b"[]")
    talk.drop_and_tick("foreign.json", payload(sender="eve"))
    talk.drop_and_tick("twice.json", payload())
    os.mkfifo(talk.a.root / "handoff/fifo.json")
    talk.a.tick()
    talk.drop_and_tick("nobody.json", payload(to="nobody"))
    talk.drop_and_tick("beyond.json", payload(at=START + 30 * 86_400))
    talk.drop_and_tick("late.json", payload(to="carol", ttl_s=5.0))
    talk.drop_and_tick("local.json", payload(to="carol", ttl_s=500.0))
    talk.news(talk.a)
    os.rename(talk.a.root / "handoff/local.json", talk.a.root / "claimed/local.json")
    talk.a.tick(8.0)
    talk.a.tick(60.0)
    talk.news(talk.a)


def two_links(talk: Talk) -> None:
    talk.a.drop(X, payload())
    os.link(talk.a.root / "handoff" / X, talk.a.root / "claimed/second.json")
    talk.a.tick()
    talk.a.tick()


def disk_refuses_the_take(talk: Talk) -> None:
    """The file can be read, not moved; later it can. Another cannot be read at all."""
    refuse(talk.a, "move", 1, 2, errno.EACCES)
    talk.drop_and_tick(X, payload())
    talk.a.tick()
    talk.a.faults.failing = None
    talk.a.tick()
    refuse(talk.a, "read", 1, 1, errno.EACCES)
    talk.drop_and_tick("unreadable.json", payload())
    talk.a.tick()
    talk.a.faults.failing = None
    talk.news(talk.a)


def refused_at_take(talk: Talk) -> None:
    """Each ends at A, and tells why."""
    data = payload(ttl_s=600.0)
    talk.drop_and_tick("broken.json", payload().replace(b'"transcript": []', b'"transcript": 12'))
    talk.a.tick(2.5)
    talk.drop_and_tick("large.json", payload(context_summary="x" * (1 << 20)))
    talk.drop_and_tick("late.json", payload(at=START - 100))
    talk.drop_and_tick("first.json", data)
    talk.drop_and_tick("second.json", data)
    talk.drop_and_tick("third.json", data + b"\n")
    talk.news(talk.a)


def found_at_a_start(talk: Talk) -> None:
    """Names and bytes that nobody can have put there, each found by a start of its own: a directory has no order."""
    found = {
        "relay/outbox/host-b/taking.x": b"x",
        "relay/outbox/host-b/stranger": b"x",
        "relay/sent/host-b/stranger": b"x",
        "relay/inbox/host-b/stranger": b"x",
        f"relay/outbox/host-b/taking.0123456789abcdef~{X}": b"",
        f"relay/outbox/host-b/{transfer_id(b'other')}~{X}": payload(),
        f"handoff/{'0' * 16}-r{UNKNOWN}.json": payload(),
        f"relay/outcome/{UNKNOWN}.json": b"{}",
    }
    for place, data in found.items():
        (talk.a.root / place).write_bytes(data)
        talk.a.restart()
        talk.a.tick()
    talk.ask(talk.a, "record", UNKNOWN)


# ---------------------------------------------------------------- A and its peer


def answers_of_a_peer(talk: Talk) -> None:
    """What is no admission, and what is an end."""
    for number, (attempt, more) in enumerate(
        (
            (Attempt.NOT_SENT, {"detail": "no route"}),
            (Attempt.NOT_ADMITTED, {"status": 503, "detail": "full"}),
            (Attempt.NOT_ADMITTED, {"status": 403, "detail": "not with this token"}),
            (Attempt.NOT_ADMITTED, {"status": 413, "detail": "over 100 bytes"}),
            (Attempt.NOT_ADMITTED, {"status": 421, "detail": "not at home"}),
            (Attempt.UNKNOWN, {"status": 502, "detail": "a proxy"}),
            (Attempt.NOT_ADMITTED, {"status": 421, "detail": "host-a > host-b > host-a", "problem": Problem.LOOP}),
        )
    ):
        data = payload(ttl_s=20.0)
        talk.drop_and_tick(f"{number}.json", data)
        talk.a.engine.drain_news()
        told = Settlement(B, transfer_id(data), attempt, **more)
        talk.ask(talk.a, "settle", told)
        talk.ask(talk.a, "offers", Want(B, 100, 1 << 23))
    talk.open(talk.a)
    talk.a.tick(1.0)
    talk.ask(talk.a, "offers", Want(B, 1, 1 << 23))
    talk.ask(talk.a, "debts", B)
    talk.a.tick(30.0)
    talk.ask(talk.a, "debts", B)
    talk.ask(talk.a, "debts", B)
    talk.open(talk.a)


def peer_with_a_new_tree(talk: Talk) -> None:
    first, second = payload(ttl_s=600.0), payload(ttl_s=600.0)
    talk.cross(first)
    talk.drop_and_tick("second.json", second)
    talk.a.engine.drain_news()
    talk.ask(talk.a, "settle", Settlement(B, transfer_id(second), Attempt.NOT_SENT))
    talk.ask(talk.a, "hello", Hello(B, "another"), Hello(B, "another"))
    talk.news(talk.a)
    talk.ask(talk.a, "lost", Batch(B, (transfer_id(first), UNKNOWN)))


def peer_that_lost_one(talk: Talk) -> None:
    tid, _ = talk.cross(payload(ttl_s=600.0))
    talk.ask(talk.a, "lost", Batch(A, (tid,)), Batch(B, (tid,)))


def silence(talk: Talk) -> None:
    """In doubt, and asked for an end once a minute."""
    tid, _ = talk.cross()
    talk.a.tick(61.0)
    talk.a.tick(31.0)
    talk.ask(talk.a, "debts", B)
    talk.a.tick(30.0)
    talk.open(talk.a)
    talk.ask(talk.a, "debts", B)
    talk.a.tick(31.0)
    talk.ask(talk.a, "debts", B)
    talk.ask(talk.a, "record", tid, UNKNOWN)


def wishes(talk: Talk) -> None:
    """Withdrawn before it leaves, on its way, and where the disk does not take the wish; then given up."""
    first, second = payload(ttl_s=600.0), payload(ttl_s=600.0)
    talk.drop_and_tick("first.json", first)
    (offer,) = (item for item in talk.a.engine.drain_news() if isinstance(item, Offer))
    talk.ask(talk.a, "settle", Settlement(B, offer.tid, Attempt.NOT_SENT))
    talk.ask(talk.a, "withdraw", offer.tid, offer.tid, UNKNOWN)
    tid, _ = talk.cross(second, "second.json")
    refuse(talk.a, "create", 1, 1, errno.ENOSPC)
    talk.ask(talk.a, "withdraw", tid)
    talk.a.faults.failing = None
    talk.ask(talk.a, "withdraw", tid)
    talk.ask(talk.a, "withdraw", tid)
    talk.news(talk.a)
    talk.ask(talk.a, "debts", B)
    talk.ask(talk.a, "resolve", tid, UNKNOWN)


def artefacts(talk: Talk) -> None:
    """One does not come, one is not what the record says, one finds its name taken."""
    for number, brought in enumerate((None, b"other", b'{"final": 2}')):
        tid, name = talk.cross(payload(ttl_s=600.0), f"{number}.json")
        talk.b.claim()
        (talk.b.root / "claimed" / name).unlink()
        talk.b.write(f"archive/{name}", b'{"final": %d}' % number)
        talk.b.tick()
        if number == 2:
            (talk.a.root / "archive" / name).write_bytes(b"here first")
        (record,) = talk.b.engine.record([tid])
        talk.ask(talk.a, "mirror", Mirror(B, record, 0))
        talk.ask(talk.a, "debts", B)
        talk.ask(talk.a, "land", Landing(tid, brought))
        talk.ask(talk.b, "lookup", Lookup(talk.principal(talk.a), tid, artefact=True))


def clocks_apart(talk: Talk) -> None:
    """B's clock is 90 s ahead, so it ends early: the record says whose clock is off."""
    talk.b.clock.wall_s += 90.0
    talk.b.tick()
    talk.b.tick(61.0)
    tid, _ = talk.cross(payload(ttl_s=200.0))
    talk.b.tick(60.0)
    (record,) = talk.b.engine.record([tid])
    assert record is not None
    talk.ask(talk.a, "mirror", Mirror(B, record, 150_000))


def a_claim_told_of_as_ended(talk: Talk) -> None:
    tid, _ = talk.cross(payload(ttl_s=600.0))
    talk.b.claim()
    talk.b.tick()
    talk.follow()
    (record,) = talk.b.engine.record([tid])
    assert record is not None
    ending = talk.b.engine._tree.ending
    receipt = talk.b.engine._tree.ledger.receipts[tid]
    told = ending(receipt.facts, Reason.REVOKED, Delivered.NOT_DELIVERED, A, None, "revoked by host-a")
    talk.ask(talk.a, "mirror", Mirror(B, told, 5))


# ---------------------------------------------------------------- at B


def refused_at_b(talk: Talk) -> None:
    """Every refusal, with its words, and what each leaves behind."""
    data = payload(ttl_s=600.0)
    talk.arrive(data, claimed_tid=UNKNOWN)
    talk.arrive(data, epoch="another")
    talk.arrive(data, principal=BOBS)
    talk.arrive(payload(sender="eve"))
    talk.arrive(payload(to="nobody"))
    talk.arrive(payload(to="bob", sender="carol"))
    talk.arrive(data, path=(B, A))
    talk.arrive(data, path=tuple(f"h{number}" for number in range(17)))
    talk.arrive(payload().replace(b'"transcript": []', b'"transcript": 12'))
    talk.arrive(payload(at=START - 100))
    talk.arrive(payload(at=START + 30 * 86_400))
    talk.arrive(data)
    talk.arrive(data)
    talk.arrive(data + b"\n")
    refuse(talk.b, "create", 1, 1, errno.ENOSPC)
    talk.arrive(payload(ttl_s=600.0))
    refuse(talk.b, "link", 1, 1, errno.ENOSPC)
    talk.arrive(payload(ttl_s=600.0))
    talk.b.faults.failing = None
    talk.news(talk.b)
    talk.open(talk.b)


def not_yet_published(talk: Talk) -> None:
    """The disk refuses the last move, then does not; a squatter has the name of another."""
    data = payload(ttl_s=600.0)
    refuse(talk.b, "move", 2, 2, errno.ENOSPC)
    talk.arrive(data)
    talk.b.faults.failing = None
    talk.ask(talk.b, "poll", Poll(ALICE))
    talk.ask(talk.b, "accept", Accept(ALICE, transfer_id(data), Nonce("n")))
    talk.b.tick()
    talk.ask(talk.b, "poll", Poll(ALICE), Poll(BOB))
    talk.news(talk.b)
    other = payload(ttl_s=600.0)
    name = published_name(json.loads(other)["caller_hash"], transfer_id(other))
    (talk.b.root / "handoff" / name).write_bytes(b"a squatter")
    talk.arrive(other)


def served_over_http(talk: Talk) -> None:
    """Claims, their ends, and whatever comes too late or from somebody else."""
    tid, _ = talk.cross(payload(ttl_s=600.0))
    talk.ask(talk.b, "finish", Finish(ALICE, tid, reject=False))
    talk.ask(talk.b, "accept", Accept(BOB, tid, Nonce("n")), Accept(ALICE, tid, Nonce("n")), Accept(ALICE, tid, None))
    talk.ask(talk.b, "accept", Accept(ALICE, tid, Nonce("n")))
    talk.ask(talk.b, "lookup", Lookup(ALICES, tid), Lookup(BOBS, tid), Lookup(talk.principal(talk.a), tid))
    talk.ask(talk.b, "finish", Finish(BOB, tid, reject=False), Finish(ALICE, tid, reject=True, words="busy"))
    talk.ask(talk.b, "finish", Finish(ALICE, tid, reject=True), Finish(ALICE, tid, reject=False))
    talk.ask(talk.b, "accept", Accept(ALICE, tid, Nonce("n")), Accept(ALICE, "none", None))
    late, _ = talk.cross(payload(ttl_s=30.0), "late.json")
    talk.b.clock.advance(31.0)
    talk.ask(talk.b, "accept", Accept(ALICE, late, Nonce("n")))
    talk.ask(talk.b, "poll", Poll(ALICE))
    talk.ask(talk.b, "lookup", Lookup(ALICES, late), Lookup(ALICES, UNKNOWN), Lookup(ALICES, late, artefact=True))
    talk.news(talk.b)


def rejected_in_files(talk: Talk) -> None:
    """The words of a rejecting agent, from the file or from beside it; a claim that goes silent."""
    for number, words in enumerate((b'{"reject_reason": "no"}', b"not now", None)):
        _, name = talk.cross(payload(ttl_s=600.0), f"{number}.json")
        talk.b.claim()
        if words is not None:
            talk.b.write(f"rejected/{name}.reason", words)
        os.rename(talk.b.root / "claimed" / name, talk.b.root / "rejected" / name)
        talk.b.tick()
        talk.follow()
    talk.cross(payload(ttl_s=600.0), "stale.json")
    talk.b.claim()
    talk.b.tick()
    talk.b.tick(3 * 86_400.0)
    talk.b.tick(3 * 86_400.0)
    talk.open(talk.b)


def revokes(talk: Talk) -> None:
    """Of what is unknown, waits, is claimed, has ended; and by somebody else."""
    waiting, _ = talk.cross(payload(ttl_s=600.0), "waiting.json")
    talk.ask(talk.b, "revoke", Batch(HostName("host-c"), (waiting,)))
    talk.ask(talk.b, "revoke", Batch(A, (UNKNOWN, waiting)))
    claimed, _ = talk.cross(payload(ttl_s=600.0), "claimed.json")
    talk.b.claim()
    talk.ask(talk.b, "revoke", Batch(A, (claimed, waiting)))
    talk.ask(
        talk.b, "states", StatesQuery(A, {claimed: State.STORED, waiting: State.STORED, UNKNOWN: State.STORED}, None)
    )
    talk.ask(talk.b, "states", StatesQuery(A, {TransferId("1" * 64): State.STORED}, "gone.1"))
    talk.ask(talk.b, "forget", Batch(A, (waiting, UNKNOWN)))
    talk.news(talk.b)


def power_cuts(talk: Talk) -> None:
    """Published and stored ones are uncertain, a claim is believed."""
    talk.cross(payload(ttl_s=600.0), "published.json")
    talk.b.power_cut()
    talk.b.start()
    talk.cross(payload(ttl_s=600.0), "claimed.json")
    talk.b.claim()
    talk.b.power_cut()
    talk.b.start()
    talk.b.tick()
    talk.follow()
    talk.news(talk.b)


def taken_away(talk: Talk) -> None:
    """An agent deletes what it has; another keeps it under a name of its own; a published one comes back."""
    talk.cross(payload(ttl_s=600.0), "gone.json")
    (talk.b.root / "claimed" / talk.b.claim()).unlink()
    for _ in range(5):
        talk.b.tick(10.0)
    _, name = talk.cross(payload(ttl_s=600.0), "held.json")
    os.rename(talk.b.root / "handoff" / name, talk.b.root / "held")
    talk.b.tick()
    talk.b.tick(3.0)
    os.rename(talk.b.root / "held", talk.b.root / "archive/held.json")
    talk.b.tick(61.0)
    talk.open(talk.b)


def disk_refuses_the_end(talk: Talk) -> None:
    """Over HTTP: the artefact is not stored, then the outcome; A cannot keep what came home; last moves wait."""
    tid, _ = talk.cross(payload(ttl_s=600.0))
    talk.ask(talk.b, "accept", Accept(ALICE, tid, Nonce("n")))
    done = Finish(ALICE, tid, reject=False, artefact=b'{"final": 1}')
    refuse(talk.b, "create", 1, 2, errno.ENOSPC)
    talk.ask(talk.b, "finish", done)
    refuse(talk.b, "create", 1, 1, errno.ENOSPC)
    talk.ask(talk.b, "finish", Finish(ALICE, tid, reject=False))
    refuse(talk.b, "unlink", 1, 9, errno.EIO)
    talk.ask(talk.b, "finish", done)
    talk.open(talk.b)
    talk.b.faults.failing = None
    talk.b.tick()
    (record,) = talk.ask(talk.b, "record", tid)
    refuse(talk.a, "create", 1, 1, errno.ENOSPC)
    talk.ask(talk.a, "mirror", Mirror(B, record, 0))
    talk.a.faults.failing = None
    talk.ask(talk.a, "mirror", Mirror(B, record, 0))
    refuse(talk.a, "create", 1, 9, errno.ENOSPC)
    talk.ask(talk.a, "land", Landing(tid, b'{"final": 1}'))
    talk.open(talk.a)
    talk.a.faults.failing = None
    talk.a.tick()
    talk.ask(talk.a, "debts", B)


def canaries(talk: Talk) -> None:
    """Three are sent, one too soon; one is answered, one never comes home."""
    first = payload(CANARY_AGENT, CANARY_AGENT, ttl_s=20.0)
    talk.ask(talk.a, "launch", Launch(B, first), Launch(B, first), Launch(HostName("host-c"), first), Launch(B, b"{}"))
    offers = talk.offers(talk.a, talk.b)
    answers = talk.ask(
        talk.b,
        "admit",
        *(Arrival(talk.principal(talk.a), one.data, one.tid, talk.b.engine.epoch, (A,)) for one in offers),
    )
    talk.ask(talk.a, "settle", *(settlement(B, o, a) for o, a in zip(offers, answers, strict=True)))
    talk.arrive(payload(CANARY_AGENT, CANARY_AGENT, ttl_s=20.0))
    called = [item.tid for item in talk.b.engine.drain_news() if isinstance(item, Called)]
    talk.ask(talk.b, "answer", *called)
    talk.arrive(payload(CANARY_AGENT, CANARY_AGENT, ttl_s=20.0))
    talk.arrive(payload(CANARY_AGENT, CANARY_AGENT, ttl_s=3_600.0))
    talk.follow()
    talk.ask(talk.a, "journey", *called)
    talk.ask(talk.a, "launch", Launch(B, payload(CANARY_AGENT, CANARY_AGENT, ttl_s=300.0)))
    refuse(talk.a, "move", 1, 1, errno.ENOSPC)
    talk.ask(talk.a, "launch", Launch(B, payload(CANARY_AGENT, CANARY_AGENT, ttl_s=20.0)))
    talk.a.faults.failing = None
    lost = payload(CANARY_AGENT, CANARY_AGENT, ttl_s=20.0)
    talk.ask(talk.a, "launch", Launch(B, lost))
    talk.a.tick(23.0)
    talk.ask(talk.a, "journey", transfer_id(lost), UNKNOWN)


def posted_by_an_agent(talk: Talk) -> None:
    data, local = payload(ttl_s=600.0), payload(to="carol", ttl_s=600.0)
    talk.ask(talk.a, "admit", Arrival(BOBS, data), Arrival(BOBS, data), Arrival(BOBS, local))
    talk.ask(talk.a, "admit", Arrival(BOBS, payload(to="nobody")), Arrival(ALICES, payload()))
    talk.ask(talk.a, "lookup", Lookup(BOBS, transfer_id(data)), Lookup(ALICES, transfer_id(data)))
    talk.news(talk.a)
    talk.open(talk.a)


def the_clock_jumps(talk: Talk) -> None:
    """What seems late then is taken and rests; nothing late is refused for good."""
    talk.a.tick()
    talk.b.tick()
    talk.a.clock.wall_s += 3_600.0
    talk.b.clock.wall_s += 3_600.0
    talk.b.tick()
    talk.drop_and_tick(X, payload())
    talk.push()
    talk.arrive(payload())
    talk.news(talk.a)
    talk.open(talk.a)


Odd = Callable[[Talk], None]
ODD: dict[str, Odd] = {
    function.__name__.replace("_", " "): function
    for function in (
        stays,
        two_links,
        disk_refuses_the_take,
        refused_at_take,
        found_at_a_start,
        answers_of_a_peer,
        peer_with_a_new_tree,
        peer_that_lost_one,
        silence,
        wishes,
        artefacts,
        clocks_apart,
        a_claim_told_of_as_ended,
        refused_at_b,
        not_yet_published,
        served_over_http,
        rejected_in_files,
        revokes,
        power_cuts,
        taken_away,
        disk_refuses_the_end,
        canaries,
        posted_by_an_agent,
        the_clock_jumps,
    )
}
