"""Which changes of a configuration a running daemon can't take over.

It knows the keys by name only. The rule that must stay true: what is not named here applies at the next reload.
"""

from handoffd.config.model import Config

NEEDS_RESTART = ("host", "root", "listen", "identity", "watch", "scan_interval_s", "journal", "log")
"""Each is read once, when the daemon opens its directories, sockets, watcher and logs."""


def differences_that_need_restart(old: Config, new: Config) -> list[str]:
    """Return the keys whose change stays without effect until the daemon is started again."""
    return [key for key in NEEDS_RESTART if getattr(old, key) != getattr(new, key)]
