"""The daemon: does it run, is it this configuration's, of this version, and can it listen?

It owns telling one daemon from another. The rule that must stay true: a daemon that does not run is not a fault.
"""

import http.client
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from handoffd import __version__
from handoffd.cli.doctor.finding import Finding, failure, fine, unchecked, warning
from handoffd.cli.doctor.patient import Patient
from handoffd.cli.ground import port_trouble
from handoffd.config import Listener
from handoffd.custody.layout import FORMAT, RELAY
from handoffd.view.words import printable

RESTART = "restart it: systemctl restart handoffd"
_HEALTH_S = 2.0


def daemon(patient: Patient) -> Iterator[Finding]:
    """Look at the process that holds the root, and at the layout it left."""
    root = patient.root
    if root is None:
        return
    yield from _layout(root)
    if patient.holder == 0:
        yield unchecked("daemon", "none runs here: no round trip, and links were tried by this command alone")
    elif patient.status is None:
        who = _who(patient.holder)
        remedy = f"give it a minute, then see journalctl -u handoffd and {RESTART}"
        yield failure("daemon_silent", f"{who} holds {root / RELAY / 'lock'} and does not answer", remedy)
    else:
        yield from _running(patient, patient.status)


def _layout(root: Path) -> Iterator[Finding]:
    try:
        found = (root / RELAY / "format").read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return
    if found != FORMAT:
        message = f"{root / RELAY / 'format'} is {found[:40]!r}, this handoffd knows {FORMAT!r}"
        yield failure("wrong_version", message, "run the version that wrote it")


def _running(patient: Patient, status: dict[str, Any]) -> Iterator[Finding]:
    host, version = str(status.get("host")), str(status.get("version"))
    who = _who(patient.holder)
    if host != patient.host:
        message = f"{who} runs on {patient.root} as {host}, and this configuration is {patient.host}'s"
        yield failure("second_daemon", message, "one daemon per root: stop that one, or name another root here")
        return
    if version != __version__:
        yield failure("wrong_version", f"{who} is handoffd {version}, and {__version__} is installed", RESTART)
    for one in status.get("warnings", ()):
        if one["word"] == "journal_failing":
            yield warning(one["word"], printable(one["detail"]), one["remedy"])
    if not status.get("ready"):
        yield failure("daemon_not_ready", f"{who} is starting or stopping", "try again; else journalctl -u handoffd")
    else:
        yield fine("daemon", f"handoffd {version}, {who}, is ready")


def _who(pid: int) -> str:
    return f"process {pid}" if pid > 0 else "a process of another container"


def ports(patient: Patient) -> Iterator[Finding]:
    """Tell what keeps the daemon from listening, while it does not run."""
    if patient.config is None or patient.holder != 0:
        return
    taken = 0
    for listener in patient.config.listen:
        trouble = port_trouble(listener)
        if trouble is None:
            continue
        taken += 1
        if _is_handoffd(listener):
            message = f"another handoffd answers on {listener.address} port {listener.port}"
            yield failure("second_daemon", message, "stop it (ss -ltnp shows its process), or choose another port")
        else:
            yield failure(trouble.word, trouble.message, trouble.remedy)
    if not taken:
        yield fine("ports", ", ".join(f"{one.address}:{one.port}" for one in patient.config.listen) + " are free")


def _is_handoffd(listener: Listener) -> bool:
    if not listener.is_loopback or listener.key_pair is not None:
        return False
    with closing(http.client.HTTPConnection(listener.address, listener.port, timeout=_HEALTH_S)) as connection:
        try:
            connection.request("GET", "/healthz")
            return connection.getresponse().getheader("Server", "").startswith("handoffd")
        except (OSError, http.client.HTTPException):
            return False
