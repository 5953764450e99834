"""docs/http-agents.md: its curl walk-through is run, every block as it stands."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.spec.daemon.rig import held_ports

PAGE = (Path(__file__).parents[3] / "docs/http-agents.md").read_text()
BLOCKS = re.findall(r"^```sh\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl: the walk-through is its")
def test_the_walk_through_works_as_it_is_written(tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    script = "set -euo pipefail\ntrap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n" + "\n".join(BLOCKS)
    with held_ports() as (local, tls):
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=tmp_path,
            env={**environment, "PORT": str(local), "TLS_PORT": str(tls)},
            capture_output=True,
            text=True,
            timeout=150,
            check=False,
        )
    log = (tmp_path / "hub.log").read_text() if (tmp_path / "hub.log").exists() else ""
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{log}"
    assert len(BLOCKS) >= 10
    assert done.stdout.rstrip().endswith("204")  # the last call: nothing waits any more
