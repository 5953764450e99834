"""One simulated host: its disk, its clocks, and whichever process of the daemon is alive on it."""

import builtins
import hashlib
import json
import math
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from random import Random

from tests.simulator.clock import SimClock
from tests.simulator.disk import Crash, Disk, Faults, Folder, Node, Tally, View

from handoffd.custody.engine import Engine
from handoffd.custody.filesystem import FlushFailed
from handoffd.custody.layout import CLAIMED, RELAY, outbox
from handoffd.custody.message import Principal
from handoffd.custody.tree import Settings

STARTS = 40
"""More failed starts than any plan of faults can cause."""


class Journal:
    """Counts what a daemon writes down. `bug`: what met a bulkhead that was no word of the disk."""

    def __init__(self, told: Counter[str]) -> None:
        self.told = told
        self.bug = ""

    def write(self, event: str, **fields: object) -> None:
        """Take a line."""
        self.told[event] += 1
        if event == "parked":
            error = str(fields.get("detail", "")).removeprefix("tick: ")
            kind = getattr(builtins, error.partition(":")[0], None)
            if isinstance(kind, type) and issubclass(kind, Exception) and not issubclass(kind, OSError):
                self.bug = error


class Salt:
    """Makes the fresh names of a host."""

    def __init__(self, random: Random) -> None:
        self._random = random

    def fresh(self) -> str:
        """Return 32 hex digits."""
        return self._random.getrandbits(128).to_bytes(16, "big").hex()


class DoesNotStart(Exception):
    """The daemon does not come up any more, though nothing goes wrong now."""


class SimHost:
    """A root with a daemon that may die and be started again.

    `life` counts its processes, `boot` its boots; `came_back` are names in claimed/ whose removal a power cut undid.
    `jumped_at_s` is its CLOCK_BOOTTIME when somebody set its other clock, as far as its process has seen that.
    `power_failed` is called when the power has failed inside a call of the engine or a start of it; it cuts the power.
    `stopped` is called between an orderly stop and the next start, `moved` after each move that its daemon makes.
    """

    power_failed: Callable[["SimHost"], None]
    stopped: Callable[["SimHost"], None]
    moved: Callable[["SimHost", str, str], None]

    def __init__(
        self, settings: Settings, principal: Principal, random: Random, tally: Tally, told: Counter[str]
    ) -> None:
        self.settings, self.principal = settings, principal
        self.name = settings.host
        (self.agent,) = settings.agents
        self.clock = SimClock()
        self.disk = Disk(self.clock.now_ns, tally)
        self.faults = Faults()
        self.boot = 1
        self.life = 0
        self.journal = Journal(told)
        self.came_back: set[str] = set()
        self.backup: dict[str, dict[str, Node]] = {}
        self._random = random
        self._salt = Salt(random)
        self.moved = _unseen
        self._open()
        self.engine.start(f"boot-{self.boot}")

    def _view(self) -> View:
        return View(self.disk, self.faults, self._tell_move)

    def _tell_move(self, directory: str, name: str) -> None:
        self.moved(self, directory, name)

    def _open(self) -> None:
        self.life += 1
        self.jumped_at_s = -math.inf
        self.view = self._view()
        self.engine = Engine(
            self.view, self.clock, self.settings, self.journal, salt=self._salt.fresh, chance=self._random.random
        )

    def crash(self) -> None:
        """The process ends here and now, and the next one starts."""
        self.view.dead = True
        self._restart()

    def cut_power(self) -> bool:
        """The power fails; what was not flushed may be gone, and what starts next is another boot.

        True if a name changed. What is to end a process soon may end the start that follows.
        """
        self.view.dead = True
        self.faults.failing = 0
        before = set(self.disk.folders[CLAIMED].now)
        lost = self.disk.cut_power(self._random.randrange)
        self.came_back |= self.disk.folders[CLAIMED].now.keys() - before
        self.boot += 1
        return lost

    def back_up(self) -> None:
        """Somebody makes a copy of relay/."""
        self.backup = self.disk.back_up(RELAY)

    def lose_tree(self) -> None:
        """relay/ is gone, or a backup of it comes back without its epoch, as the operator was told (section 17)."""
        self.view.dead = True
        self.faults.failing = 0
        self.disk.replace(RELAY, self.backup)
        self.disk.remove(RELAY, "epoch")
        self.disk.folders[RELAY].flush_all()
        self.backup = {}
        self._restart()

    def stop(self) -> None:
        """An orderly stop, a reboot, the next start. A stop that did not finish was none; agents stop before it."""
        self.faults.meddle_in = 0
        try:
            self.engine.stop()
        except (Crash, FlushFailed, OSError):
            pass
        else:
            self.boot += 1
            self.stopped(self)
        self.view.dead = True
        self._restart()

    def _restart(self) -> None:
        self.faults.meddle_in = 0  # agents start after the daemon
        for _ in range(STARTS):
            if self.faults.power_is_off():
                self.faults.cuts_power = False
                self.power_failed(self)
            self._open()
            try:
                self.engine.start(f"boot-{self.boot}")
            except (Crash, FlushFailed, OSError):
                self.view.dead = True
                continue
            return
        raise DoesNotStart(self.name)

    def outbox(self, peer: str) -> Folder:
        """Return the directory of what is to be sent to a peer."""
        return self.disk.folders[outbox(peer)]


def _unseen(host: SimHost, directory: str, name: str) -> None:
    """Nobody watches yet."""


_COMPACT = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode


def moment(seconds: float) -> str:
    """Return RFC 3339 in UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


def payload(number: int, sender: str, to: str, at: float, ttl_s: float, text: str = "") -> bytes:
    """Return a payload in the form of existing agents; its HMAC has the form alone, for daemons hold no key."""
    caller = f"{number:016x}"
    fields = {
        "protocol_version": 1,
        "handoff_id": f"{int(at)}-{sender}-{to}-{caller}",
        "caller_hash": caller,
        "from_agent": sender,
        "to_agent": to,
        "reason": "simulated",
        "initiated_at": moment(at),
        "expires_at": moment(at + ttl_s),
        "transcript": [{"role": "user", "text": text}] if text else [],
        "hmac": hashlib.sha256(caller.encode()).hexdigest()[:43] + "=",
    }
    return _COMPACT(fields).encode()


def variant(data: bytes) -> bytes:
    """Return other bytes with the same S: signed as the same handoff, which no agent that is sound does."""
    return _COMPACT({**json.loads(data), "reason": "another one"}).encode()
