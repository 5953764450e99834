"""A story on a kind of link, and the host that a fault befalls: what the fault tests go through one by one."""

from dataclasses import dataclass

from tests.fakes import agents
from tests.fakes.star import Spoke, Star
from tests.fakes.story import STORIES, Story
from tests.fakes.visits import VISITS
from tests.fakes.world import World
from tests.unit.custody.pair import payload

from handoffd.custody.filesystem import SYNCFS_FROM

KINDS: dict[str, type[World]] = {"pair": World, "spoke": Spoke, "star": Star}
HOSTS = {"pair": "ab", "spoke": "ab", "star": "ahb"}
PUSH_ALONE = "revoked before it came"
"""It posts what only a push link posts."""
MANY = "many at once"


def many_at_once(world: World) -> None:
    """So many in a group that one syncfs takes the place of an fsync each."""
    for number in range(SYNCFS_FROM):
        world.hand_over(f"{number}.json", payload(ttl_s=600.0))
    world.until_quiet(agents.archives)


TOLD = {**VISITS, MANY: Story(many_at_once, "completed")}


@dataclass(frozen=True)
class Scene:
    """`born`: the host's tree is made within the story, not before."""

    kind: str
    name: str
    host: str
    born: bool = False

    def __str__(self) -> str:
        return f"{self.kind}: {self.name}: {self.host}" + (", from its first start on" if self.born else "")

    @property
    def story(self) -> Story:
        return TOLD[self.name]


PUSH_SCENES = [Scene("pair", name, host) for name in STORIES for host in HOSTS["pair"]]
BIRTHS = [Scene("pair", "archived as it is", host, born=True) for host in HOSTS["pair"]]
MANY_SCENES = [Scene("pair", MANY, host) for host in HOSTS["pair"]]
PULL_SCENES = [
    Scene(kind, name, host)
    for kind in ("spoke", "star")
    for name in VISITS
    if name != PUSH_ALONE
    for host in HOSTS[kind]
]
