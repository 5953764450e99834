"""What the tests of the link share: a certificate, and the way to the fakes beside them."""

import ssl
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from handoffd.identity import client_context, fingerprint, make_identity, server_context
from handoffd.link.follower import EMPTY_GAP_S
from handoffd.link.pace import PROBE_GAP_S
from handoffd.protocol.timing import RETRY_DELAYS_S

# The fakes are modules under the project's root, wherever pytest is started.
sys.path.insert(0, str(Path(__file__).parents[3]))

MADE_S = 1_767_225_600.0  # 2026-01-01


@dataclass
class Tls:
    """A host's identity as its server and a peer that pins it use it."""

    server: ssl.SSLContext
    client: ssl.SSLContext
    fingerprint: str


def make_tls(folder: Path) -> Tls:
    certificate, key = make_identity("alice-vm", MADE_S)
    (folder / "certificate.pem").write_bytes(certificate)
    (folder / "key.pem").write_bytes(key)
    pinned = certificate.decode()
    server = server_context(folder / "certificate.pem", folder / "key.pem")
    return Tls(server, client_context(pinned), fingerprint(pinned))


@pytest.fixture
def brisk(monkeypatch: pytest.MonkeyPatch) -> None:
    """All pauses between one try and the next are a twentieth of what they are."""
    monkeypatch.setattr("handoffd.link.pace.PROBE_GAP_S", PROBE_GAP_S / 20)
    monkeypatch.setattr("handoffd.protocol.timing.RETRY_DELAYS_S", tuple(delay_s / 20 for delay_s in RETRY_DELAYS_S))
    monkeypatch.setattr("handoffd.link.follower.EMPTY_GAP_S", EMPTY_GAP_S / 20)


@pytest.fixture(scope="session")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Tls:
    return make_tls(tmp_path_factory.mktemp("identity"))


@pytest.fixture(scope="session")
def other_tls(tmp_path_factory: pytest.TempPathFactory) -> Tls:
    return make_tls(tmp_path_factory.mktemp("other"))
