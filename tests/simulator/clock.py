"""The two clocks of a simulated host."""

START_S = 1_795_168_800.0


class SimClock:
    """Two clocks that move when told; `wall` may be set."""

    __slots__ = ("boot_s", "wall_s")

    def __init__(self) -> None:
        self.wall_s, self.boot_s = START_S, 1000.0

    def wall(self) -> float:
        return self.wall_s

    def boottime(self) -> float:
        return self.boot_s

    def now_ns(self) -> int:
        return int(self.wall_s * 1e9)
