"""One handoff of the play on its way: written on one host, ended on the other, and what is to be seen of it.

It owns what every scene wants to know of a handoff. It does not know what the scenes are. The rule that must stay
true: what it finds, it finds in the directories of the hosts.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from handoffd.demo.check import digest, equal
from handoffd.demo.host import Host
from handoffd.demo.process import Actor, Told
from handoffd.demo.stage import Stage
from handoffd.demo.voice import short

LIFETIME_S = 60.0
CALL = [
    {"role": "user", "text": "I'd like to move my appointment, please."},
    {"role": "assistant", "text": "Alice keeps the calendar; I'll put you through."},
]


@dataclass(frozen=True, slots=True)
class Errand:
    """A handoff from an agent of `home` to the agent of `there`; `sent` is what its writer told of it."""

    stage: Stage
    home: Host
    there: Host
    sent: Told
    forgets: int

    @property
    def tid(self) -> str:
        """Return the transfer id: the SHA-256 of the payload."""
        return str(self.sent["sha256"])

    def claim_shows(self) -> None:
        """Wait until the writer's claimed/ shows who has it. Raises NotSeen."""
        file = self.sent["file"]
        self.stage.until(f"{file} in claimed/ of {self.home.name}", lambda: file in self.home.names("claimed"))
        self.stage.note(self.home, "claimed/", f"shows {file}: {self.there.agent} has it")

    def ends(self) -> None:
        """Wait until both hosts hold its outcome, and have no more to say of it. Raises NotSeen."""
        for host in (self.home, self.there):
            self.stage.until(f"the outcome on {host.name}", partial(host.outcome, self.tid))
        self.stage.quiet(self.tid, lambda: self.there.forgets_heard() not in (0, self.forgets))

    def final_comes_home(self, filed: Told, promise: str) -> None:
        """Wait for the bytes that were filed away, and check them and the payload beside them. Raises NotSeen."""
        names = [filed["file"], f"{filed['file']}.original"]
        self.stage.until(f"{' and '.join(names)} in archive/", lambda: set(names) <= set(self.home.names("archive")))
        final, original = (digest(self.home.root / "archive" / name) for name in names)
        words = f"holds the final transcript, sha256 {short(final)}, and the signed payload beside it"
        self.stage.note(self.home, "archive/", words)
        self.stage.checks.append(equal(promise, filed["sha256"], final))
        if original != self.tid:
            self.stage.checks.append(equal("the payload beside it is the one that was written", self.tid, original))

    def rejections(self) -> list[Told]:
        """Return the records that lie beside it in the writer's rejected/."""
        files = [name for name in self.home.names("rejected") if name.endswith(".reason")]
        records = [json.loads((self.home.root / "rejected" / name).read_bytes()) for name in files]
        return [record for record in records if record.get("tid") == self.tid]


def hand_over(
    stage: Stage, writer: Actor, caller: str, transcript: Sequence[Told] = CALL, lifetime_s: float = LIFETIME_S
) -> Errand:
    """Let an agent write a handoff for the agent of the other host. Raises NotSeen."""
    home, there = stage.hosts if writer.host == stage.hosts[0].name else stage.hosts[::-1]
    forgets = 0 if there.is_stopped() else there.forgets_heard()
    call = {"caller": caller, "reason": "calendar", "transcript": transcript, "lifetime_s": lifetime_s}
    return Errand(stage, home, there, stage.ask(writer, "hand_over", to=there.agent, **call), forgets)
