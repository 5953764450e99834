"""A pair of hosts, the agents on them and the wire between, driven in rounds until nothing moves any more.

A round does what the daemons and agents would do in a second. Every act on an engine may be that engine's last one:
then the host starts again and its answer is lost. A `Witness` looks after every act.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from tests.fakes.faulty import Crash
from tests.fakes.lane import Pushing
from tests.fakes.witness import Witness
from tests.unit.custody.pair import Host, Pair

from handoffd.custody.filesystem import FlushFailed
from handoffd.protocol.name import tid_of_published

Result = TypeVar("Result")
STARTS = 60
"""More failed starts than any plan of faults can cause."""


class World(Pushing):
    """`power`: a crash is a power cut; with `once`, only the first one is, and later ones are plain crashes.

    Of a disk's layers one is played: a claim by rename that B has not flushed is undone by a power cut at B.
    """

    witnessed_by = Witness

    def __init__(self, directory: Path, *, power: bool = False, once: bool = False) -> None:
        self.wire = Pair(directory)
        self.a, self.b = self.wire.a, self.wire.b
        self.begin([self.a, self.b], power=power, once=once)

    def begin(self, hosts: list[Host], *, power: bool, once: bool, several: int = 1) -> None:
        """Go on with these hosts, in the order in which a handoff passes them; all is in peace so far.

        The last `several` are homes of the receiving agent; `b` is the one whose turn it is.
        """
        self.hosts, self.far = hosts, hosts[1]
        self.power, self.once = power, once
        self.unflushed: dict[str, tuple[Host, tuple[int, int]]] = {}
        self.restarts = 0
        self.witness = self.witnessed_by(hosts, several)
        for host in hosts:
            host.faults.rest()

    @property
    def source(self) -> Host:  # type: ignore[override]
        return self.a

    @property
    def target(self) -> Host:  # type: ignore[override]
        return self.far

    @property
    def pair(self) -> Pair:
        return self.wire

    def close(self) -> None:
        for host in self.hosts:
            host.fs.close()

    def hand_over(self, name: str, data: bytes) -> None:
        """Bob writes a handoff for alice."""
        self.witness.given(name, data)
        self.a.drop(name, data)

    # ------------------------------------------------------------ one act

    def at(self, host: Host, act: Callable[[], Result]) -> Result | None:
        """Let a host's engine do something; None if it did not live to answer."""
        try:
            answer = act()
        except (Crash, FlushFailed):
            self.restart(host)
            answer = None
        self.witness.look_if_changed()
        return answer

    def restart(self, host: Host) -> None:
        doubted = False
        for _ in range(STARTS):
            self.restarts += 1
            doubted = self._end(host) or doubted
            try:
                host.start()
            except (Crash, FlushFailed, OSError):
                continue
            published = [name for name in host.names("handoff") if tid_of_published(name)]
            assert not (doubted and published), f"believed after a power cut: {published}"
            return
        raise AssertionError(f"{host.name} does not start any more")

    def _end(self, host: Host) -> bool:
        """End what runs at a host; tell whether its next start must doubt what was published."""
        if not self.power:
            host.crash()
            return False
        self._cut_power(host)
        return host.read("relay/boot") != b"clean\n"

    def _cut_power(self, host: Host) -> None:
        host.power_cut()
        self.power = not self.once
        for name, (home, flushes) in list(self.unflushed.items()):
            claimed = host.root / "claimed" / name
            if home is not host:
                continue
            if flushes == self._flushes(host) and claimed.exists():
                os.rename(claimed, host.root / "handoff" / name)
            del self.unflushed[name]

    def claimed(self, name: str) -> None:
        """An agent has claimed by rename, just now; nothing has flushed it yet."""
        self.unflushed[name] = self.b, self._flushes(self.b)
        self.witness.claimed(name)

    @staticmethod
    def _flushes(home: Host) -> tuple[int, int]:
        return home.faults.flushes["claimed"], home.faults.flushes[""]

    def stop(self, host: Host) -> None:
        """An orderly stop, a reboot, and the next start. A stop that crashed was none."""
        engine = host.engine
        try:
            self.at(host, engine.stop)
        except OSError:  # the daemon ends without its mark
            self.restart(host)
        if host.engine is engine:
            host.boot_id += "'"
            self.restart(host)

    # ------------------------------------------------------------ a round

    def round(self, seconds: float = 1.0) -> None:
        for host in self.hosts:
            host.clock.advance(seconds)
            self.tick(host)
        self.carry()

    def carry(self) -> None:
        """All that passes between the hosts in a round."""
        self.push()
        self.follow()

    def tick(self, host: Host) -> None:
        self.at(host, lambda: host.engine.tick([0.0]))

    def until_quiet(self, agents: Callable[["World"], None], rounds: int = 45, seconds: float = 1.0) -> None:
        """Go on, agents and all, until every handoff has its outcome at A and nothing is left to do."""
        # What is in doubt is asked about once a minute: long rounds at the end, for what is still open then.
        for pause in [seconds] * rounds + [61.0] * 12:
            agents(self)
            self.witness.look()
            self.round(pause)
            if self.witness.all_ended():
                self.round(pause)
                return
