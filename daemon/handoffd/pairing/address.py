"""Where other hosts may reach this one, as well as it can tell by itself.

It guesses and proves nothing; the other side tries what it is given. The rule that must stay true: no packet is sent.
"""

import ipaddress
import socket
from collections.abc import Iterable, Iterator

_ELSEWHERE = ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1"))
"""Documentation addresses (RFC 5737, RFC 3849): the kernel picks the source address it would use for the world."""


def own_urls(host: str, listeners: Iterable[tuple[str, int]]) -> list[str]:
    """Return addresses to try, best first, for a host that listens with TLS at these (address, port)."""
    found: dict[str, None] = {}
    for address, port in listeners:
        names = [host, *_sources()] if ipaddress.ip_address(address).is_unspecified else [address]
        found.update(dict.fromkeys(f"https://{_bracketed(name)}:{port}" for name in names))
    return list(found)


def _sources() -> Iterator[str]:
    for family, elsewhere in _ELSEWHERE:
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as sock:
                sock.connect((elsewhere, 9))  # of a datagram socket: nothing leaves
                yield str(sock.getsockname()[0])
        except OSError:
            continue


def _bracketed(name: str) -> str:
    return f"[{name}]" if ":" in name else name
