"""Asking the running daemon of a root, over its unix socket `relay/handoffd.sock`.

It owns the connection and the words for what goes wrong with it. It knows no verb. The rule that must stay true:
the socket is the daemon's user's alone, so no token is needed and none is sent.
"""

import http.client
import json
import socket
from pathlib import Path
from typing import Any

from handoffd.cli.failure import ExitCode, Failure
from handoffd.custody.layout import RELAY

PATIENCE_S = 10.0
"""A daemon that flushes a large group answers within a second."""


class NotRunning(Failure):
    """No daemon runs on this root."""


class _SocketConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, patience_s: float) -> None:
        super().__init__("localhost", timeout=patience_s)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket instead of an address."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def ask(
    root: Path,
    method: str,
    path: str,
    fields: dict[str, object] | None = None,
    data: bytes | None = None,
    patience_s: float = PATIENCE_S,
) -> dict[str, Any]:
    """Return the daemon's JSON answer to `fields` or exact bytes. Raises Failure: not running, or it refused."""
    place = root / RELAY / "handoffd.sock"
    connection = _SocketConnection(place, patience_s)
    try:
        body = data if fields is None else json.dumps(fields)
        connection.request(method, path, body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        told = json.loads(answer.read())
    except (FileNotFoundError, ConnectionRefusedError):
        raise NotRunning(f"no daemon runs on {root}; start it with `handoffd run`", ExitCode.UNREACHABLE) from None
    except (OSError, ValueError, http.client.HTTPException) as error:
        if isinstance(error, PermissionError):
            raise
        raise Failure(f"{place}: no answer ({type(error).__name__}: {error})", ExitCode.UNREACHABLE) from None
    finally:
        connection.close()
    if not isinstance(told, dict) or answer.status != http.client.OK:
        words = str(told.get("detail", answer.status)) if isinstance(told, dict) else str(answer.status)
        busy = answer.status == http.client.TOO_MANY_REQUESTS
        raise Failure(words, ExitCode.TRY_AGAIN if busy else ExitCode.FAILED)
    return told
