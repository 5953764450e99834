"""Two daemons with a wire each way between them, so that everything a network can do can be done to them."""

from contextlib import suppress
from pathlib import Path

from tests.fire.wire import Wire
from tests.spec.daemon.rig import DEADLINE_S, Pair, until

from handoffd.clock import boot_id
from handoffd.custody.examine import Report, examine, lasting


class Ground:
    """bob-vm and alice-vm; each calls the other over a wire of its own: `to_alice`, `to_bob`."""

    def __init__(self, directory: Path) -> None:
        self.pair = Pair(directory)
        self.bob, self.alice = self.pair.bob, self.pair.alice
        self.to_alice, self.to_bob = Wire(self.alice.tls_port), Wire(self.bob.tls_port)
        self.wires = (self.to_alice, self.to_bob)
        for host, peer, wire in ((self.bob, self.alice, self.to_alice), (self.alice, self.bob, self.to_bob)):
            entry = host.directory / "peers.d" / f"{peer.name}.yaml"
            entry.write_text(entry.read_text().replace(f":{peer.tls_port}", f":{wire.port}"))

    def start(self) -> "Ground":
        self.pair.start()
        return self

    def heal(self) -> None:
        """End whatever was done to the wires."""
        for wire in self.wires:
            wire.heal()

    def end(self) -> None:
        self.pair.end()
        for wire in self.wires:
            wire.close()

    def broken(self) -> list[str]:
        """Return what `handoffd fsck` would say of both roots, daemons running or not, and go on saying."""
        reports = self._examined()

        def is_sound() -> bool:
            reports[:] = map(lasting, reports, self._examined())
            return not any(report.broken for report in reports)

        if any(report.broken for report in reports):
            with suppress(AssertionError):
                until("nothing is broken", is_sound, DEADLINE_S)
        return [f"{one.what}: {one.paths} {one.detail}" for report in reports for one in report.broken]

    def _examined(self) -> list[Report]:
        return [examine(host.root, boot_id()) for host in self.pair.hosts]
