"""That a soak would see what a daemon keeps."""

import contextlib
import socket

import pytest
from tests.fire.ground import Ground
from tests.fire.usage import JUDGED_FROM, POOL, Sample, Usage

pytestmark = pytest.mark.slow
AT_ONCE_S = 2.0


def test_connections_that_stay_open_are_found(ground: Ground) -> None:
    usage = Usage(ground)
    with contextlib.ExitStack() as open_ones:
        for _ in range(POOL + 4):
            open_ones.enter_context(socket.create_connection(("127.0.0.1", ground.bob.local_port)))
        found = usage.kept(AT_ONCE_S)
        assert len(found) == 1
        assert found[0].startswith("bob-vm: still open when at rest: {'connection': ")
    assert usage.kept() == []


def test_growth_is_judged_by_quarters_with_samples_enough_and_of_one_process(ground: Ground) -> None:
    usage = Usage(ground)

    def sample(host_files: int, host_mib: float, number: int) -> None:
        for host in ground.pair.hosts:
            usage.samples[host.name] += [Sample(0.0, host.pid, host_mib, host_files)] * number

    sample(40, 60.0, 3 * JUDGED_FROM)
    sample(45, 60.0, JUDGED_FROM - 1)
    assert list(usage.grown()) == []
    sample(45, 60.0, 1)
    assert list(usage.grown()) == [f"{host.name}: open files grew from 40 to 45" for host in ground.pair.hosts]
    usage.samples[ground.bob.name].clear()
    usage.samples[ground.alice.name] = [Sample(0.0, ground.alice.pid + 1, 60.0, 40)] * 4 * JUDGED_FROM
    assert list(usage.grown()) == []
