"""A daemon under hostile requests: it answers or closes, never breaks, grows or writes outside its root."""

import os
import random
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.hostile.corpus import Request, request
from tests.spec.daemon.rig import Host, Pair

THREADS = 4
PATIENCE_S, SHORT_PATIENCE_S = 60.0, 0.1
"""The short one is for requests that may promise more than they send: a daemon waits for the rest of them."""
EXCUSED = (503, b"GET /readyz ")
"""The documented answer while a disk stands still."""
RSS_GROWTH, RSS_SLACK_MIB = 1.10, 8.0


@dataclass
class Siege:
    """One run against the first host of a pair.

    `answers`: by status; 0 for none. `failures`: status and first line of what was answered by a 5xx, as sent.
    """

    pair: Pair
    seed: int
    answers: Counter[int] = field(default_factory=Counter)
    failures: Counter[tuple[int, bytes]] = field(default_factory=Counter)
    rss_mib: list[float] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self, number: int) -> list[str]:
        """Send so many requests; return everything that must not be."""
        host = self.pair.bob
        before = _outside(host)
        tokens = [host.token(), *_peer_tokens(self.pair)]
        for portion in range(10):  # memory is judged once everything has been used
            shares = [number // 10 // THREADS] * THREADS
            threads = [
                threading.Thread(target=self._send, args=(host, tokens, count, f"{self.seed}.{portion}.{each}"))
                for each, count in enumerate(shares)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            self.rss_mib.append(host.resident_mib())
        return [*self._judged(), *(f"outside the root: {path}" for path in sorted(_outside(host) ^ before))]

    def _judged(self) -> Iterator[str]:
        early, late = self.rss_mib[1], self.rss_mib[-1]
        if late > early * RSS_GROWTH + RSS_SLACK_MIB:
            yield f"memory grew from {early:.1f} to {late:.1f} MiB"
        for (status, line), count in self.failures.items():
            if (status, line[: len(EXCUSED[1])]) != EXCUSED:
                yield f"{count} answers {status} to {line!r}"
        yield from self.pair.bob.alarms()

    def _send(self, host: Host, tokens: list[str], count: int, seed: str) -> None:
        chance = random.Random(seed)
        for _ in range(count):
            sent = request(chance, tokens)
            status = _exchange(host.local_port, sent, keeps=chance.random() < 0.9)
            with self._lock:
                self.answers[status] += 1
                if status >= 500:
                    self.failures[status, sent.data.partition(b"\r\n")[0]] += 1


def _exchange(port: int, sent: Request, *, keeps: bool) -> int:
    """Send it and return the status of the first answer; 0 if there is none in time."""
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as near:
        if not sent.is_whole:
            near.settimeout(SHORT_PATIENCE_S)
        with suppress(OSError):
            near.sendall(sent.data)
            data = near.recv(64) if keeps else b""
            while data.startswith(b"HTTP/1.1 100"):
                data = near.recv(64)
            words = data.split(b" ", 2)
            return int(words[1]) if len(words) > 1 else 0
    return 0


def _peer_tokens(pair: Pair) -> list[str]:
    """What alice-vm shows to bob-vm, and a token that nobody has."""
    return [(pair.alice.directory / "peers" / f"{pair.bob.name}.out").read_text().strip(), "f" * 64]


def _outside(host: Host) -> set[tuple[Path, int]]:
    """Everything beside the root, and when it changed; but for the log."""
    found = set()
    for place, directories, names in os.walk(host.directory):
        if Path(place) == host.directory:
            directories.remove(host.root.name)
        paths = (Path(place, name) for name in (*directories, *names))
        found |= {(path, path.lstat().st_mtime_ns) for path in paths if path != host.log_file}
    return found
