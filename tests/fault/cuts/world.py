"""Worlds in which one host lies on a disk that can lose its power, and what their witness must let pass.

What an agent has not flushed is not promised to stay (docs/custody.md section 17): a handoff that bob wrote and the
daemon had not taken yet may be gone, or be torn; then bob, who starts after the daemon, writes it again.
"""

from dataclasses import dataclass, field
from pathlib import Path

from tests.fakes.star import Spoke, Star
from tests.fakes.witness import Given, Witness, names, places_of_payload
from tests.fakes.world import World
from tests.fault.cuts.disk import Disk
from tests.unit.custody.pair import Host

from handoffd.protocol.name import TransferId
from handoffd.protocol.reason import State

UNCERTAIN = "uncertain_power_loss"


@dataclass
class CutWitness(Witness):
    """`taken`: in A's custody, as far as was seen after a whole act. `told_claimed`: A has shown the claim."""

    taken: set[TransferId] = field(default_factory=set)
    told_claimed: set[TransferId] = field(default_factory=set)
    views_return: bool = False

    def _look_at(self, one: Given) -> None:
        if self._is_taken(one):
            self.taken.add(one.tid)
        super()._look_at(one)
        record = self.a.engine.record([one.tid])[0]
        if record is not None and record.state is State.CLAIMED:
            self.told_claimed.add(one.tid)
        mine = self._outcome(self.a, one.tid)
        if mine is not None and one.tid in self.told_claimed and not one.deleted:
            assert mine["reason"] != UNCERTAIN, "R3: a claim was told, and a power cut undid it"

    def _is_taken(self, one: Given) -> bool:
        places = [self.a.root / "relay" / kind for kind in ("outbox", "sent")]
        carried = [name for place in places for peer in names(place) for name in names(place / peer)]
        return any(name.startswith(one.tid) for name in carried) or self._outcome(self.a, one.tid) is not None

    def lost_before_custody(self) -> list[Given]:
        """What bob wrote in vain."""
        kept = [path.read_bytes() for path in places_of_payload(self.a.root)]
        return [one for one in self.handoffs.values() if one.data not in kept and one.tid not in self.taken]

    def _views_are_gone(self) -> None:
        """Section 17: a view that was removed at A may come back, whole or torn; the outcome stands."""
        if not self.views_return:
            super()._views_are_gone()
            return
        for name in names(self.a.root / "claimed"):
            data = (self.a.root / "claimed" / name).read_bytes()
            assert any(one.data.startswith(data) for one in self.handoffs.values()), f"claimed/{name} is no view"


class Cuts:
    """Mixed into a world: `struck` lies on `disk`."""

    witnessed_by = CutWitness
    struck: Host
    disk: Disk

    def strike(self, host: Host, disk: Disk) -> None:
        """Say whose disk it is. Every end of that host is a power cut from now on; other hosts only crash."""
        self.struck, self.disk = host, disk
        self.witness.views_return = host is self.a  # type: ignore[attr-defined]
        self.rewritten = 0

    def _end(self, host: Host) -> bool:
        if host is not self.struck:
            host.crash()
            return False
        self.disk.cut()
        host.fs.close()
        self.disk.come_back()
        host.boot_id += "+"
        host.open()
        return host.read("relay/boot") != b"clean\n"

    def restart(self, host: Host) -> None:
        super().restart(host)  # type: ignore[misc]
        if host is self.struck and host is self.a:  # type: ignore[attr-defined]
            for one in self.witness.lost_before_custody():  # type: ignore[attr-defined]
                self.rewritten += 1
                host.drop(one.name, one.data)


class CutPair(Cuts, World):
    """A pushes to B."""


class CutSpoke(Cuts, Spoke):
    """B dials A."""


class CutStar(Cuts, Star):
    """A pushes to H, B dials H."""


KINDS: dict[str, type[World]] = {"pair": CutPair, "spoke": CutSpoke, "star": CutStar}


def ground_with(disk: Disk, ground: Path, host: str) -> Path:
    """Make the directory of a world whose host of that name lies on the disk."""
    home = disk.path / ground.name
    home.mkdir()
    ground.mkdir()
    (ground / host).symlink_to(home)
    return ground
