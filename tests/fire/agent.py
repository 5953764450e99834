"""Agents as threads: they know the four directories, and of the daemon nothing.

A writer writes at its pace. Claimers of one agent compete; each ends what it got: archived as it is, archived with a
longer transcript, or rejected with words.
"""

import json
import os
import threading
import time
from pathlib import Path
from random import Random

from tests.fire.history import History, How
from tests.spec.daemon.rig import OURS, Host, payload

LOOK_S = 0.02
SHORT_EVERY, SHORT_S, LONG_S = 10, 4.0, 3_600.0
REJECT_EVERY, APPEND_EVERY = 12, 7


class Agents:
    """The agents of some hosts; `stop` ends the writers, `end` everybody."""

    def __init__(self, history: History, random: Random) -> None:
        self.history = history
        self._random = random
        self._written, self._ended = threading.Event(), threading.Event()
        self._threads: list[threading.Thread] = []
        self.trouble: list[str] = []

    def write(self, source: Host, target: Host, pause_s: float, count: int | None = None) -> None:
        """Let the source's agent hand one over to the target's every so often."""
        self._begin(self._writes, source, target, pause_s, count)

    def claim(self, host: Host, number: int = 2) -> None:
        """Let so many claimers of the host's agent compete."""
        for each in range(number):
            self._begin(self._claims, host, Random(self._random.random() + each))

    def stop(self) -> None:
        """Let nothing more be written."""
        self._written.set()

    def end(self) -> None:
        """End all and say what went wrong in them."""
        self.stop()
        self._ended.set()
        for thread in self._threads:
            thread.join(30.0)
        assert self.trouble == []

    def _begin(self, what: object, *words: object) -> None:
        def run() -> None:
            try:
                what(*words)  # type: ignore[operator]
            except Exception as error:  # told by `end`: a thread's own traceback is easily overlooked
                self.trouble.append(f"{type(error).__name__}: {error}")

        thread = threading.Thread(target=run, daemon=True)
        self._threads.append(thread)
        thread.start()

    # ------------------------------------------------------------ what they do

    def _writes(self, source: Host, target: Host, pause_s: float, count: int | None) -> None:
        number = 0
        while not self._written.wait(pause_s) and number != count:
            number += 1
            ttl_s = SHORT_S if number % SHORT_EVERY == 0 else LONG_S
            self.history.write(source, target, payload(source.agent, target.agent, ttl_s=ttl_s))

    def _claims(self, host: Host, random: Random) -> None:
        while not self._ended.wait(LOOK_S):
            for name in filter(OURS.match, host.names("handoff")):
                self._try(host, name, random)

    def _try(self, host: Host, name: str, random: Random) -> None:
        claimed = host.root / "claimed" / name
        try:
            os.rename(host.root / "handoff" / name, claimed)
        except FileNotFoundError:
            self.history.claim(name, How.FAILED)
            return
        self.history.claim(name, How.OK, claimed.read_bytes())
        self._ended.wait(random.random() * 0.2)
        self._finish(host, claimed, random)

    def _finish(self, host: Host, claimed: Path, random: Random) -> None:
        name = claimed.name
        if random.randrange(REJECT_EVERY) == 0:
            (host.root / "rejected" / f"{name}.reason").write_text("the caller hung up")
            os.rename(claimed, host.root / "rejected" / name)
            self.history.end(name, "rejected_by_agent")
            return
        fields = json.loads(claimed.read_bytes())
        final = f"{int(time.time())}-{fields['from_agent']}-{fields['to_agent']}-{fields['handoff_id']}.json"
        if random.randrange(APPEND_EVERY) == 0:
            fields["transcript"].append({"role": "assistant", "text": "goodbye"})
            part = claimed.with_name(f".{name}.tmp")
            part.write_text(json.dumps(fields))
            os.replace(part, claimed)
        os.rename(claimed, host.root / "archive" / final)
        self.history.end(name, "completed")
