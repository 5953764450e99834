"""docs/operations.md names what the daemon really does at its end."""

import re
from pathlib import Path

from handoffd.app import process

PAGE = (Path(__file__).parents[3] / "docs" / "operations.md").read_text()


def test_every_exit_code_of_the_daemon_is_listed_and_no_other() -> None:
    chapter = PAGE[PAGE.index("## Exit codes") : PAGE.index("## What it says")]
    listed = {int(code) for code in re.findall(r"^\| (\d+) \|", chapter, re.MULTILINE)}
    assert listed == {value for name, value in vars(process).items() if name.startswith("EXIT_")}
