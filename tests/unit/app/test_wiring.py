"""What of a configuration can fail although it was read: a certificate and its key that are replaced meanwhile."""

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from handoffd.app.wiring import CannotShow, show_anew
from handoffd.hub.listen import Listen
from handoffd.identity import make_identity, server_context


def test_a_key_that_does_not_fit_any_more_is_told_with_its_certificate(tmp_path: Path) -> None:
    certificate, key = tmp_path / "alice-vm.pem", tmp_path / "alice-vm.key"
    for file, text in zip((certificate, key), make_identity("alice-vm", time.time()), strict=True):
        file.write_bytes(text)
    shown = [Listen("127.0.0.1", 0), Listen("127.0.0.1", 0, server_context(certificate, key))]
    pair = SimpleNamespace(certificate=certificate, key=key)
    config: Any = SimpleNamespace(listen=[SimpleNamespace(key_pair=None), SimpleNamespace(key_pair=pair)])
    show_anew(shown, config)
    key.write_bytes(make_identity("alice-vm", time.time())[1])
    with pytest.raises(CannotShow, match=f"^{certificate}: changed while it was read: .*mismatch"):
        show_anew(shown, config)
