"""Writes down in a wheel or source distribution which commit it is made of, for `handoffd --version`.

It owns `handoffd/build.json`; the commit comes from git, or from HANDOFFD_COMMIT where there is no git (an image). The
rule that must stay true: nothing of the machine or the hour gets in, so that a commit gives the same file everywhere.
"""

import json
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

RECORD = "daemon/handoffd/build.json"
PLACES = {"wheel": "handoffd/build.json", "sdist": RECORD}


class BuildFacts(BuildHookInterface):
    """Adds build.json to what is built, unless the tree is an unpacked source distribution, which has it."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "editable" or Path(self.root, RECORD).exists():
            return
        facts = _named(os.environ.get("HANDOFFD_COMMIT", "")) or _asked(self.root)
        if facts is None:
            return
        self.made = tempfile.NamedTemporaryFile("w", suffix=".json", delete=False)  # noqa: SIM115 (gone in finalize)
        with self.made as file:
            json.dump(facts, file)
        os.chmod(self.made.name, 0o644)
        build_data["force_include"][self.made.name] = PLACES[self.target_name]

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        if hasattr(self, "made"):
            os.unlink(self.made.name)


def _named(text: str) -> dict[str, Any] | None:
    """Read `COMMIT DATE`, or `COMMIT DATE changed`."""
    words = text.split()
    return {"commit": words[0], "date": words[1], "changed": "changed" in words[2:]} if len(words) > 1 else None


def _asked(root: str) -> dict[str, Any] | None:
    """Ask git, if this tree is the top of a checkout: a tarball below somebody else's checkout is not."""
    if not Path(root, ".git").exists():
        return None
    try:
        commit, date = _git(root, "log", "-1", "--format=%H %cs").split()
        changed = bool(_git(root, "status", "--porcelain", "--untracked-files=no").strip())
    except (OSError, subprocess.CalledProcessError, ValueError):
        return None
    return {"commit": commit, "date": date, "changed": changed}


def _git(root: str, *words: str) -> str:
    return subprocess.run(["git", "-C", root, *words], check=True, capture_output=True, text=True).stdout
