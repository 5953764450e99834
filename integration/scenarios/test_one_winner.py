"""Three claimers of one agent, two by file and one over HTTP: one has it, the others are told that they lost."""

from collections import Counter
from collections.abc import Callable

from harness.engine import eventually
from harness.host import Fields, Host
from harness.pair import Pair

ROUNDS = 60
RACE_S = 240.0
CLAIMERS = ("first", "second", "over-http")


def test_of_three_claimers_exactly_one_wins_each_handoff(pair: Pair) -> None:
    alice = pair.alice
    alice.listen("--greedy", "--ending", "move", name="first")
    alice.listen("--greedy", "--ending", "move", name="second")
    alice.listen_over_http(name="over-http")
    written = pair.bob.hand_over("alice", "--count", str(ROUNDS), "--callers", str(ROUNDS), "--pause", "0.05")
    eventually("every handoff has a winner", lambda: len(claims(alice)) >= ROUNDS)
    eventually("every handoff has ended", lambda: all(pair.bob.outcome(one.tid) for one in written))
    winners = Counter(claim["sha256"] for claim in claims(alice))
    assert winners == Counter(one.tid for one in written)
    assert all(pair.bob.final(one.tid)["reason"] == "completed" for one in written)


def test_a_loser_is_told_so(pair: Pair) -> None:
    alice = pair.alice
    for name in ("first", "second"):
        alice.listen("--greedy", "--ending", "move", name=name)
    alice.listen_over_http(name="over-http")
    race_until(pair, lambda: "ENOENT" in losses(alice))
    race_until(pair, lambda: "409" in losses(alice))
    assert losses(alice) == {"ENOENT", "409"}


def race_until(pair: Pair, somebody_lost: Callable[[], bool]) -> None:
    """Hand over until a race was lost in the way looked for; which claimer is late is chance."""

    def race() -> bool:
        pair.bob.final(pair.bob.hand_over_one("alice").tid)
        return somebody_lost()

    eventually("somebody was late in this way", race, RACE_S)


def claims(host: Host) -> list[Fields]:
    return [line for name in CLAIMERS for line in host.ledger(name, "claimed")]


def losses(host: Host) -> set[str]:
    """Return the ways in which claimers of this host have lost so far."""
    lines = [line for name in CLAIMERS for line in host.ledger(name, "lost")]
    return {str(line.get("error", line.get("status"))) for line in lines}
