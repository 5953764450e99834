"""What of a status needs attention: each word is found, at its bound and not before, with a remedy."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest
from tests.unit.a_status import LINK, NOW, RUNNING, a_status

from handoffd.custody.opened import Open
from handoffd.custody.place import Role
from handoffd.protocol.timing import REVOKE_AFTER_S, STALE_CLAIM_S
from handoffd.status.concern import BACKLOG_S, CLOCK_OFFSET_S, DISK_LOW_BYTES, INODES_LOW, WORDS
from handoffd.status.model import Disk, JournalHealth


def words(handoffs: Iterable[Open] = (), **more: Any) -> list[str]:
    found = a_status(handoffs, **more).concerns
    assert all(one.detail and one.remedy for one in found)
    return [one.word for one in found]


def one(state: str, *, role: Role = Role.SENDER, age_s: float = 1.0, expires_s: float = 60.0) -> Open:
    return Open(role, state, "t" * 64, "alice-vm", "alice", NOW - age_s, NOW + expires_s)


def test_a_host_that_is_well_has_none() -> None:
    assert words([one("queued"), one("published", role=Role.RECEIVER), one("claimed", role=Role.RECEIVER)]) == []


@pytest.mark.parametrize(
    ("word", "more"),
    [
        ("stopped", {"running": None}),
        ("silent", {"running": None, "silence": "timed out"}),
        ("not_ready", {"running": replace(RUNNING, ready=False)}),
        ("journal_failing", {"running": replace(RUNNING, journal=JournalHealth(failing=True, lines_lost=3))}),
        ("disk_low", {"disk": Disk(DISK_LOW_BYTES - 1, 1 << 40, None)}),
        ("disk_low", {"disk": Disk(1 << 40, 1 << 40, INODES_LOW - 1)}),
        ("connecting", {"links": (replace(LINK, state="down"),)}),
        ("clock_offset", {"links": (replace(LINK, clock_offset_ms=int(CLOCK_OFFSET_S * 1000) + 1),)}),
        ("clock_offset", {"links": (replace(LINK, clock_offset_ms=-int(CLOCK_OFFSET_S * 1000) - 1),)}),
    ],
)
def test_trouble_of_the_host_and_its_links_is_found(word: str, more: dict[str, Any]) -> None:
    assert words(**more) == [word]
    assert word in WORDS


@pytest.mark.parametrize(
    ("word", "handoff"),
    [
        ("backlog", one("queued", age_s=BACKLOG_S + 1)),
        ("backlog", one("stored", role=Role.RELAY, age_s=BACKLOG_S + 1)),
        ("in_doubt", one("queued", expires_s=-1)),
        ("in_doubt", one("stored", expires_s=-REVOKE_AFTER_S - 1)),
        ("in_doubt", one("published", expires_s=-REVOKE_AFTER_S - 1)),
        ("in_doubt", one("leased", role=Role.RELAY, expires_s=-REVOKE_AFTER_S - 1)),
        ("unclaimed", one("published", role=Role.RECEIVER, age_s=31, expires_s=29)),
        ("unclaimed", one("published", role=Role.RECEIVER, age_s=3_601, expires_s=3_599)),
        ("stuck", one("claimed", role=Role.RECEIVER, expires_s=-STALE_CLAIM_S - 1)),
    ],
)
def test_handoffs_that_wait_too_long_are_found(word: str, handoff: Open) -> None:
    assert words([handoff]) == [word]
    assert word in WORDS


@pytest.mark.parametrize(
    "handoff",
    [
        one("queued", age_s=BACKLOG_S - 1),
        one("stored", expires_s=-REVOKE_AFTER_S + 1),
        one("claimed", expires_s=-1e6),  # at the peer: its agent's own time
        one("published", role=Role.RECEIVER, age_s=29, expires_s=1),
        one("published", role=Role.RECEIVER, age_s=3_599, expires_s=3_601),
        one("claimed", role=Role.RECEIVER, expires_s=-STALE_CLAIM_S + 1),
        one("untaken", role=Role.LOCAL, age_s=1e6, expires_s=-1e6),
    ],
)
def test_and_not_before(handoff: Open) -> None:
    assert words([handoff]) == []


def test_what_cannot_be_read_of_a_handoff_is_no_concern_by_itself() -> None:
    assert words([one("claimed", role=Role.RECEIVER)._replace(expires_at=None, to=None, peer=None)]) == []


def test_a_backlog_at_a_peer_that_takes_no_more_tells_why_in_its_words() -> None:
    link = replace(LINK, busy="429 rate_limited 20000 handoffs of bob-vm are open here")
    (concern,) = a_status([one("queued", age_s=BACKLOG_S + 1)], links=(link,)).concerns
    assert concern.detail.endswith("which says: 429 rate_limited 20000 handoffs of bob-vm are open here")
    assert concern.remedy.endswith("its agents have to keep up")


def test_a_backlog_at_a_peer_that_is_gone_has_no_other_cause() -> None:
    link = replace(LINK, state="down", busy="429 rate_limited 20000 handoffs of bob-vm are open here")
    (concern,) = [
        one for one in a_status([one("queued", age_s=BACKLOG_S + 1)], links=(link,)).concerns if one.word == "backlog"
    ]
    assert "which says" not in concern.detail
    assert concern.remedy == "they go out by themselves once the link is up"


def test_what_no_home_of_an_agent_leases_is_a_backlog_and_never_in_doubt() -> None:
    waits = one("queued", age_s=BACKLOG_S + 1, expires_s=-5)._replace(peer="@alice")
    relayed = waits._replace(role=Role.RELAY, state="stored", tid="u" * 64)
    (concern,) = a_status([waits, relayed]).concerns
    assert (concern.word, concern.peer) == ("backlog", None)
    assert concern.detail == "2 handoffs for alice, here for up to 31s, leased by none of its hosts"
    assert words([waits._replace(since=NOW - BACKLOG_S + 1)]) == []
