"""Where the configuration file is looked for.

It looks at names only and reads no file. The rule that must stay true: what was named explicitly is never replaced by
another file.
"""

import os
import stat
from collections.abc import Mapping
from pathlib import Path

from handoffd.config.problem import ConfigError, Problem

FILE_NAME = "handoffd.yaml"
SYSTEM_DIRECTORY = Path("/etc/handoffd")


def user_directory(environment: Mapping[str, str]) -> Path:
    """Return the directory of the user's own configuration."""
    home = Path(environment.get("HOME", "/"))
    return Path(environment.get("XDG_CONFIG_HOME") or home / ".config") / "handoffd"


def locate(named: Path | None, environment: Mapping[str, str]) -> Path:
    """Return --config, $HANDOFFD_CONFIG, or the first default file that is there. Raises ConfigError."""
    explicit = named or environment.get("HANDOFFD_CONFIG")
    if explicit:
        return Path(explicit)
    candidates = [Path(), user_directory(environment), SYSTEM_DIRECTORY]
    closed = []
    for directory in candidates:
        try:
            if stat.S_ISREG(os.stat(directory / FILE_NAME).st_mode):
                return directory / FILE_NAME
        except PermissionError:  # go on all the same: after sudo -u the working directory may be closed to us
            closed.append(directory)
        except OSError:
            continue
    looked = ", ".join(str(directory / FILE_NAME) for directory in candidates)
    message, remedy = f"no configuration file found (looked for {looked})", "run `handoffd init`, or name one with"
    if closed:
        message += f", and this user may not look into {', '.join(str(directory.absolute()) for directory in closed)}"
        remedy = "run this as the daemon's user (sudo -u NAME), or name another with"
    raise ConfigError([Problem(Path(FILE_NAME), None, "", message, f"{remedy} --config", closed=bool(closed))])
