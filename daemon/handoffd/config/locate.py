"""Where the configuration file is looked for.

It looks at names only and reads no file. The rule that must stay true: what was named explicitly is never replaced by
another file.
"""

import os
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
    for directory in candidates:
        if os.path.isfile(directory / FILE_NAME):  # Path.is_file raises where a home is closed to us, as after sudo -u
            return directory / FILE_NAME
    looked = ", ".join(str(directory / FILE_NAME) for directory in candidates)
    message = f"no configuration file found (looked for {looked})"
    raise ConfigError([Problem(Path(FILE_NAME), None, "", message, "run `handoffd init`, or name one with --config")])
