"""From configuration to the values each floor is handed: settings, principals, addresses, log handlers.

It translates and does nothing else. The rule that must stay true: no floor below sees the configuration itself.
"""

import dataclasses
import json
import logging
import stat
import sys
from pathlib import Path

from handoffd import __version__, identity
from handoffd.config import Config, PeerConfig, differences_that_need_restart
from handoffd.custody.message import Principal
from handoffd.custody.tree import Settings
from handoffd.hub.listen import Listen
from handoffd.hub.settings import Directory, HubSettings
from handoffd.journal import Story
from handoffd.protocol.moment import format_moment
from handoffd.protocol.name import AgentName, HostName
from handoffd.protocol.timing import DAY_S, HOUR_S

SHARED_BITS = stat.S_ISGID | stat.S_IWGRP
"""A root with these is shared with agents of other users through its group (overview.md section 3)."""


def is_shared(root: Path) -> bool:
    """Tell whether the agents of this root run as other users."""
    return root.stat().st_mode & SHARED_BITS == SHARED_BITS


def in_force(running: Config, wanted: Config) -> Config:
    """Return what a reload brings into force: what needs a restart stays as it runs."""
    kept = {key: getattr(running, key) for key in differences_that_need_restart(running, wanted)}
    return dataclasses.replace(wanted, **kept)


def custody_settings(config: Config) -> Settings:
    """Return what the engine needs."""
    return Settings(
        host=HostName(config.host),
        agents=frozenset(map(AgentName, config.agents)),
        peers={HostName(peer.name): frozenset(map(AgentName, peer.agents)) for peer in config.peers.values()},
        max_payload_bytes=config.limits.max_payload_bytes,
        max_ttl_s=config.limits.max_ttl_s,
        forget_after_s=config.forget_after_h * HOUR_S,
        retain_s=config.retain_days * DAY_S,
        doubt_max_s=config.doubt_max_days * DAY_S,
        directory_mode=0o2770 if is_shared(config.root) else 0o755,
    )


def hub_settings(config: Config) -> HubSettings:
    """Return what the hub needs."""
    return HubSettings(
        host=HostName(config.host),
        version=__version__,
        homes=frozenset(map(AgentName, config.agents)),
        max_payload_bytes=config.limits.max_payload_bytes,
        agent_requests_per_s=config.limits.agent_requests_per_s,
        agent_burst=config.limits.agent_burst,
    )


def directory(config: Config) -> Directory:
    """Return who may speak to the hub."""
    principals: dict[str, Principal] = {}
    for name, hashes in config.agent_tokens.items():
        agent = AgentName(name)
        principals |= {digest.hex(): Principal(f"@{agent}", agent, frozenset({agent})) for digest in hashes}
    for peer in config.peers.values():
        sends = frozenset(map(AgentName, peer.agents))
        principals |= {digest.hex(): Principal(peer.name, None, sends) for digest in peer.accepts}
    return Directory(principals, frozenset(digest.hex() for digest in config.operator_token))


def listens(config: Config) -> list[Listen]:
    """Return where to listen, certificates loaded. Raises BadCertificate, OSError."""
    return [
        Listen(
            one.address,
            one.port,
            identity.server_context(one.key_pair.certificate, one.key_pair.key) if one.key_pair else None,
        )
        for one in config.listen
    ]


def same_link(old: PeerConfig, new: PeerConfig) -> bool:
    """Tell whether a link made for the old configuration serves the new one."""
    fields = ("url", "pinned_pem", "token", "agents")
    return all(getattr(old, name) == getattr(new, name) for name in fields)


# ------------------------------------------------------------------------------------------------- log


class JsonLines(logging.Formatter):
    """One JSON object a line, for collectors."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line; one for each edge of a story."""
        head = {
            "at": format_moment(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
        }
        story = _story(record)
        if story is not None:
            return "\n".join(
                json.dumps({**head, "event": event, **fields}, default=str) for event, fields in story.edges
            )
        line = {**head, "message": record.getMessage()}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


class TextLines(logging.Formatter):
    """Lines for people: time, level, words."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line; one for each edge of a story."""
        head = f"{format_moment(record.created)} {record.levelname.lower()}"
        if _story(record) is not None:
            return "\n".join(f"{head} {words}" for words in record.getMessage().split("\n"))
        line = f"{head} {record.getMessage()}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def _story(record: logging.LogRecord) -> Story | None:
    told = record.args[0] if isinstance(record.args, tuple) and record.args else None
    return told if isinstance(told, Story) else None


def set_up_log(config: Config) -> None:
    """Send log lines to standard error in the configured form."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if config.log.format == "json" else TextLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(config.log.level.upper())
