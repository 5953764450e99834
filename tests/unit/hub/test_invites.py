"""The letter box of invites: who may knock, for how long, how often; and who is told of it."""

import asyncio
from typing import Any

import pytest
from tests.unit.hub.harness import Answered, Running, running, until

from handoffd.hub import invites as box
from handoffd.hub.invites import WRONG_TRIES, Invites
from handoffd.hub.refusal import Refused
from handoffd.protocol.reason import Problem

IDENT, OTHER = "0123456789abcdef", "fedcba9876543210"


class Caller:
    """The command that made an invite, as long as it is there."""

    def __init__(self) -> None:
        self.waiter: asyncio.Future[None] | None = None
        self.gone = False

    def leave(self) -> None:
        self.gone = True
        if self.waiter is not None:
            self.waiter.set_result(None)


class Box:
    """Open invites with a memory of what was told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, dict[str, Any]]] = []
        self.invites = Invites(lambda event, **fields: self.told.append((event, fields)))
        self.caller = Caller()

    def events(self) -> list[str]:
        return [event for event, _ in self.told]

    async def next(self, ident: str = IDENT, wait_s: float = 0.0) -> dict[str, Any]:
        return await self.invites.next(ident, self.caller, wait_s)

    async def outcome(self) -> dict[str, Any] | str:
        """Knock, and return the answer or the words of the refusal."""
        try:
            return await self.invites.knock(IDENT, {}, "192.0.2.9")
        except Refused as refused:
            return refused.detail

    async def refusal(self, ident: str = IDENT) -> str:
        with pytest.raises(Refused) as caught:
            await self.invites.knock(ident, {}, "192.0.2.9")
        assert caught.value.reason is Problem.INVITE_VOID
        return caught.value.detail


@pytest.fixture
async def letters() -> Box:
    found = Box()
    found.invites.open(IDENT, "alice-vm", 60.0)
    return found


async def test_a_knock_is_handed_to_the_command_and_its_answer_back(letters):
    async with asyncio.TaskGroup() as group:
        knock = group.create_task(letters.invites.knock(IDENT, {"step": "join"}, "192.0.2.9"))
        came = await letters.next(wait_s=10.0)
        assert came == {"origin": "192.0.2.9", "knock": {"step": "join"}}
        assert await letters.next() == {}  # it is handed out once
        letters.invites.reply(IDENT, {"step": "offer"})
    assert knock.result() == {"step": "offer"}


async def test_a_command_that_waits_is_woken_by_a_knock(letters):
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(letters.next(wait_s=20.0))
        await until(lambda: letters.caller.waiter is not None)
        knock = group.create_task(letters.outcome())
        assert "knock" in await waiting
        letters.invites.reply(IDENT, {"refused": "no"})
        assert await knock == "no"
    assert letters.events() == ["invited", "invite_refused"]


async def test_a_command_that_asks_no_more_has_ended(letters, monkeypatch):
    monkeypatch.setattr(box, "SILENT_S", 0.01)
    assert await letters.next() == {}
    await until(lambda: "invite_ended" in letters.events())
    assert letters.told[-1][1]["reason"] == "withdrawn"
    assert box.WORDS["withdrawn"] in await letters.refusal()


async def test_a_command_that_never_asked_has_ended(monkeypatch):
    monkeypatch.setattr(box, "SILENT_S", 0.01)
    letters = Box()
    letters.invites.open(IDENT, "alice-vm", 60.0)
    await until(lambda: letters.events() == ["invited", "invite_ended"])


async def test_a_command_that_waits_or_makes_up_an_answer_is_there(letters, monkeypatch):
    monkeypatch.setattr(box, "SILENT_S", 0.01)
    assert await letters.next(wait_s=0.1) == {}
    async with asyncio.TaskGroup() as group:
        knock = group.create_task(letters.outcome())
        assert "knock" in await letters.next(wait_s=20.0)
        await asyncio.sleep(0.1)
        letters.invites.reply(IDENT, {"refused": "no"})
        assert await knock == "no"
    await until(lambda: "invite_ended" in letters.events())


async def test_two_strangers_are_not_answered_at_once(letters):
    async with asyncio.TaskGroup() as group:
        first = group.create_task(letters.invites.knock(IDENT, {}, "192.0.2.9"))
        await letters.next(wait_s=10.0)
        with pytest.raises(Refused) as caught:
            await letters.invites.knock(IDENT, {}, "192.0.2.10")
        assert caught.value.reason is Problem.RATE_LIMITED
        letters.invites.reply(IDENT, {"step": "offer"})
        await first


@pytest.mark.parametrize("word", box.WORDS)
async def test_an_invite_that_has_ended_says_why_to_who_comes_and_to_the_journal(letters, word):
    letters.invites.end(IDENT, word)
    letters.invites.end(IDENT, "withdrawn")  # once is enough
    assert box.WORDS[word] in await letters.refusal()
    assert letters.told[-1][0] == "invite_refused"
    assert letters.told[-1][1]["reason"] == word
    assert await letters.next() == {"ended": word}


async def test_a_second_use_is_told_to_the_command_that_waits_with_another_invite(letters):
    letters.invites.end(IDENT, "used")
    letters.invites.open(OTHER, "carol-vm", 60.0)
    await letters.refusal()
    (note,) = (await letters.next(OTHER))["notes"]
    assert "192.0.2.9 tried an older invite: it was used already" in note
    for _ in range(WRONG_TRIES):
        letters.invites.end(IDENT, "used")
    assert await letters.next(OTHER) == {}  # an old invite is no guess at a new one


async def test_an_invite_expires_by_itself(letters):
    letters.invites.open(OTHER, "carol-vm", 0.0)
    assert await letters.next(OTHER) == {"ended": "expired"}
    assert "has expired" in await letters.refusal(OTHER)
    assert "invite_ended" in letters.events()


async def test_a_command_that_waits_hears_of_the_expiry(letters):
    letters.invites.open(OTHER, "carol-vm", 0.05)
    assert await letters.next(OTHER, wait_s=20.0) == {"ended": "expired"}


@pytest.mark.parametrize("how", ["unknown", "mistyped"])
async def test_tries_that_name_no_open_invite_are_told_and_end_none(letters, how):
    for _ in range(WRONG_TRIES + 1):
        if how == "unknown":
            assert "not known here" in await letters.refusal(OTHER)
        else:
            assert letters.invites.mistyped("192.0.2.9").reason is Problem.INVITE_VOID
    assert "notes" in await letters.next()
    assert await letters.next() == {}  # still open
    assert "invite_ended" not in letters.events()
    assert letters.told[1][0] == "invite_refused"
    assert "192.0.2.9" in letters.told[1][1]["detail"]


async def test_an_invite_does_not_expire_while_its_command_answers(letters):
    letters.invites.open(OTHER, "carol-vm", 0.05)
    async with asyncio.TaskGroup() as group:
        knock = group.create_task(letters.invites.knock(OTHER, {}, "192.0.2.9"))
        while "knock" not in await letters.next(OTHER, wait_s=10.0):
            pass
        letters.invites._found(OTHER).until_s = 0.0
        assert await letters.next(OTHER) == {}
        letters.invites.reply(OTHER, {"step": "done"})
        assert await knock == {"step": "done"}
    assert await letters.next(OTHER) == {"ended": "expired"}


async def test_wrong_proofs_count_against_their_invite(letters):
    for _ in range(WRONG_TRIES):
        async with asyncio.TaskGroup() as group:
            knock = group.create_task(letters.outcome())
            while "knock" not in await letters.next(wait_s=10.0):
                pass
            letters.invites.reply(IDENT, {"refused": "The proof is wrong", "wrong": True})
            assert await knock == "The proof is wrong"
    assert "dead after" in await letters.refusal()


async def test_a_command_that_goes_away_withdraws_its_invite(letters):
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(letters.next(wait_s=20.0))
        await until(lambda: letters.caller.waiter is not None)
        letters.caller.leave()
        assert await waiting == {"ended": "withdrawn"}
    assert "has ended" in await letters.refusal()


async def test_a_knock_that_the_command_never_answers_ends_and_the_invite_too(letters, monkeypatch):
    monkeypatch.setattr(box, "ANSWER_S", 0.05)
    with pytest.raises(Refused) as caught:
        await letters.invites.knock(IDENT, {}, "192.0.2.9")
    assert caught.value.reason is Problem.UNAVAILABLE
    assert await letters.next() == {"ended": "withdrawn"}
    with pytest.raises(Refused):
        letters.invites.reply(IDENT, {})


async def test_one_that_waits_for_an_answer_hears_that_the_invite_ended(letters):
    async with asyncio.TaskGroup() as group:
        knock = group.create_task(letters.outcome())
        await letters.next(wait_s=10.0)
        letters.invites.end(IDENT, "failed")
        assert "failure on the inviting host" in await knock


async def test_strangers_fill_neither_memory_nor_journal_nor_the_daemons_time(letters):
    refused = 0
    for number in range(1_000):
        try:
            await letters.invites.knock(f"{number:016x}", {}, "192.0.2.9")
        except Refused as error:
            refused += error.reason is Problem.RATE_LIMITED
    assert refused > 900
    assert len(letters.told) < 40
    for number in range(1_000, 1_200):
        letters.invites.open(f"{number:016x}", "alice-vm", 60.0)
        letters.invites.end(f"{number:016x}", "used")
    assert len(letters.invites._ended) <= box._ENDED_KEPT


async def test_there_is_room_for_a_few_open_invites_and_each_name_is_one(letters):
    with pytest.raises(Refused, match="of this name"):
        letters.invites.open(IDENT, "alice-vm", 60.0)
    for number in range(box.MOST_OPEN - 1):
        letters.invites.open(f"{number:016x}", "alice-vm", 60.0)
    with pytest.raises(Refused, match="open already"):
        letters.invites.open(OTHER, "alice-vm", 60.0)


async def test_nothing_is_known_of_an_invite_that_never_was(letters):
    for act in (lambda: letters.next(OTHER), asyncio.to_thread(letters.invites.reply, OTHER, {})):
        with pytest.raises(Refused) as caught:
            await (act() if callable(act) else act)
        assert caught.value.reason is Problem.NOT_FOUND


# ---------------------------------------------------------------------------------------- over HTTP


@pytest.fixture
async def here():
    async with running() as hub:
        yield hub


async def knock(here: Running, **fields: object) -> Answered:
    return await here.ask("POST", "/api/v1/pair", None, fields)


async def test_a_stranger_learns_neither_epoch_nor_version(here):
    answer = await knock(here, invite=IDENT, step="join")
    assert (answer.status, answer.body["reason"]) == (410, "invite_void")
    assert "epoch" not in answer.body
    assert "Handoffd-Epoch" not in answer.headers


async def test_what_is_no_step_is_refused_before_anything_is_counted(here):
    here.hub.invites.open(IDENT, "alice-vm", 60.0)
    for _ in range(WRONG_TRIES + 1):
        assert (await knock(here, invite="../../etc")).status == 400
    assert (await here.ask("POST", "/api/v1/pair", None, b"x" * 40_000)).status == 413
    assert "invite_ended" not in here.keeper.events()


async def test_a_flood_is_told_to_wait(here):
    answers = [await knock(here, invite=OTHER, step="join") for _ in range(40)]
    limited = [answer for answer in answers if answer.status == 429]
    assert limited
    assert int(limited[0].headers["Retry-After"]) >= 1


async def test_a_mistyped_invite_is_told_to_the_journal(here):
    assert (await knock(here, step="mistyped")).status == 410
    assert here.keeper.told[-1][0] == "invite_refused"


async def test_a_peer_adds_a_token_and_settles_for_the_one_it_shows(here):
    assert (await here.ask("POST", "/api/v1/peer/token", "token-of-bob-vm", {"sha256": "a" * 64})).status == 200
    (added,) = here.keeper.tokens.values()
    assert added[1] == "a" * 64
    assert (await here.ask("POST", "/api/v1/peer/token", "token-of-bob-vm", {})).status == 200
    assert here.keeper.tokens == {"bob-vm": added[:1]}
    assert (await here.ask("POST", "/api/v1/peer/token", "token-of-bob-vm", {"sha256": "A token"})).status == 400


@pytest.mark.parametrize("what", ["token", "certificate", "farewell"])
async def test_an_agent_renews_nothing_of_a_peer(here, what):
    answer = await here.ask("POST", f"/api/v1/peer/{what}", "token-of-alice", {})
    assert (answer.status, answer.body["reason"]) == (403, "forbidden")


async def test_a_peer_that_parts_is_told_to_the_journal(here):
    assert (await here.ask("POST", "/api/v1/peer/farewell", "token-of-bob-vm")).status == 200
    assert here.keeper.told[-1][0] == "unpaired_by_peer"
    assert "handoffd unpair bob-vm" in str(here.keeper.told[-1][1]["detail"])


async def test_one_peer_changes_few_things_at_once(here):
    for what in ("token", "farewell", "token", "farewell"):
        assert (await here.ask("POST", f"/api/v1/peer/{what}", "token-of-bob-vm", {})).status == 200
    for what in ("token", "certificate", "farewell"):
        answer = await here.ask("POST", f"/api/v1/peer/{what}", "token-of-bob-vm", {})
        assert answer.status == 429
        assert 1 <= int(answer.headers["Retry-After"]) <= 10


async def test_a_page_in_a_browser_makes_no_pairing(here):
    answer = await here.ask("POST", "/api/v1/pair", None, {"step": "mistyped"}, {"Origin": "https://example.org"})
    assert answer.status == 403
