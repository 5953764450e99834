"""What every random history has: a beginning, an end, what befalls hosts, what the agent at the end does."""

import shutil
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from tests.fakes import agents
from tests.fakes.chain import Chain
from tests.fakes.star import Dialling
from tests.fakes.world import World
from tests.unit.custody.pair import Host

HANDOFFS = 3
"""The most that one history begins."""
MEMORY = Path("/dev/shm")
which = st.integers(0, 20)
"""One of several, whatever their number."""


def play(examples: int) -> settings:
    """Return how a machine is played: so many histories of 40 steps each."""
    skipped = [HealthCheck.too_slow, HealthCheck.filter_too_much]
    return settings(max_examples=examples, stateful_step_count=40, suppress_health_check=skipped)


class History(RuleBasedStateMachine):
    """A machine over a world of hosts; a subclass makes the world in `directory`, and says how it comes to rest."""

    world: World | Chain | Dialling

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp(dir=MEMORY if MEMORY.is_dir() else None))

    @invariant()
    def the_witness_is_content(self) -> None:
        self.world.witness.look_if_changed()

    def teardown(self) -> None:
        try:
            self.come_to_rest()
            self.world.witness.final()
        finally:
            self.world.close()
            shutil.rmtree(self.directory)

    def come_to_rest(self) -> None:
        """End all faults, and go on until nothing moves any more."""
        raise NotImplementedError


class Misfortunes(History):
    """What befalls any number of hosts; a subclass adds what goes over their links."""

    world: Chain | Dialling

    def host(self, number: int) -> Host:
        return self.world.hosts[number % len(self.world.hosts)]

    # ------------------------------------------------------------ what befalls hosts

    @rule(number=which, seconds=st.sampled_from([0.0, 1.0, 3.0, 11.0]))
    def time_passes(self, number: int, seconds: float) -> None:
        self.host(number).clock.advance(seconds)
        self.world.tick(self.host(number))

    @rule(number=which, power=st.booleans())
    def a_host_goes_down(self, number: int, power: bool) -> None:
        self.world.power = power
        self.world.restart(self.host(number))
        self.world.power = False

    @rule(number=which, changes=st.integers(1, 12))
    def a_host_will_go_down(self, number: int, changes: int) -> None:
        faults = self.host(number).faults
        faults.crash_after = {faults.changes + changes}

    @rule(number=which)
    def a_host_is_stopped_in_order(self, number: int) -> None:
        self.world.stop(self.host(number))

    @rule(number=which, seconds=st.sampled_from([-3600.0, -7.0, 4.0, 7.0, 3600.0]))
    def a_clock_is_set(self, number: int, seconds: float) -> None:
        self.host(number).clock.wall_s += seconds
        self.world.tick(self.host(number))

    # ------------------------------------------------------------ alice

    @rule(end=st.sampled_from([agents.talks, agents.archives, agents.rejects, agents.claim_all]))
    def alice_acts(self, end: agents.Agent) -> None:
        end(self.world)
        self.world.witness.look()
