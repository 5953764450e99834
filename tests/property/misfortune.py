"""What befalls hosts in every random history, and what the agent at the end does: the part that no link changes."""

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from tests.fakes import agents
from tests.fakes.chain import Chain
from tests.fakes.star import Dialling
from tests.unit.custody.pair import Host

which = st.integers(0, 20)
"""One of several, whatever their number."""


class Misfortunes(RuleBasedStateMachine):
    """A machine over a world of hosts; a subclass makes the world and adds what goes over its links."""

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

    # ------------------------------------------------------------ always, and in the end

    @invariant()
    def the_witness_is_content(self) -> None:
        self.world.witness.look_if_changed()
