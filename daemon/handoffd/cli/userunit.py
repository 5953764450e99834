"""The units with which a user's own systemd runs the daemon, as text.

It owns their words, and how a path is written in a unit. It writes no file. The rule that must stay true: what agents
wait for (docs/custody.md, 13) is the same here as in systemd/, with the user's own run-time directory for /run.
"""

from pathlib import Path

MARK = "# Made by `handoffd install-service`"
SERVICE, TARGET = "handoffd.service", "handoff-agents.target"


def units(program: list[str], config: Path) -> dict[str, str]:
    """Return the text of each unit by its name; `program` is the command that `run --config FILE` is added to."""
    command = " ".join(_quoted(word) for word in (*program, "run", "--config", str(config)))
    return {SERVICE: _SERVICE.format(mark=MARK, command=command), TARGET: _TARGET.format(mark=MARK)}


def _quoted(word: str) -> str:
    """Return one word of a command, systemd.service(5): specifiers and variables are what they look like."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{escaped}"' if escaped != word or " " in word or "'" in word else word


_SERVICE = """\
{mark}, which writes it again; change it with `systemctl --user edit handoffd`.

[Unit]
Description=Carries handoffs between agents of different hosts
# Agents start after the daemon: after a power cut it first takes back what may have been claimed.
Wants=handoff-agents.target
Before=handoff-agents.target
# Never given up: a full disk or a missing mount is mended some day, and until then a start loses nothing.
StartLimitIntervalSec=0

[Service]
# Ready once recovery has ended and the sockets listen.
Type=notify
NotifyAccess=main
ExecStart={command}
ExecStartPost=/usr/bin/touch %t/handoffd/recovered
ExecReload=/bin/kill -HUP $MAINPID
TimeoutStartSec=120
# An orderly stop takes unclaimed files back and flushes them; killed before that, the next start recovers instead.
TimeoutStopSec=30
WatchdogSec=30
Restart=on-failure
RestartSec=2
# 2: usage or configuration error, 77: permission. Both wait for a person.
RestartPreventExitStatus=2 77
UMask=0007
RuntimeDirectory=handoffd
RuntimeDirectoryPreserve=yes
# No more than this: the daemon runs as you, and so do commands that it starts for you.
NoNewPrivileges=yes
LimitNOFILE=16384

[Install]
WantedBy=default.target
"""

_TARGET = """\
{mark}. Agents that use the directory say: Requires= and After=handoff-agents.target.

[Unit]
Description=Agents that share a handoff directory
After=handoffd.service
# When the daemon has recovered after all, it starts this target again.
AssertPathExists=%t/handoffd/recovered

[Install]
WantedBy=default.target
"""
