"""Pair secrets: read from files that nobody else can read.

It knows files and modes, not what is signed. The rule that must stay true: a secret that others can read is refused,
and no secret appears in an error.
"""

import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path

from handoffd.agent.directory import open_regular
from handoffd.protocol.name import agent_name

ANYONE = "*"
"""The key of the secret for every sender that has none of its own."""
SECRET_LIMIT_BYTES = 4096
"""No secret is longer; a wrong file (a log, a disk image) is not read in."""


class BadSecret(Exception):
    """A secret file cannot be used; the message names the file and what to do."""


def read_secret(path: Path) -> bytes:
    """Return the file's bytes without line ends at their end. Raises BadSecret."""
    try:
        fd = open_regular(path)
    except OSError as error:
        raise BadSecret(f"{path}: {error.strerror}") from error
    if fd is None:
        raise BadSecret(f"{path}: {_why_not(path)}")
    with open(fd, "rb") as file:
        _check_mode(path, os.fstat(fd).st_mode)
        secret = file.read(SECRET_LIMIT_BYTES + 1).rstrip(b"\r\n")
    if not secret or len(secret) > SECRET_LIMIT_BYTES:
        raise BadSecret(f"{path}: a secret has 1 to {SECRET_LIMIT_BYTES} bytes, this one {len(secret)}")
    return secret


def read_secrets(arguments: Sequence[str]) -> Mapping[str, bytes]:
    """Return secrets by sender from `FILE` (any sender) and `NAME=FILE` arguments. Raises BadSecret, BadName."""
    secrets: dict[str, bytes] = {}
    for argument in arguments:
        name, equals, file = argument.partition("=")
        key = agent_name(name) if equals else ANYONE
        if key in secrets:
            raise BadSecret(f"two secret files for {'every sender' if key == ANYONE else key}; keep one")
        secrets[key] = read_secret(Path(file if equals else argument))
    return secrets


def _why_not(path: Path) -> str:
    if path.is_symlink():
        return "it is a link; name the file itself"
    if not path.exists():
        return "there is no such file; write the secret into it (mode 0600)"
    return "no regular file that this user can read; write the secret into it (mode 0600)"


def _check_mode(path: Path, mode: int) -> None:
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise BadSecret(f"{path}: others can read it (mode {mode & 0o777:04o}); run: chmod 600 {path}")
