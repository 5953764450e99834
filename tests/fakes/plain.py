"""A port that speaks no TLS to a client that wants it."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

LIMIT_S = 20.0


@contextmanager
def port_without_tls() -> Iterator[int]:
    """Answer one connection as a plain HTTP server does whom a TLS handshake puzzles."""
    with socket.create_server(("127.0.0.1", 0)) as plain:
        plain.settimeout(LIMIT_S)

        def serve() -> None:
            client, _ = plain.accept()
            with client:
                client.recv(65_536)
                client.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=serve)
        thread.start()
        yield plain.getsockname()[1]
        thread.join(LIMIT_S)
