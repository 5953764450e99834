"""In which order a host's engine touches its disk: where only the order is a promise, no end state could tell it."""

from tests.unit.custody.pair import Host

PLACES = ("relay", "handoff", "claimed", "archive", "rejected")


def recorded(host: Host) -> list[str]:
    """Let every later verb of this host be written down, with the directories it touched."""
    order: list[str] = []
    inner = host.fs._do

    def note(verb: str, act: object, *names: str) -> object:
        order.append(" ".join([verb, *(name for name in names if name.startswith(PLACES))]))
        return inner(verb, act, *names)  # type: ignore[arg-type]

    host.fs._do = note  # type: ignore[method-assign, assignment]
    return order


def in_order(order: list[str], *steps: str) -> bool:
    """Tell whether the steps happened, each after the one before."""
    at = -1
    for step in steps:
        if step not in order[at + 1 :]:
            return False
        at = order.index(step, at + 1)
    return True
