"""What simulated hosts show is a path of the protocol model; and what is none, the model says so."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.mistakes.table import mistakes
from tests.simulator.paths import LIMITS
from tests.simulator.paths_check import WHOLE, CannotReplay, build_model, judge, main, watch
from tests.simulator.paths_track import BEGIN, PULL, PUSH
from tests.simulator.schedule import draw, from_text

REPOSITORY = Path(__file__).parents[2]
MISTAKES = {mistake.name: mistake for mistake in mistakes()}
PUSHED = """seed 7 hosts 2
write 0 0
look 0 0
send 0 0
deliver 0 0
hear 0 255
claim 0 255
tick 1 0
ask 0 0
learn 0 0
end 0 128
"""
LEASED = """seed 7 hosts 2 shape star
write 0 0
look 0 0
visit 0 255
visit 0 255
lease 0 0
lend 0 0
receive 0 255
visit 0 255
claim 0 255
tick 1 0
visit 0 255
end 0 128
"""
CUT_IN_A_STOP = """seed 439 hosts 2 shape star
write 214 88
cut_power_soon 1 97
stop 27 43
"""
OF_A_PUSH = """
a.place=outbox
a.place-flushed=outbox
a.epoch=1
a.epoch-flushed=1
!posts
?post b.token=new
b.receipt=yes
b.token-flushed=new b.receipt-flushed=yes
b.token=offered
told.1=stored
a.place=sent
?agent b.token=claimed
b.token-flushed=claimed
told.1=stored+claimed
a.claimed=yes
?agent b.token=done
b.token-flushed=done
b.end=completed
b.end-flushed=completed
told.1=stored+claimed+completed
a.end=completed
a.end-flushed=completed
"""
"""A handoff in peace, step by step."""
OF_A_LEASE = """
a.place=outbox
a.place-flushed=outbox
?hello a.epoch=1
a.epoch-flushed=1
?lease a.place=sent
a.place-flushed=sent
!bytes
?receive b.token=new
b.receipt=yes
b.token-flushed=new b.receipt-flushed=yes
b.token=offered
told.1=stored
?agent b.token=claimed
b.token-flushed=claimed
told.1=stored+claimed
?told a.claimed=yes
?agent b.token=done
b.token-flushed=done
b.end=completed
b.end-flushed=completed
told.1=stored+claimed+completed
?told a.end=completed
a.end-flushed=completed
!forgets
"""
"""The same, leased."""
SOUND = {PUSH: OF_A_PUSH, PULL: OF_A_LEASE}
HISTORIES = {PUSH: PUSHED, PULL: LEASED}
# What is taken out of it, what is put in its place, and what is wrong with it.
WRONG_PUSH = {
    "the bytes leave before outbox/ is flushed": ("a.place-flushed=outbox\n", ""),
    "the bytes leave before the epoch is durable": ("a.epoch-flushed=1\n", ""),
    "a token that nobody sent": ("!posts\n", ""),
    "a token without a request": ("?post b.token=new", "b.token=new"),
    "a receipt before its token": ("?post b.token=new\nb.receipt=yes", "?post b.receipt=yes\nb.token=new"),
    "published before the flush": ("b.token-flushed=new b.receipt-flushed=yes\n", ""),
    "stored is said before the receipt is durable": (
        "b.token-flushed=new b.receipt-flushed=yes\nb.token=offered\ntold.1=stored",
        "b.token-flushed=new\ntold.1=stored",
    ),
    "the daemon claims": ("?agent b.token=claimed", "b.token=claimed"),
    "a claim is told before it is flushed": ("b.token-flushed=claimed\n", ""),
    "a claim is shown that was not told": ("told.1=stored+claimed\n", ""),
    "an end is told before it is durable": ("b.end-flushed=completed\ntold.1", "told.1"),
    "A ends as B did not": ("a.end=completed", "a.end=rejected"),
    "A knows the end before it was told": ("told.1=stored+claimed+completed\n", ""),
    "offered again after a crash": ("a.claimed=yes", "!b-dies b.serves=?\nb.serves=yes b.token=offered"),
    "a claim outlives a power cut unflushed": (
        "b.token-flushed=claimed\n",
        "!b-power b.serves=?\nb.token-flushed=claimed\n",
    ),
    "what was flushed is gone after a power cut": (
        "b.token=offered\n",
        "!b-power b.serves=? b.token=none b.receipt=no b.token-flushed=none b.receipt-flushed=no\n",
    ),
    "expired alone while a request is out": (
        "?post b.token=new\n",
        "a.late=yes\na.end=undelivered\n",
    ),
    "an outcome changes": ("a.end-flushed=completed", "a.end-flushed=completed\na.end=rejected"),
}
_LOSES = "!b-loses b.epoch=2 b.serves=? b.token=none b.receipt=no b.token-flushed=none b.receipt-flushed=no"
WRONG_PULL = {
    "the bytes leave before the lease is flushed": ("a.place-flushed=sent\n", ""),
    "the bytes leave without a lease": ("?lease a.place=sent\na.place-flushed=sent\n", ""),
    "leased before the epoch is durable": ("a.epoch-flushed=1\n", ""),
    "an epoch without a hello": ("?hello a.epoch=1", "a.epoch=1"),
    "leased though nobody asked": ("?lease a.place=sent", "a.place=sent"),
    "bytes come that were not handed out": ("!bytes\n", ""),
    "a token without bytes that came": ("?receive b.token=new", "b.token=new"),
    "a receipt before its token": ("?receive b.token=new\nb.receipt=yes", "?receive b.receipt=yes\nb.token=new"),
    "published before the flush": ("b.token-flushed=new b.receipt-flushed=yes\n", ""),
    "a claim is told before it is flushed": ("b.token-flushed=claimed\n", ""),
    "an end is told before it is durable": ("b.end-flushed=completed\ntold.1", "told.1"),
    "a claim is shown that was not told": ("told.1=stored+claimed\n", ""),
    "an end that nobody tells just then": ("?told a.end=completed", "a.end=completed"),
    "A ends as B did not": ("?told a.end=completed", "?told a.end=rejected"),
    "expired alone after the lease": ("?receive b.token=new\n", "a.late=yes\na.end=undelivered\n"),
    "withdrawn alone after the lease": ("?receive b.token=new\n", "?withdraw a.end=undelivered\n"),
    "offered again after a restart": ("told.1=stored\n", "!a-dies\na.place=outbox\n"),
    "a flushed lease is undone by a power cut": ("!bytes\n", "!a-power a.place=outbox a.place-flushed=outbox\n"),
    "the bytes go to another tree": (
        "!bytes\n?receive b.token=new\n",
        f"{_LOSES}\nb.serves=yes\n!bytes\n?receive b.token=new\n",
    ),
    "another tree is noted before what the old one had has ended": (
        "told.1=stored\n",
        f"{_LOSES}\nb.serves=yes\n?hello a.epoch=2\n",
    ),
    "what another tree had is offered again": (
        "told.1=stored\n",
        f"{_LOSES}\nb.serves=yes\n?hello a.place=outbox\n",
    ),
    "ended by B though nobody asked for a verdict": ("b.token=offered\n", "b.token=pulled\n"),
    "a verdict that A did not want": ("told.1=stored\n", "?verdict b.token=pulled\n"),
    "a verdict wanted of what was never leased": ("?lease a.place=sent\n", "!wishes\n?lease a.place=sent\n"),
    "B is to forget what A has not flushed": ("a.end-flushed=completed\n", ""),
    "B is to forget what A has not ended": ("?told a.end=completed\na.end-flushed=completed\n", ""),
    "an outcome changes": ("a.end-flushed=completed", "a.end-flushed=completed\na.end=rejected"),
}
WRONG = [
    *((PUSH, words, *change) for words, change in WRONG_PUSH.items()),
    *((PULL, words, *change) for words, change in WRONG_PULL.items()),
]
_OF_B = (
    "B process crash",
    "B power cut",
    "B stops, clean mark durable",
    "B loses relay/ and all files, new epoch",
    "AGENT claims handoff/N -> claimed/N",
    "AGENT archives",
    "AGENT rejects",
)
_OF_A_PUSH = (
    "A process crash",
    "A power cut",
    "A sends POST",
    "A sends POST again",
    "A gets B's complete not-admitted",
    "B writes inbox/N.new",
    "B refuses expired POST: tombstone",
    "B answers 503, not admitted",
    "B handles REVOKE",
    "B stopping: handoff/N -> inbox/N.new",
    "B loses relay/, new epoch",
)
_OF_A_LEASE = (
    "H process crash",
    "H power cut",
    "H stores the peer's epoch",
    "H: peer's epoch changed, outcome peer_lost_state",
    "H leases: outbox/ -> sent/B",
    "H hands out the bytes",
    "H hands out the bytes, and nobody waits",
    "the leased bytes are lost",
    "B gets the bytes",
    "B gets the delayed bytes",
    "H asks B for a verdict",
    "B handles H's wish for a verdict",
    "H tells B to forget it",
    "H hears claimed from B",
    "H writes B's final outcome",
    "H expires it alone: nothing can be out",
    "H ends it alone: its writer withdraws it, nothing can be out",
)
HEARD = {
    *(f"{PUSH}: {step}" for step in (*_OF_A_PUSH, *_OF_B)),
    *(f"{PULL}: {step}" for step in (*_OF_A_LEASE, *_OF_B)),
}
"""Steps of the model, most of them only taken where a line tells of them, as the model calls them."""
KEPT = [path for path in sorted(Path(__file__).with_name("kept").glob("*.txt")) if " hosts 2" in path.read_text()]
_NOTICED_PUSHED = (
    "outbox-unflushed",
    "silence-is-refusal",
    "receipt-first",
    "stored-unflushed",
    "published-first",
    "claim-told-unflushed",
    "outcome-unflushed",
)
_NOTICED_LEASED = (
    "leased-unflushed",
    "leased-without-move",
    "published-first",
    "claim-told-unflushed",
)
NOTICED = [*((PUSH, name) for name in _NOTICED_PUSHED), *((PULL, name) for name in _NOTICED_LEASED)]
"""Mistakes in the order of steps: what hosts with them show over such a link is no path."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    try:
        return build_model(tmp_path_factory.mktemp("model"))
    except CannotReplay as error:
        pytest.skip(str(error))


def trace(lines: str) -> str:
    first = " ".join(f"{name}={value}" for name, value in {**BEGIN, "a.claimed": "?"}.items())
    numbered = [f"line-{number} {line}" for number, line in enumerate(lines.strip().splitlines(), 1)]
    return "\n".join(["trace one", f"written {first}", *numbered]) + "\n"


@pytest.mark.parametrize("link", HISTORIES)
def test_a_history_shows_every_step_of_a_handoff(link: str) -> None:
    (track,), broken = watch(from_text(HISTORIES[link]))
    shown = track.text("one").splitlines()
    assert not broken
    assert (track.limit, track.link) == ("", link)
    for word in SOUND[link].split():
        assert word.startswith("told") or any(word in line.split() for line in shown), word


def test_a_mark_of_an_orderly_stop_is_shown_before_the_power_cut_that_left_it() -> None:
    (track,), broken = watch(from_text(CUT_IN_A_STOP))
    shown = track.text("one").splitlines()
    stops = next(number for number, line in enumerate(shown) if "!b-stops" in line)
    assert not broken
    assert "b.clean=yes" in shown[stops]
    assert "!b-power" in shown[stops + 1]


def test_what_the_model_does_not_have_ends_a_trace_by_name() -> None:
    limits = {track.limit for seed in range(120) for track in watch(draw(seed))[0]}
    assert "" in limits
    assert len(limits) > 4
    assert limits <= {"", *LIMITS}


@pytest.mark.slow
@pytest.mark.timeout(900)  # half a minute, if nobody else wants the two cores
def test_what_simulated_hosts_show_are_paths_of_the_model(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["--schedules", "2000", "--jobs", "2", "--model", str(model)])
    told = capsys.readouterr().out
    assert code == 0, told
    assert "ended by a broken promise:\nlines whose" in told
    counts = {
        name.strip(): int(number)
        for number, name in (line.split(None, 1) for line in told.splitlines()[2:] if line[:1] == " ")
    }
    assert counts[f"{PUSH}: {WHOLE}"] > 2_200
    assert counts[f"{PULL}: {WHOLE}"] > 700
    assert counts.keys() >= HEARD, "these steps of the model were not shown once"


@pytest.mark.slow
@pytest.mark.parametrize("kept", KEPT, ids=lambda path: path.stem)
def test_what_was_kept_of_two_hosts_is_a_path(model: Path, kept: Path) -> None:
    tracks, broken = watch(from_text(kept.read_text()))
    assert not broken
    for number, track in enumerate(track for track in tracks if track.is_watched):
        assert judge(model, track.text(f"{kept.stem}.{number}"), track.link).wrong == []


@pytest.mark.slow
@pytest.mark.parametrize("link", SOUND)
def test_a_handoff_in_peace_is_a_path(model: Path, link: str) -> None:
    verdict = judge(model, trace(SOUND[link]), link)
    assert (verdict.traces, verdict.lines, verdict.wrong) == (1, len(SOUND[link].strip().splitlines()) + 1, [])


@pytest.mark.slow
@pytest.mark.parametrize(("link", "words", "old", "new"), WRONG, ids=[f"{one[0]}: {one[1]}" for one in WRONG])
def test_what_breaks_the_protocol_is_no_path(model: Path, link: str, words: str, old: str, new: str) -> None:
    assert SOUND[link].count(old) == 1
    (said,) = judge(model, trace(SOUND[link].replace(old, new)), link).wrong
    assert "states of the model agreed before" in said


@pytest.mark.slow
@pytest.mark.parametrize("line", ["a.place=nowhere", "c.place=sent", "!explodes", "?explodes"])
@pytest.mark.parametrize("link", SOUND)
def test_a_trace_with_words_that_nobody_knows_is_not_judged(model: Path, line: str, link: str) -> None:
    with pytest.raises(CannotReplay, match=r"no such|neither"):
        judge(model, trace(line), link)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("link", "name"), NOTICED)
def test_hosts_with_a_mistake_show_what_is_no_path(model: Path, link: str, name: str, tmp_path: Path) -> None:
    MISTAKES[name].plant(tmp_path)
    command = [sys.executable, "-m", "tests.simulator.paths_check", "--jobs", "1", "--model", str(model)]
    done = subprocess.run(
        [*command, "--schedules", "160"],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert f"NO PATH {link}-" in done.stdout
