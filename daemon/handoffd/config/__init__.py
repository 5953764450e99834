"""The configuration of one daemon: one YAML file, checked as a whole before anything uses it.

yaml and pydantic stay behind this door. The rule that must stay true: a configuration that can't be used is refused
with every problem's file, line, key and remedy, and changes nothing.
"""

from handoffd.config.load import PEER_DIRECTORY, load, peer_files, read_document
from handoffd.config.locate import FILE_NAME, SYSTEM_DIRECTORY, locate, user_directory
from handoffd.config.model import Config, KeyPair, Listener, PeerConfig, TokenHashes
from handoffd.config.problem import ConfigError, Problem
from handoffd.config.restart import differences_that_need_restart
from handoffd.config.schema import Document

__all__ = [
    "FILE_NAME",
    "PEER_DIRECTORY",
    "SYSTEM_DIRECTORY",
    "Config",
    "ConfigError",
    "Document",
    "KeyPair",
    "Listener",
    "PeerConfig",
    "Problem",
    "TokenHashes",
    "differences_that_need_restart",
    "load",
    "locate",
    "peer_files",
    "read_document",
    "user_directory",
]
