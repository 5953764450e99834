"""What of a status needs attention, most urgent first, each with its remedy.

It owns the words, their order and the spans and sizes from which something is worth a person's time. The rule that
must stay true: whatever is fine gives no concern, so that "no concern" is a claim worth checking by a script.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Final

from handoffd.protocol.timing import EXPIRY_GRACE_S
from handoffd.status.model import Census, Concern, Disk, LinkStatus, Running, Status, Tally
from handoffd.status.words import duration

BACKLOG_S: Final = 30.0
"""What waits here for longer waits for a reason: a peer that is up is handed a handoff within milliseconds."""
CLOCK_OFFSET_S: Final = EXPIRY_GRACE_S
"""Clocks further apart than the grace at expiry decide differently about the same handoff."""
DISK_LOW_BYTES: Final = 256 << 20
"""Room for a few batches of the largest payloads, and for the files they become."""
INODES_LOW: Final = 10_000

WORDS: Final[dict[str, str]] = {
    "stopped": "no daemon runs on this root",
    "silent": "a daemon runs on this root and does not answer: it hangs, or a debugger holds it",
    "broken": "the files of a handoff contradict the rules; the daemon touches it no more",
    "not_ready": "the daemon starts or stops, or its custody thread has ended",
    "disk_low": "the root's file system is almost full",
    "journal_failing": "the journal cannot be written, so the story has gaps",
    "connecting": "the link was never up since the start, and no attempt has failed yet",
    "in_doubt": "handoffs are past their time, and the peer has not said what became of them",
    "stuck": "an agent claimed a handoff, never finished it, and its time has been over for an hour",
    "unclaimed": "an agent lets a file lie in handoff/ for more than half of its life, and at least 30 s",
    "backlog": "handoffs have waited here for more than 30 s to be taken over by the peer, or by any of several",
    "clock_offset": "the peer's clock is more than 2 s from ours",
}
"""Besides these, a link's own troubles are concerns (docs/link.md)."""


def judged(status: Status) -> Status:
    """Return the status with what needs attention."""
    # What a peer said before its link went down holds nothing up now.
    busy = {one.peer: one.busy for one in status.links if one.busy and one.state == "up"}
    found = (
        *_daemon(status),
        *_disk(status.disk, status.root),
        *(one for link in status.links for one in _link(link)),
        *handoff_concerns(status.census, busy),
    )
    return replace(status, concerns=found)


def _daemon(status: Status) -> Iterator[Concern]:
    if status.running is not None:
        yield from _running(status.running)
    elif status.silence:
        detail = f"a daemon runs on {status.root} and does not answer: {status.silence}"
        yield Concern("silent", detail, "see its log: journalctl -u handoffd; then systemctl restart handoffd")
    else:
        detail = f"no daemon runs on {status.root}; this is what its directories say"
        yield Concern("stopped", detail, "start it: systemctl start handoffd, or handoffd run")


def _running(running: Running) -> Iterator[Concern]:
    if running.aside:
        detail = f"{running.aside} set aside, because what lies on the disk contradicts the rules"
        yield Concern(
            "broken", detail, "`handoffd events` (`broken`) and `handoffd fsck` tell what; see docs/operations.md"
        )
    if not running.ready:
        yield Concern("not_ready", "the daemon does not serve handoffs now", "see its log: journalctl -u handoffd")
    if running.journal.failing:
        detail = f"relay/events.jsonl cannot be written, {running.journal.lines_lost} lines were lost since the start"
        yield Concern("journal_failing", detail, "make room on the disk, see the log; handoffs go on meanwhile")


def _disk(disk: Disk, root: str) -> Iterator[Concern]:
    if disk.free_bytes < DISK_LOW_BYTES:
        detail = f"{disk.free_bytes >> 20} MiB are free on {root}"
        yield Concern("disk_low", detail, f"make room (df -h {root}); a full disk keeps handoffs where they are")
    if disk.free_inodes is not None and disk.free_inodes < INODES_LOW:
        detail = f"{disk.free_inodes} inodes are free on {root}"
        yield Concern("disk_low", detail, f"remove files (df -i {root}); a full disk keeps handoffs where they are")


def _link(link: LinkStatus) -> Iterator[Concern]:
    if link.error is not None:
        yield link.error
    elif link.state == "down":
        yield Concern("connecting", f"{link.url} has not answered yet", "wait a moment, then look again", link.peer)
    offset_s = (link.clock_offset_ms or 0) / 1000
    if abs(offset_s) > CLOCK_OFFSET_S:
        detail = f"its clock is {offset_s:+.1f} s from ours, so both judge an expiry differently"
        yield Concern("clock_offset", detail, "set both clocks by NTP (timedatectl)", link.peer)


def handoff_concerns(census: Census, busy: Mapping[str, str]) -> Iterator[Concern]:
    """Return what of the open handoffs needs attention. `busy`: by peer, why it takes none for now, in its words."""
    for peer, tally in sorted(census.doubts.items()):
        detail = f"{_many(tally)} past expiry without a verdict, for {duration(tally.oldest_s)}"
        remedy = "when the peer is back it settles by itself; `handoffd ls --state in_doubt`, `handoffd resolve ID`"
        yield Concern("in_doubt", detail, remedy, peer)
    for agent, tally in sorted(census.stuck.items()):
        detail = f"{agent} claimed {_many(tally)} and has not finished, {duration(tally.oldest_s)} past expiry"
        yield Concern("stuck", detail, f"look after {agent}; `handoffd ls --state claimed --agent {agent}`")
    for agent, tally in sorted(census.unclaimed.items()):
        detail = f"{_many(tally)} for {agent}, nobody claims, the oldest for {duration(tally.oldest_s)}"
        yield Concern("unclaimed", detail, f"see whether {agent} runs and looks into handoff/ of this root")
    for peer, tally in sorted(census.backlogs.items()):
        if tally.oldest_s > BACKLOG_S:
            yield _backlog(peer, tally, busy.get(peer))
    for agent, tally in sorted(census.shared.items()):
        if tally.oldest_s > BACKLOG_S:
            detail = (
                f"{_many(tally)} for {agent}, here for up to {duration(tally.oldest_s)}, leased by none of its hosts"
            )
            yield Concern("backlog", detail, "one of them has to dial in: see their daemons and the network between")


def _backlog(peer: str, tally: Tally, busy: str | None) -> Concern:
    detail = f"{_many(tally)}, here for up to {duration(tally.oldest_s)}, not taken over by the peer"
    if busy is None:
        return Concern("backlog", detail, "they go out by themselves once the link is up", peer)
    remedy = "they go out by themselves as soon as it takes more; its agents have to keep up"
    return Concern("backlog", f"{detail}, which says: {busy}", remedy, peer)


def _many(tally: Tally) -> str:
    return f"{tally.count} handoff" + ("s" if tally.count != 1 else "")
