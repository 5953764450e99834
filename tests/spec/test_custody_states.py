"""docs/custody.md section 9 and a11: what is told of a transfer, to whom, and when."""

import json

import pytest
from tests.unit.custody.pair import Host, Pair, payload

from handoffd.custody.ledger import FEED_LIMIT, Feed
from handoffd.custody.message import Batch, Changed, StatesNews, StatesQuery
from handoffd.protocol.name import HostName, TransferId
from handoffd.protocol.reason import State

A, B, C = HostName("host-a"), HostName("host-b"), HostName("host-c")


def ask(
    pair: Pair, known: dict[TransferId, State] | None = None, since: str | None = None, peer: str = A
) -> StatesNews:
    (news,) = pair.b.engine.states([StatesQuery(HostName(peer), known or {}, since)])
    return news


def edges(host: Host) -> list[str]:
    return list(host.outcome()["edges"])


def test_only_what_is_higher_than_known_is_told(pair: Pair) -> None:
    tid, _ = pair.cross()
    assert [record.state for record in ask(pair, {tid: State.STORED}).records] == [State.PUBLISHED]
    assert ask(pair, {tid: State.PUBLISHED}).records == ()


def test_a_final_state_is_told_to_whoever_thinks_it_is_open(pair: Pair) -> None:
    tid, _ = pair.cross()
    pair.b.tick(63.0)
    assert [record.state for record in ask(pair, {tid: State.CLAIMED}).records] == [State.EXPIRED]


def test_what_is_not_known_here_is_said_to_be_lost(pair: Pair) -> None:
    tid = TransferId("0" * 64)
    assert ask(pair, {tid: State.STORED}).lost == (tid,)


def test_a_peer_hears_nothing_of_another_peers_transfers(pair: Pair) -> None:
    tid, _ = pair.cross()
    news = ask(pair, {tid: State.QUEUED}, peer=C)
    assert (news.records, news.lost) == ((), (tid,))


def test_an_unreadable_outcome_is_neither_news_nor_a_loss(pair: Pair) -> None:
    tid, _ = pair.cross()
    bad = TransferId("1" * 64)
    (pair.b.root / "relay/outcome" / f"{bad}.json").write_bytes(b"{}")
    news = ask(pair, {bad: State.STORED, tid: State.STORED})
    assert ([record.tid for record in news.records], news.lost) == ([tid], ())


def test_a_cursor_tells_what_changed_since(pair: Pair) -> None:
    cursor = ask(pair).cursor
    tid, _ = pair.cross()
    news = ask(pair, since=cursor)
    assert [record.tid for record in news.records] == [tid]
    assert ask(pair, since=news.cursor).records == ()


def test_what_does_not_fit_into_an_answer_is_told_by_the_next(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    cursor = ask(pair).cursor
    tids = [pair.cross(payload(), f"{number}.json")[0] for number in range(3)]
    monkeypatch.setattr("handoffd.custody.report.RECORDS_LIMIT_BYTES", 1)
    known = dict.fromkeys(tids, State.STORED)
    for tid in tids:
        assert [record.tid for record in ask(pair, known).records] == [tid]
        del known[tid]
        news = ask(pair, since=cursor)
        assert [record.tid for record in news.records] == [tid]
        cursor = news.cursor
    assert ask(pair, since=cursor).records == ()


def test_what_is_asked_about_comes_before_what_changed(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    cursor = ask(pair).cursor
    one, _ = pair.cross()
    other, _ = pair.cross(payload(), "other.json")
    monkeypatch.setattr("handoffd.custody.report.RECORDS_LIMIT_BYTES", 1)
    news = ask(pair, {other: State.STORED}, since=cursor)
    assert [record.tid for record in news.records] == [other]
    assert [record.tid for record in ask(pair, since=news.cursor).records] == [one]


@pytest.mark.parametrize("cursor", ["", "x", "x.1", "0.99999999999999999999", "ü.1"])
def test_an_unknown_cursor_is_said_to_be_one(pair: Pair, cursor: str) -> None:
    assert ask(pair, since=cursor).reset
    assert ask(pair, since=ask(pair, since=cursor).cursor).reset is False


def test_a_cursor_from_before_a_restart_is_unknown(pair: Pair) -> None:
    cursor = ask(pair).cursor
    pair.b.restart()
    assert ask(pair, since=cursor).reset


def test_whoever_waits_for_a_peers_states_is_woken(pair: Pair) -> None:
    pair.cross()
    pair.b.engine.drain_news()
    pair.b.claim()
    pair.b.tick()
    assert Changed("host-a") in pair.b.engine.drain_news()


def test_states_rise_edge_by_edge_and_every_edge_has_its_time(pair: Pair) -> None:
    _, name = pair.cross()
    pair.b.claim()
    pair.b.tick(1.0)
    pair.follow()
    (pair.b.root / "claimed" / name).rename(pair.b.root / "archive" / name)
    pair.b.tick(1.0)
    pair.follow()
    for host in (pair.a, pair.b):
        assert edges(host) == ["stored", "published", "claimed", "completed"]
        times = list(host.outcome()["edges"].values())
        assert times == sorted(times)


def test_the_journal_uses_the_plain_words_for_the_edges_people_look_for(pair: Pair) -> None:
    _, name = pair.cross()
    pair.b.claim()
    pair.b.tick(1.0)
    pair.follow()
    (pair.b.root / "claimed" / name).rename(pair.b.root / "rejected" / name)
    pair.b.tick(1.0)
    pair.follow()
    words = [word for word in pair.a.journal.words() if word in ("started", "claimed", "completed", "rejected")]
    assert words == ["started", "claimed", "rejected"]


def test_the_record_has_the_fields_of_the_specification(pair: Pair) -> None:
    data = payload()
    tid, _ = pair.cross(data)
    pair.b.tick(63.0)
    outcome, fields = pair.b.outcome(), json.loads(data)
    assert outcome["tid"] == tid
    assert [outcome[key] for key in ("handoff_id", "from", "to", "peer", "by")] == [
        fields["handoff_id"],
        "bob",
        "alice",
        "host-a",
        "host-b",
    ]
    assert (outcome["state"], outcome["reason"], outcome["delivered"]) == ("expired", "expired", "not_delivered")


def test_the_reason_file_is_the_record(pair: Pair) -> None:
    tid, name = pair.cross()
    pair.b.tick(63.0)
    assert pair.b.read(f"rejected/{name}.reason") == pair.b.read(f"relay/outcome/{tid}.json")


def test_bytes_rewritten_in_place_are_reported_as_far_as_they_parse(pair: Pair) -> None:
    _, name = pair.cross()
    pair.b.claim()
    (pair.b.root / "claimed" / name).write_bytes(b'{"handoff_id": "../x", "from_agent": "B\xc3\xb6b", "to_agent": 1}')
    pair.b.restart()
    pair.b.tick()
    (pair.b.root / "claimed" / name).rename(pair.b.root / "archive" / name)
    pair.b.tick()
    assert (pair.b.outcome()["reason"], pair.b.outcome()["handoff_id"]) == ("completed", None)
    pair.follow()
    assert pair.a.outcome()["reason"] == "completed"
    assert pair.a.outcome()["handoff_id"] is not None


def test_a_malformed_payload_leaves_a_record_that_can_be_read_again(pair: Pair) -> None:
    data = json.dumps({**json.loads(payload()), "handoff_id": "../" + "x" * 100_000}).encode()
    pair.a.drop("x.json", data)
    pair.a.tick()
    pair.a.tick(2.5)
    (tid,) = [TransferId(one["tid"]) for one in pair.a.outcomes()]
    (record,) = pair.a.engine.record([tid])
    assert record is not None
    assert record.reason == "malformed"


# ---------------------------------------------------------------- the feed behind the cursor


def test_a_feed_pages_in_order_and_forgets_the_oldest() -> None:
    feed = Feed("s")
    tids = [TransferId(f"{number:064x}") for number in range(FEED_LIMIT + 10)]
    for tid in tids[:5]:
        feed.note(tid)
    page = feed.since("s.0", 2)
    assert page == (tids[:2], "s.2")
    assert feed.since("s.2", 9) == (tids[2:5], "s.5")
    for tid in tids:
        feed.note(tid)
    assert feed.since("s.5", 9) is None


def test_what_changed_twice_is_told_once_and_last() -> None:
    feed = Feed("s")
    for tid in ("a", "b", "a"):
        feed.note(TransferId(tid))
    assert feed.since("s.0", 9) == (["b", "a"], "s.3")


def test_a_forgotten_one_is_not_told(pair: Pair) -> None:
    tid, _ = pair.cross()
    pair.b.tick(63.0)
    cursor = ask(pair).cursor.partition(".")[0] + ".0"
    assert [record.tid for record in ask(pair, since=cursor).records] == [tid]
    pair.b.engine.forget([Batch(A, (tid,))])
    assert ask(pair, since=cursor).records == ()
