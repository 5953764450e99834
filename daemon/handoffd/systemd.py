"""What the service manager is told: ready, reloading, stopping, alive, and one line of status; and whether it logs us.

Owns the notification protocol of sd_notify(3) and the watchdog interval of sd_watchdog_enabled(3). Does not know what
ready means, nor when to ping: the caller decides. The rule that must stay true: telling never raises and never waits
longer than `SEND_LIMIT_S`, because a handoff does not depend on who started us.
"""

import os
import socket
import time
from collections.abc import Mapping

# The manager reads at once or is in trouble of its own; its watchdog forgives one lost ping (see `ping_interval_s`).
SEND_LIMIT_S = 0.2
USEC_PER_S = 1_000_000


class Manager:
    """The service manager that started this process, or nobody when there is none."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._address = _address(environment.get("NOTIFY_SOCKET", ""))

    def ready(self, status: str) -> bool:
        """Tell that serving began, at start or after a reload; return whether anybody was told."""
        return self._tell("READY=1", _status(status))

    def reloading(self) -> bool:
        """Tell that the configuration is being read again; `ready` must follow, whether the new one was good or not."""
        return self._tell("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> bool:
        """Tell that an orderly stop began."""
        return self._tell("STOPPING=1", _status("stopping"))

    def alive(self) -> bool:
        """Feed the watchdog."""
        return self._tell("WATCHDOG=1")

    def status(self, text: str) -> bool:
        """Show one line in `systemctl status`."""
        return self._tell(_status(text))

    def _tell(self, *assignments: str) -> bool:
        if self._address is None:
            return False
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                sender.settimeout(SEND_LIMIT_S)
                sender.sendto("\n".join(assignments).encode(), self._address)
        except OSError:
            return False
        return True


def ping_interval_s(environment: Mapping[str, str]) -> float | None:
    """Return how often to call `alive`: half of the manager's patience, or None when it keeps no watchdog on us."""
    patience = environment.get("WATCHDOG_USEC", "")
    if environment.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    if not patience.isascii() or not patience.isdigit() or int(patience) == 0:
        return None
    return int(patience) / USEC_PER_S / 2


def leads_to_journal(environment: Mapping[str, str], descriptor: int) -> bool:
    """Tell whether this descriptor is the stream into the system's journal (JOURNAL_STREAM of systemd.exec(5)).

    The variable alone proves nothing: whoever started us may have sent standard error elsewhere.
    """
    try:
        found = os.fstat(descriptor)
    except OSError:
        return False
    return environment.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"


def _address(name: str) -> str | None:
    # A vsock address, the third form, is for the manager of a virtual machine and never set for a service.
    if name.startswith("/"):
        return name
    return "\0" + name[1:] if name.startswith("@") else None


def _status(text: str) -> str:
    # A line break would begin another assignment.
    return "STATUS=" + " ".join(text.split())
