"""What `handoffd run` does not pay for before somebody asks."""

import subprocess
import sys

PROGRAM = """
import sys
import handoffd.app
late = [name for name in sys.modules if name.startswith(("handoffd.view", "handoffd.hub.page", "handoffd.cli"))]
sys.exit(", ".join(late) or 0)
"""


def test_the_status_page_is_not_loaded_with_the_daemon() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_and_this_test_would_see_it() -> None:
    program = PROGRAM.replace("import handoffd.app", "import handoffd.app, handoffd.hub.page.room")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert "handoffd.hub.page.room" in done.stderr
