"""A root read from outside: every legal picture has its state, and what vanishes while we look is no error."""

import importlib.util
import os
import threading
from pathlib import Path

import pytest
from tests.unit.handmade import DATA, EXPIRES_S, HANDOFF_ID, QUEUED, RECEIPT, SENT, Ground, N, T, X, payload

from handoffd.custody.place import LEGAL, PLACES, Place, Role, legal_for
from handoffd.custody.reading import Reading, read_file
from handoffd.custody.remains import Remain, remains
from handoffd.protocol.name import suffixed
from handoffd.protocol.payload import transfer_id
from handoffd.protocol.reason import Reason, State
from handoffd.protocol.record import Artefact, encode

COMPLETED = (Reason.COMPLETED, State.COMPLETED)
DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture
def ground(tmp_path: Path) -> Ground:
    return Ground.make(tmp_path)


# ---------------------------------------------------------------- what the sender's files say


@pytest.mark.parametrize(("mode", "word"), [("pull", "leased"), ("push", "stored"), ("?", "stored")])
def test_what_a_peer_that_dials_in_was_handed_is_leased(ground: Ground, mode: str, word: str) -> None:
    """It may never have arrived."""
    ground.put(SENT)
    note = b"{" if mode == "?" else f'{{"epoch": "e", "mode": "{mode}"}}'.encode()
    ground.put("relay/peers/alice-vm.json", note)
    (entry,) = Reading(ground.root).find(T)
    assert (entry.word, entry.peer) == (word, "alice-vm")


def test_who_looks_for_long_sees_that_a_peer_has_begun_to_dial_in(ground: Ground) -> None:
    ground.put(SENT)
    reading, words = Reading(ground.root), []
    for mode in ("push", "pull", "push"):
        ground.put("relay/peers/alice-vm.json", f'{{"epoch": "e", "mode": "{mode}"}}'.encode())
        words += [entry.word for entry in reading.find(T)]
    assert words == ["stored", "leased", "stored"]


def test_a_file_in_the_outbox_is_queued(ground):
    ground.put(QUEUED)
    entry = ground.only()
    assert (entry.word, entry.role, entry.tid, entry.peer, entry.file) == ("queued", Role.SENDER, T, "alice-vm", X)
    assert (entry.sender, entry.to, entry.handoff_id, entry.expires_at) == ("bob", "alice", HANDOFF_ID, EXPIRES_S)


def test_an_interrupted_take_is_queued_and_found_by_the_hash_of_its_bytes(ground):
    ground.put(f"relay/outbox/alice-vm/taking.abc123~{X}")
    assert (ground.only().word, ground.only().tid) == ("queued", T)


def test_a_sent_file_proves_no_more_than_stored(ground):
    ground.put(SENT)
    assert ground.only().word == "stored"


@pytest.mark.parametrize("name", [X, suffixed(X, T)])
def test_a_copy_of_a_sent_file_in_claimed_shows_the_claim(ground, name):
    ground.put(SENT)
    ground.put(f"claimed/{name}")
    assert ground.only().word == "claimed"


def test_another_handoff_of_the_same_file_name_in_claimed_shows_nothing(ground):
    ground.put(SENT)
    ground.put(f"claimed/{X}", payload(handoff_id="another"))
    assert ground.only().word == "stored"


def test_sent_wins_over_outbox_while_a_file_is_between_them(ground):
    ground.put(SENT)
    ground.put(QUEUED)
    assert ground.only().word == "stored"


def test_an_outcome_wins_over_everything(ground):
    ground.put(SENT)
    ground.end(*COMPLETED)
    entry = ground.only()
    assert (entry.word, entry.ended, entry.role) == ("completed", True, Role.SENDER)


# ---------------------------------------------------------------- what the receiver's files say


def test_a_receipt_beside_an_unpublished_file_is_stored(ground):
    ground.put(RECEIPT)
    ground.link(RECEIPT, RECEIPT + ".new")
    assert (ground.only().word, ground.only().role) == ("stored", Role.RECEIVER)


def test_a_receipt_and_its_name_in_handoff_is_published(ground):
    ground.put(RECEIPT)
    ground.link(RECEIPT, f"handoff/{N}")
    assert ground.only().word == "published"


@pytest.mark.parametrize("place", [f"claimed/{N}", f"{RECEIPT}.accepted~alice~nonce-1", "archive/1-bob-alice-x.json"])
def test_wherever_an_agent_took_it_it_is_claimed(ground, place):
    ground.put(RECEIPT)
    ground.link(RECEIPT, place)
    assert ground.only().word == "claimed"


def test_a_file_taken_back_is_stored_until_its_outcome_is_written(ground):
    ground.put(RECEIPT)
    ground.link(RECEIPT, RECEIPT + ".pulled")
    entry = ground.only()
    assert entry.word == "stored"
    assert "withdrawn" in entry.means


def test_a_receipt_alone_says_so(ground):
    ground.put(RECEIPT)
    assert "nowhere to be seen" in ground.only().means


def test_a_file_without_receipt_was_never_acknowledged(ground):
    ground.put(RECEIPT + ".new")
    assert ground.only().word == "arriving"


def test_a_published_name_without_receipt_is_a_stray(ground):
    ground.put(f"handoff/{N}")
    assert ground.only().word == "stray"


def test_what_an_agent_rewrote_is_reported_as_far_as_it_parses(ground):
    ground.put(RECEIPT, b'{"from_agent": 7')
    entry = ground.only()
    assert (entry.tid, entry.sender, entry.handoff_id) == (T, None, None)


def test_a_relayed_handoff_is_leased_once_it_may_have_left(ground):
    ground.put(f"{RECEIPT}.routed")
    ground.put(f"relay/sent/alice-vm/{T}~{N}")
    assert (ground.only().word, ground.only().role) == ("leased", Role.RELAY)


def test_a_relayed_handoff_is_stored_while_it_waits(ground):
    ground.put(f"{RECEIPT}.routed")
    ground.put(f"relay/outbox/alice-vm/{T}~{N}")
    assert (ground.only().word, ground.only().role) == ("stored", Role.RELAY)


# ---------------------------------------------------------------- what is not ours


def test_an_agents_file_is_untaken(ground):
    ground.put(f"handoff/{X}")
    entry = ground.only()
    assert (entry.word, entry.role, entry.sender, entry.tid) == ("untaken", Role.LOCAL, "bob", T)


@pytest.mark.parametrize(
    "path",
    [
        "handoff/.x.json.tmp",
        "handoff/notes.txt",
        "relay/outbox/alice-vm/note",
        f"relay/outbox/alice-vm/{T}",
        f"relay/sent/alice-vm/{T[:-1]}~{X}",
        f"relay/sent/alice-vm/{T}~.json",
        f"relay/inbox/bob-vm/{X}",
        f"{RECEIPT}.other",
        f"relay/outcome/{T}.bak",
        "relay/outcome/x.json",
        "relay/inbox/stray-file",
    ],
)
def test_a_name_we_would_not_write_is_nobodys(ground, path):
    ground.put(path)
    assert ground.reading.standings() == []
    assert ground.reading.newest_outcomes() == []


def test_a_fifo_does_not_make_a_reader_wait(ground):
    os.mkfifo(ground.root / "handoff" / X)
    (standing,) = ground.reading.standings()
    assert ground.reading.entry(standing) is None


def test_a_link_out_of_the_root_is_not_followed(ground, tmp_path_factory):
    secret = tmp_path_factory.mktemp("elsewhere") / "secret.json"
    secret.write_bytes(DATA)
    (ground.root / "handoff" / X).symlink_to(secret)
    (standing,) = ground.reading.standings()
    assert ground.reading.entry(standing) is None


# ---------------------------------------------------------------- doubt


@pytest.mark.parametrize(
    ("path", "after_s", "doubt_s"),
    [
        (QUEUED, -1, None),
        (QUEUED, 7, 7),
        (SENT, 7, None),
        (SENT, 37, 7),
        (RECEIPT, 37, None),
        (f"handoff/{X}", 37, None),
    ],
)
def test_doubt_begins_when_a_verdict_is_missing(ground, path, after_s, doubt_s):
    ground.put(path)
    assert ground.only().doubt_s(EXPIRES_S + after_s) == doubt_s


def test_nothing_that_ended_or_was_claimed_is_in_doubt(ground):
    ground.put(SENT)
    ground.put(f"claimed/{X}")
    assert ground.only().doubt_s(EXPIRES_S + 1_000) is None
    ground.end(*COMPLETED)
    assert ground.only().doubt_s(EXPIRES_S + 1_000) is None


# ---------------------------------------------------------------- finding one


@pytest.mark.parametrize("ident", [T, T[:8], T[:20], HANDOFF_ID])
@pytest.mark.parametrize("path", [QUEUED, RECEIPT, f"handoff/{X}"])
def test_an_open_handoff_is_found_by_each_of_its_names(ground, ident, path):
    ground.put(path)
    assert [entry.tid for entry in ground.reading.find(ident)] == [T]


@pytest.mark.parametrize("ident", [T, T[:8], HANDOFF_ID])
def test_an_ended_handoff_is_found_by_each_of_its_names_once(ground, ident):
    ground.end(*COMPLETED)
    ground.put(SENT)
    assert [entry.word for entry in ground.reading.find(ident)] == ["completed"]


@pytest.mark.parametrize("ident", ["", T[:7], T[:-1] + "g", HANDOFF_ID[:-1], "../../etc/passwd", "x" * 500])
def test_what_is_not_there_is_not_found(ground, ident):
    ground.end(*COMPLETED)
    ground.put(f"relay/outbox/alice-vm/{transfer_id(b'x')}~{X}", b"x")
    assert ground.reading.find(ident) == []


def test_of_several_with_one_handoff_id_the_newest_comes_first(ground):
    other = payload(resume_hint="a second call within the second")
    ground.put(QUEUED, written_s=100)
    ground.put(f"relay/sent/alice-vm/{transfer_id(other)}~{X}", other, written_s=200)
    assert [entry.tid for entry in ground.reading.find(HANDOFF_ID)] == [transfer_id(other), T]


def test_outcomes_are_listed_newest_first(ground):
    tids = [transfer_id(bytes([number])) for number in range(5)]
    for number, tid in enumerate(tids):
        ground.put(f"relay/outcome/{tid}.json", written_s=number)
    assert ground.reading.newest_outcomes() == tids[::-1]


def test_a_file_in_outcome_that_is_not_named_by_a_transfer_id_is_never_found(ground):
    ground.put("relay/outcome/somebodys-notes.json", encode(ground.end(*COMPLETED)))
    assert len(ground.reading.find(HANDOFF_ID)) == 1
    assert ground.reading.find("somebodys-notes") == []


def test_an_outcome_that_is_no_record_is_passed_over(ground):
    ground.put(f"relay/outcome/{T}.json", b"{")
    assert ground.reading.ended(T) is None
    assert ground.reading.find(T) == []


@pytest.mark.parametrize(
    ("more", "role"),
    [
        ({"file": X}, Role.SENDER),
        ({"file": N}, Role.RECEIVER),
        ({"file": None, "handoff_id": None, "sender": None, "to": None}, Role.RECEIVER),
    ],
)
def test_an_outcome_tells_whose_it_was_by_the_name_of_its_file(ground, more, role):
    ground.end(*COMPLETED, **more)
    assert ground.reading.ended(T).role is role


# ---------------------------------------------------------------- what is left of one


def test_what_is_left_is_told_from_files_of_the_same_name(ground):
    final = payload(transcript=[{"role": "user", "text": "bye"}])
    name = f"1795168805-bob-alice-{HANDOFF_ID}.json"
    ground.end(*COMPLETED, artefact=Artefact(name, transfer_id(final), len(final)))
    ground.put(f"archive/{name}", final)
    ground.put(f"archive/{name}.original")
    ground.put(f"archive/{X}", payload(handoff_id="another"))
    ground.put(f"archive/1795168899-bob-alice-{HANDOFF_ID}.json", payload(hmac="another"))
    (entry,) = ground.reading.find(T)
    assert {found.path: found.what for found in remains(ground.root, entry)} == {
        f"archive/{name}": Remain.ARTEFACT,
        f"archive/{name}.original": Remain.PAYLOAD,
        f"archive/1795168899-bob-alice-{HANDOFF_ID}.json": Remain.NAMESAKE,
    }


def test_a_rejected_payload_is_found_with_its_reason(ground):
    record = ground.end(Reason.EXPIRED, State.EXPIRED)
    ground.put(f"rejected/{suffixed(X, T)}")
    ground.put(f"rejected/{suffixed(X, T)}.reason", encode(record))
    ground.put(f"rejected/{X}.reason", b"words of another rejection")
    (entry,) = ground.reading.find(T)
    assert {found.path: found.what for found in remains(ground.root, entry)} == {
        f"rejected/{suffixed(X, T)}": Remain.PAYLOAD,
        f"rejected/{suffixed(X, T)}.reason": Remain.REASON,
    }


def test_an_agents_words_beside_a_published_name_are_found(ground):
    ground.end(Reason.REJECTED_BY_AGENT, State.REJECTED, file=N)
    ground.put(f"rejected/{N}")
    ground.put(f"rejected/{N}.reason", b"not my department")
    (entry,) = ground.reading.find(T)
    assert [found.what for found in remains(ground.root, entry)] == [Remain.PAYLOAD, Remain.WORDS]


# ---------------------------------------------------------------- a root in motion


def test_files_that_come_and_go_while_we_look_are_no_error(ground):
    """A handoff that circles through all places is seen in each look at most once, and never breaks one."""
    steps = ["relay/inbox/bob-vm/" + N + ".new", f"handoff/{N}", f"claimed/{N}", f"archive/{N}"]
    ground.put(RECEIPT)
    ground.link(RECEIPT, steps[0])
    stop = threading.Event()

    def circle() -> None:
        while not stop.is_set():
            for here, there in zip(steps, steps[1:] + steps[:1], strict=True):
                os.rename(ground.root / here, ground.root / there)

    mover = threading.Thread(target=circle)
    mover.start()
    try:
        words = set()
        for _ in range(300):
            (standing,) = ground.reading.standings()
            words.add(ground.reading.entry(standing).word)
    finally:
        stop.set()
        mover.join()
    assert words <= {"stored", "published", "claimed"}


def test_a_root_that_no_daemon_has_served_yet_shows_what_agents_wrote(tmp_path):
    assert (Reading(tmp_path).standings(), Reading(tmp_path).newest_outcomes()) == ([], [])
    (tmp_path / "handoff").mkdir()
    (tmp_path / "handoff" / X).write_bytes(DATA)
    assert [entry.word for entry in Reading(tmp_path).find(T)] == ["untaken"]


def test_a_missing_directory_of_a_peer_is_an_empty_one(ground):
    (ground.root / "relay/outbox/alice-vm").rmdir()
    assert ground.reading.standings() == []


# ---------------------------------------------------------------- the tables


def test_every_row_is_reached_by_its_own_places():
    assert [legal_for(row.needs) for row in LEGAL] == list(LEGAL)


def test_every_place_that_can_stand_open_is_in_some_row():
    only_beside_an_outcome = {Place.PASSED_PAYLOAD, Place.PASSED_ARTEFACT}
    assert set().union(*(row.needs for row in LEGAL)) == set(PLACES) - only_beside_an_outcome
    assert set(PLACES) == set(Place)


def test_every_state_that_is_not_final_has_a_picture():
    shown = {row.state for row in LEGAL if row.state is not None}
    assert shown == {State.QUEUED, State.STORED, State.LEASED, State.PUBLISHED, State.CLAIMED}


def test_the_page_of_directories_is_what_the_tables_say():
    spec = importlib.util.spec_from_file_location("make_directories", DOCS / "make_directories.py")
    assert spec is not None
    assert spec.loader is not None
    generator = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generator)
    assert (DOCS / "directories.md").read_text() == generator.page(), "run: python docs/make_directories.py"


# ---------------------------------------------------------------- what a person is shown in passing


def test_a_relay_that_has_not_handed_it_on_says_whom_it_goes_to(ground: Ground) -> None:
    ground.put(f"{RECEIPT}.routed")
    ground.put(f"relay/outbox/alice-vm/{T}~{N}")
    assert (ground.only().role, ground.only().peer, ground.only().onward) == (Role.RELAY, "bob-vm", "alice-vm")


def test_a_claim_under_another_name_is_still_named_by_its_published_name(ground: Ground) -> None:
    ground.put(RECEIPT)
    ground.link(RECEIPT, "claimed/elsewhere.json")
    (standing,) = ground.reading.standings()
    assert [(seen.place, seen.name) for seen in standing.sightings] == [(Place.RECEIPT, N), (Place.ELSEWHERE, N)]


@pytest.mark.parametrize("ending", [".new", ".pulled"])
def test_a_link_that_we_are_just_making_is_no_agents_claim(ground: Ground, ending: str) -> None:
    """The second name came after inbox/ had been listed."""
    ground.put(RECEIPT)
    receipt = next(iter(ground.reading.standings()[0].sightings))
    ground.link(RECEIPT, f"{RECEIPT}{ending}")
    assert not ground.reading._is_held_elsewhere(receipt)
    (ground.root / f"{RECEIPT}{ending}").rename(ground.root / "claimed/elsewhere.json")
    assert ground.reading._is_held_elsewhere(receipt)


def test_a_file_of_just_the_limit_is_read(ground: Ground) -> None:
    ground.put("archive/just.json", b"12345678")
    read = read_file(ground.root / "archive/just.json", 8)
    assert read is not None
    assert read[0] == b"12345678"
    assert read_file(ground.root / "archive/just.json", 7) is None


def test_what_may_be_left_of_it_and_cannot_be_read_is_passed_over(ground: Ground) -> None:
    ground.put(QUEUED)
    ground.put("archive/real.json", payload(handoff_id="another"))
    os.symlink(ground.root / "archive/real.json", ground.root / f"archive/{suffixed(X, T)}")
    ground.put(f"claimed/{X}", payload(reason="other bytes"))
    assert [(found.path, found.what) for found in remains(ground.root, ground.only())] == [
        (f"claimed/{X}", Remain.NAMESAKE)
    ]
