"""One scene, its host in a process of its own, and a blow at one of its calls; or two blows, one after the other."""

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from tests.fakes.faulty import Crash
from tests.fakes.scene import KINDS, Scene
from tests.fakes.story import suffer
from tests.fakes.world import World
from tests.fault.calls.remote import Nursery, Processes
from tests.fault.calls.tracer import Blow, Call
from tests.unit.custody.pair import Host

from handoffd.custody.filesystem import FlushFailed

Blows = Mapping[int, Blow]
"""What befalls the n-th process of the host, from 0."""


class Stage:
    """Plays scenes in directories of its own under `ground`."""

    def __init__(self, nursery: Nursery, ground: Path) -> None:
        self._nursery, self._ground = nursery, ground

    def calls(self, scene: Scene, blows: Blows | None = None) -> dict[int, list[Call]]:
        """Play it with these blows, and return the mutating calls of each process of the host, by its number."""
        with tempfile.TemporaryDirectory(dir=self._ground) as directory:
            processes = self._play(scene, Path(directory), blows or {}, watch=True)
            return {number: tracer.calls() for number, tracer in processes.tracers.items()}

    def strike(self, scene: Scene, blows: Blows) -> bool:
        """Play it with these blows to its end; tell whether all fell. Raises AssertionError for a broken promise."""
        with tempfile.TemporaryDirectory(dir=self._ground) as directory:
            return self._play(scene, Path(directory), blows, watch=False).struck

    def _play(self, scene: Scene, directory: Path, blows: Blows, *, watch: bool) -> Processes:
        world = KINDS[scene.kind](directory)
        host: Host = getattr(world, scene.host)
        processes = Processes(self._nursery, directory, blows=blows, watch=watch)
        host.opener = processes
        traced = watch or 0 in blows
        if scene.born:
            self._bear(world, host, processes, traced)
        else:
            host.restart()
            if traced:
                processes.trace_first()
        for one in world.hosts:
            one.faults.rest()
        suffer(world, scene.story, f"{scene}: {describe(blows)}")
        return processes

    @staticmethod
    def _bear(world: World, host: Host, processes: Processes, traced: bool) -> None:
        """Let the host begin with nothing, traced from its first start on."""
        host.fs.close()
        shutil.rmtree(host.root)
        host.root.mkdir()
        host.open()
        if traced:
            processes.trace_first()
        try:
            host.start()
        except (Crash, FlushFailed, OSError):
            world.restart(host)
        world.push()  # hello: the other host knows another tree under this name


def describe(blows: Blows) -> str:
    """Return words for what befalls which process."""
    return ", ".join(f"process {number}: {blow}" for number, blow in sorted(blows.items()))
