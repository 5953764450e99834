"""What this installation is made of: the words of `handoffd --version`.

It owns where the commit of a build is kept: `build.json` beside this file, which packaging/build_hook.py puts into
wheels and source distributions. It knows nothing of handoffs. The rule that must stay true: to name a library it is
looked up in the metadata of what is installed, not imported.
"""

import json
import os
import platform
import re
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

from handoffd import __version__
from handoffd.protocol.admission import PROTOCOL_VERSION

BUILD_RECORD = Path(__file__).with_name("build.json")


def lines() -> Iterator[str]:
    """Yield what to print, the name and version of the program alone on the first line."""
    yield f"handoffd {__version__}"
    yield f"commit     {commit(BUILD_RECORD)}"
    yield f"protocol   {PROTOCOL_VERSION}"
    yield f"python     {platform.python_version()} ({platform.python_implementation()}), {sys.executable}"
    yield f"platform   {' '.join(_platform())}"
    yield f"libraries  {', '.join(_libraries())}"


def commit(record: Path) -> str:
    """Return the commit a build was made of with its day, or why it is not known."""
    try:
        built: dict[str, Any] = json.loads(record.read_bytes())
        return f"{built['commit'][:12]} of {built['date']}" + (", changed since" if built["changed"] else "")
    except FileNotFoundError:
        return "not recorded: a checkout, or built without git"
    except (OSError, ValueError, LookupError, TypeError) as error:
        return f"not known: {record} cannot be read ({error})"


def _platform() -> Iterator[str]:
    here = os.uname()
    yield f"{here.sysname} {here.release} {here.machine},"
    yield " ".join(platform.libc_ver()).strip() or "libc not known"


def _libraries() -> Iterator[str]:
    for line in metadata.requires("handoffd") or ():
        name = re.split(r"[^A-Za-z0-9._-]", line)[0]
        if "extra ==" in line:
            continue
        try:
            yield f"{name} {metadata.version(name)}"
        except metadata.PackageNotFoundError:
            yield f"{name} missing"
