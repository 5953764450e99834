"""The configuration of one daemon: one YAML file, checked as a whole before anything uses it.

yaml and pydantic stay behind this door. The rule that must stay true: a configuration that can't be used is refused
with every problem's file, line, key and remedy, and changes nothing.
"""

from handoffd.config.load import load
from handoffd.config.locate import locate
from handoffd.config.model import Config, KeyPair, Listener, PeerConfig, TokenHashes
from handoffd.config.problem import ConfigError, Problem
from handoffd.config.restart import differences_that_need_restart

__all__ = [
    "Config",
    "ConfigError",
    "KeyPair",
    "Listener",
    "PeerConfig",
    "Problem",
    "TokenHashes",
    "differences_that_need_restart",
    "load",
    "locate",
]
