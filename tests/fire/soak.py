"""Hours of everyday trouble: two hosts, a handoff a second each way, a fault every 30 s, and then the books.

alice-vm's daemon is killed and stopped in the first half only, bob-vm's never: so the memory and descriptors of the
first are judged over the second half, those of the other over the whole run (usage.py).
"""

import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from tests.fire.agent import Agents
from tests.fire.ground import Ground
from tests.fire.history import History
from tests.fire.usage import Usage
from tests.fire.wire import Way
from tests.spec.daemon.rig import until

FAULT_EVERY_S = 30.0
LONGEST_FAULT_S = 12.0
SAMPLE_EVERY_S = 5.0
SETTLE_S = 240.0
"""In doubt, a daemon asks again at most once a minute; three such rounds and the last transfers."""


@dataclass
class Soak:
    """One run."""

    ground: Ground
    random: Random
    duration_s: float
    fault_every_s: float = FAULT_EVERY_S
    rate_per_s: float = 1.0
    history: History = field(default_factory=History)
    faults: Counter[str] = field(default_factory=Counter)
    usage: Usage = field(init=False)

    def run(self, say: Callable[[str], None] = print) -> list[str]:
        """Play it; return everything that must not be."""
        self.ground.pair.deliver()
        self.usage = Usage(self.ground)
        agents = Agents(self.history, self.random)
        for host in self.ground.pair.hosts:
            agents.claim(host)
        agents.write(self.ground.bob, self.ground.alice, 1 / self.rate_per_s)
        agents.write(self.ground.alice, self.ground.bob, 1 / self.rate_per_s)
        try:
            self._trouble(say)
            agents.stop()
            self.ground.heal()
            self.ground.alice.revive()
            until("all have ended", lambda: not self.history.open(), SETTLE_S)
        finally:
            agents.end()
        wrong = [*self.history.faults(), *self.ground.broken(), *self.usage.grown(), *self.usage.kept()]
        return wrong + self._alarms()

    def _trouble(self, say: Callable[[str], None]) -> None:
        started = time.monotonic()
        while (now := time.monotonic() - started) < self.duration_s:
            next_s = min(now + self.fault_every_s, self.duration_s)
            self._one_fault(is_early=now < self.duration_s / 2)
            while time.monotonic() - started < next_s:
                time.sleep(min(SAMPLE_EVERY_S, max(0.0, next_s - (time.monotonic() - started))))
                self.usage.sample(time.monotonic() - started)
            say(f"{next_s:6.0f} s: {sum(self.faults.values())} faults, {len(self.history.stories)} written")

    # ------------------------------------------------------------ faults

    def _one_fault(self, *, is_early: bool) -> None:
        kinds = [self.cut, self.flap, self.deaf, self.hold, self.reset, self.freeze]
        if is_early:
            kinds += [self.kill, self.stop]
        kind = self.random.choice(kinds)
        self.faults[kind.__name__] += 1
        kind(self.random.uniform(0.5, min(LONGEST_FAULT_S, self.fault_every_s / 2)))

    def cut(self, for_s: float) -> None:
        """Both ways, or one."""
        for wire in self.random.choice([self.ground.wires, self.ground.wires[:1], self.ground.wires[1:]]):
            wire.cut()
        time.sleep(for_s)
        self.ground.heal()

    def flap(self, for_s: float) -> None:
        """Up and down each second."""
        for _ in range(max(1, int(for_s / 2))):
            for wire in self.ground.wires:
                wire.cut()
            time.sleep(1.0)
            self.ground.heal()
            time.sleep(1.0)

    def deaf(self, for_s: float) -> None:
        """Bytes vanish in one direction, on connections that stay open."""
        self.random.choice(self.ground.wires).swallow(self.random.choice(list(Way)))
        time.sleep(for_s)
        self.ground.heal()

    def hold(self, for_s: float) -> None:
        """What is under way comes late."""
        wire = self.random.choice(self.ground.wires)
        wire.hold()
        time.sleep(for_s)
        wire.release()

    def reset(self, for_s: float) -> None:
        """A connection is reset in the middle of a message, several times."""
        for _ in range(5):
            self.random.choice(self.ground.wires).reset_after(
                self.random.choice(list(Way)), self.random.randrange(6_000)
            )
            time.sleep(for_s / 5)
        self.ground.heal()

    def freeze(self, for_s: float) -> None:
        """A host stands still."""
        host = self.random.choice(self.ground.pair.hosts)
        host.signal(signal.SIGSTOP)
        time.sleep(for_s)
        host.signal(signal.SIGCONT)

    def kill(self, for_s: float) -> None:
        """A daemon dies and is started again."""
        self.ground.alice.kill()
        time.sleep(for_s / 4)
        self.ground.alice.start()

    def stop(self, for_s: float) -> None:
        """A daemon stops in order and is started again."""
        self.ground.alice.ready()  # one that has not begun to serve is only killed by SIGTERM
        assert self.ground.alice.stop() == 0
        time.sleep(for_s / 4)
        self.ground.alice.start()

    def _alarms(self) -> list[str]:
        said = [f"{host.name}: {line}" for host in self.ground.pair.hosts for line in host.alarms()]
        return said + [
            f"{host.name}: {line['event']}: {line.get('detail')}"
            for host in self.ground.pair.hosts
            for line in host.journal()
            if line.get("event") in ("broken", "parked", "quarantined")
        ]
