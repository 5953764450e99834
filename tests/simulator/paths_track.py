"""What two hosts showed of one handoff, line after line, in the words of the protocol model (docs/custody.md 15.1).

It owns the projection of directories, clocks and answers to what states of the model show, and knows no rule of custody
and no host's history. The rule that must stay true: what is not shown exactly is left open, never guessed.
"""

import json
from collections.abc import Collection, Iterable
from datetime import datetime
from itertools import pairwise

from tests.simulator.disk import Disk, Node
from tests.simulator.given import Given

from handoffd.custody.layout import ARCHIVE, CLAIMED, HANDOFF, OUTCOME, PEERS, REJECTED, RELAY, inbox, outbox, sent
from handoffd.custody.recovery import CLEAN
from handoffd.protocol.name import parse_taking, suffixed
from handoffd.protocol.reason import Reason, State
from handoffd.protocol.record import Record

PUSH, PULL = "push", "pull"
"""Who calls whom: the sender the receiver, or the receiver the sender."""
ANY, NONE, ELSE = "?", "none", "else"
"""Any value; no such file; what no state of the model shows."""
LOST = "b-loses"
POWER = {"a-power": "a.", "b-power": "b."}
FLUSHED = ("a.place", "a.end", "a.epoch", "b.token", "b.receipt", "b.end")
"""What is shown twice: as it is, and, with `-flushed` behind its name, as a power cut would leave it."""
BEGIN = {
    **dict.fromkeys(("a.place", "a.place-flushed"), HANDOFF),
    **dict.fromkeys(("a.epoch", "a.epoch-flushed"), "0"),
    **dict.fromkeys(("a.end", "a.end-flushed", "b.end", "b.end-flushed", "b.token", "b.token-flushed"), NONE),
    **dict.fromkeys(("a.claimed", "a.late", "b.late", "b.receipt", "b.receipt-flushed", "b.clean"), "no"),
    **dict.fromkeys(("told.1", "told.2", "told.3"), "nothing"),
    "b.serves": "yes",
    "b.epoch": "1",
}
"""The model's first state: an agent has written, and nobody has seen it."""

_UNDELIVERED = "undelivered"
_ENDS = {
    Reason.COMPLETED: "completed",
    Reason.REJECTED_BY_AGENT: "rejected",
    Reason.UNCERTAIN_POWER_LOSS: "uncertain",
    Reason.VANISHED_AT_TARGET: "uncertain",
    Reason.PEER_LOST_STATE: "lost",
    Reason.OUTCOME_UNKNOWN: "unknown",
}
_STATES = {State.STORED: "stored", State.PUBLISHED: "stored", State.CLAIMED: "claimed"}
_AFTER_THE_END = "none|claimed|done|rejected|pulled"
_NAMES_AT_B = ("new", "offered")


class Names:
    """The names below one root: as they are, or (`kept`) as a power cut would leave them."""

    def __init__(self, disk: Disk, kept: bool) -> None:
        self._disk, self._kept = disk, kept

    def of(self, directory: str) -> dict[str, Node]:
        """Return the files of a directory by name."""
        folder = self._disk.folders[directory]
        return folder.kept if self._kept else folder.now


class Line:
    """One line of a trace: where it was seen, which steps the model is told of, and what was shown after them."""

    __slots__ = ("may", "must", "seen", "where")

    def __init__(self, where: str, seen: dict[str, str], may: Iterable[str] = (), must: str = "") -> None:
        self.where, self.seen, self.may, self.must = where, seen, tuple(may), must

    def text(self, before: dict[str, str]) -> str:
        """Return it as the replayer reads it: what was shown before is not said again."""
        fields = [f"{name}={value}" for name, value in self.seen.items() if before.get(name) != value]
        steps = [f"!{self.must}"] if self.must else []
        return " ".join([self.where, *steps, *(f"?{step}" for step in self.may), *fields])


class Track:
    """What was seen of one handoff. `limit`: why no more is seen of it; `may`: steps that may be taken just now.

    `link`: PUSH or PULL, by which the model is chosen.
    `trees`: the receiver's epochs since it was written, "" while one is being made; `told`: what was said under each.
    """

    def __init__(self, one: Given, link: str) -> None:
        fields = json.loads(one.data)
        self.one, self.link = one, link
        self.lines = [Line("written", dict(BEGIN))]
        self.limit = ""
        self.may: dict[str, None] = {}
        self.told: list[set[str]] = [set()]
        self.trees = [one.target.engine.epoch]
        self.in_halves = self.starting = self.withdrawn = self.lost_end = self.accepted = False
        self._view_before: Node | None = None
        self._suffix = f"-{fields['handoff_id']}.json"
        self._caller = f"-{one.caller}.json"
        self._deadline_s = datetime.fromisoformat(fields["expires_at"]).timestamp()

    @property
    def is_watched(self) -> bool:
        """Whether there is anything to judge."""
        return len(self.lines) > 1

    def look(self, where: str, must: str = "") -> None:
        """Write a line if anything has changed, or a step was taken, or may have been."""
        seen, last = self.seen(), self.lines[-1].seen
        if not must and seen["b.clean"] == "yes" != last["b.clean"]:
            must = "b-stops"
        if must or self.may or seen != last:
            self.lines.append(Line(where, seen, [*self.may, *(["withdraw"] if self.withdrawn else [])], must))

    def hear(self, records: Iterable[Record | None]) -> None:
        """Note what the receiver said of it."""
        for record in records:
            if record is not None and record.tid == self.one.tid:
                self.told[-1].add(_STATES.get(record.state) or _end_of(record.reason))

    def is_half(self) -> bool:
        """Tell whether a power cut has left of an agent's end neither the whole nor nothing."""
        names = Names(self.one.target.disk, kept=False)
        token = self._token(names) if self._end(names) == NONE else ANY
        torn = (not _words(node) for name, node in names.of(ARCHIVE).items() if name.endswith(self._caller))
        both = token in ("done", "rejected") and self.one.published in names.of(CLAIMED)
        return self.in_halves and (token == NONE or both or (token == "done" and any(torn)))

    def source_starts(self) -> None:
        """A view that lies there now is not this process's word."""
        self._view_before = self._view()

    def falls_back(self, name: str) -> int:
        """Return how often a clock has fallen back behind expires_at."""
        late = [line.seen[name] for line in self.lines]
        return sum(one == "yes" and other == "no" for one, other in pairwise(late))

    # ------------------------------------------------------------ what is shown

    def seen(self) -> dict[str, str]:
        """Return what the two hosts show now."""
        told = {f"told.{number}": "+".join(sorted(words)) or "nothing" for number, words in enumerate(self.told, 1)}
        return {**BEGIN, **self._at_source(), **self._at_target(), **told}

    def _at_source(self) -> dict[str, str]:
        host = self.one.source
        now, kept = Names(host.disk, kept=False), Names(host.disk, kept=True)
        end, flushed = self._end(now), self._place(kept)
        view = self._view()
        return {
            "a.place": self._place(now) if end == NONE else ANY,
            # What was never flushed in handoff/ may be gone after a power cut. Nothing rests on it.
            "a.place-flushed": (HANDOFF if flushed == ELSE else flushed) if end == NONE else ANY,
            "a.end": end,
            "a.end-flushed": self._end(kept),
            "a.claimed": "yes" if view is not None and view is not self._view_before else ANY,
            "a.late": _yes(host.clock.wall_s > self._deadline_s),
            "a.epoch": self._note(now),
            "a.epoch-flushed": self._note(kept),
        }

    def _place(self, names: Names) -> str:
        one, peer = self.one, self.one.target.name
        for word, directory in (("sent", sent(peer)), ("outbox", outbox(peer))):
            if f"{one.tid}~{one.file}" in names.of(directory):
                return word
        taken = any(parse_taking(name) == one.file for name in names.of(outbox(peer)))
        return HANDOFF if taken or one.file in names.of(HANDOFF) else ELSE

    def _view(self) -> Node | None:
        now = self.one.source.disk.folders[CLAIMED].now
        return now.get(self.one.file) or now.get(suffixed(self.one.file, self.one.tid))

    def _note(self, names: Names) -> str:
        node = names.of(PEERS).get(f"{self.one.target.name}.json")
        if node is None:
            return "0"
        epoch = _words(node).get("epoch")
        return str(self.trees.index(epoch) + 1) if epoch in self.trees else ELSE

    def _at_target(self) -> dict[str, str]:
        one, host = self.one, self.one.target
        now, kept, receipts = Names(host.disk, kept=False), Names(host.disk, kept=True), inbox(one.source.name)
        end, token = self._end(now), self._token(now)
        ended, boot = end != NONE or self.lost_end, kept.of(RELAY).get("boot")
        clean = boot is not None and boot.data == CLEAN
        return {
            # Of an ended one only the names that somebody could still claim, or be given, are looked at.
            "b.token": _AFTER_THE_END if ended and token not in _NAMES_AT_B else token,
            "b.token-flushed": ANY if ended else self._token(kept),
            "b.receipt": ANY if ended else _yes(one.published in now.of(receipts)),
            "b.receipt-flushed": ANY if ended else _yes(one.published in kept.of(receipts)),
            "b.end": end,
            "b.end-flushed": self._end(kept),
            "b.late": _yes(host.clock.wall_s > self._deadline_s),
            "b.clean": _yes(clean),
            # The mark is made when nothing is served any more, and taken away before anything is.
            "b.serves": ANY if self.starting or clean else "yes",
            "b.epoch": str(len(self.trees)),
        }

    def _token(self, names: Names) -> str:
        one, receipts = self.one, names.of(inbox(self.one.source.name))
        if any(name.startswith(f"{one.published}.accepted~") for name in receipts):
            self.accepted = True
            return "claimed"  # over HTTP: what lies about under other names is no evidence
        if any(name == one.published or name.endswith((self._suffix, self._caller)) for name in names.of(ARCHIVE)):
            return "done"
        if one.published in names.of(REJECTED):
            return "rejected"
        if one.published in names.of(CLAIMED):
            return "claimed"
        if one.published in names.of(HANDOFF):
            return "offered"
        if f"{one.published}.pulled" in receipts:
            return "pulled"
        return "new" if one.hidden in receipts else NONE

    def _end(self, names: Names) -> str:
        node = names.of(OUTCOME).get(self.one.outcome)
        return NONE if node is None else _end_of(_words(node).get("reason"))

    # ------------------------------------------------------------ as a trace

    def text(self, name: str) -> str:
        """Return the trace."""
        rows = [dict(line.seen) for line in self.lines]
        for field in FLUSHED:
            _date_back([line.must for line in self.lines], rows, field)
        lines, before = [f"trace {name}"], dict[str, str]()
        for line, row in zip(self.lines, rows, strict=True):
            if line.must:  # what the disk did some time after it is no part of that step
                # But what a lost tree leaves, it leaves at that step.
                then = line.seen if line.must == LOST else before
                earlier = {name: then[name] for name in row if row[name] not in (ANY, line.seen[name])}
                lines.append(Line(line.where, row | earlier, line.may, line.must).text(before))
                before = row | earlier
            if not line.must or before != row:
                lines.append(Line(line.where, row, line.may).text(before))
            before = row
        return "\n".join(lines) + "\n\n"


def _date_back(musts: Collection[str], rows: list[dict[str, str]], field: str) -> None:
    """Let a flush of what was shown some time ago count from then on: the disk may have done it there and then.

    A directory's changes become durable in their order, so a power cut, or a flush of one of two directories, leaves
    what was shown once. What was never shown together (an agent's two changes, one of them flushed) is left open.
    """
    flushed, since = f"{field}-flushed", 0
    for number, must in enumerate(musts):
        value, cut = rows[number][flushed], POWER.get(must, "-") == field[:2]
        # What was flushed in a tree that is lost goes with it, and nothing that comes later was flushed before.
        took = must == LOST and field.startswith("b.")
        if number == 0 or (value == rows[number - 1][flushed] and not took):
            continue
        earliest, since = since, number
        if took or value == ANY or (rows[number][field] == value and not cut):
            continue
        shown = [earlier for earlier in range(earliest, number) if rows[earlier][field] == value]
        if shown:
            for row in rows[shown[-1] : number]:
                row[flushed] = value
        elif not cut:
            later = number
            while later < len(rows) and rows[later][flushed] == value:
                rows[later][flushed] = ANY
                later += 1


def _end_of(reason: object) -> str:
    return _ENDS.get(Reason(str(reason)), _UNDELIVERED) if reason in set(Reason) else ELSE


def _words(node: Node) -> dict[str, object]:
    """Return a file's JSON object; of a torn one nothing."""
    try:
        words: dict[str, object] = json.loads(node.data)
    except ValueError:
        return {}
    return words


def _yes(answer: bool) -> str:
    return "yes" if answer else "no"
