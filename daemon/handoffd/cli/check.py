"""`handoffd check`: would the daemon start here, and what would it do first?

It owns the report; trying and counting are elsewhere. The rule that must stay true: it changes nothing, and a report
without a problem means that `handoffd run` starts.
"""

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import typer

from handoffd.cli.failure import ExitCode, Failure
from handoffd.cli.ground import (
    missing_directories,
    port_troubles,
    standing_troubles,
    standing_warnings,
    trial_troubles,
)
from handoffd.cli.picture import print_json, way
from handoffd.cli.root import CONFIG, JSON, wall_s
from handoffd.cli.survey import Fate, Household, Survey, survey
from handoffd.config import Config, ConfigError, Document, PeerConfig, Problem, load, locate
from handoffd.custody.layout import HANDOFF, RootInUse, filesystem_kind


@dataclass(slots=True)
class Report:
    """What was found. `survey` is None if handoff/ is not there."""

    root: Path
    config: Config | None
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    running: bool = False
    survey: Survey | None = None


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("check")(check)


def check(
    config: Path | None = CONFIG,
    root: Path | None = typer.Option(
        None,
        "--root",
        help="Look at this root instead; works without a configuration too.",
        show_default=False,
        readable=False,
    ),
    as_json: bool = JSON,
    schema: bool = typer.Option(False, "--schema", help="Print the JSON schema of the configuration and stop."),
) -> int:
    """Check the configuration, the root and the ports, and count what the first start will take."""
    if schema:
        print(json.dumps(Document.model_json_schema(), indent=2))
        return ExitCode.OK
    try:
        report = examine(_configuration(config, root), root)
    except ConfigError as error:
        if as_json:
            print_json({"ok": False, "problems": [_fields(problem) for problem in error.problems]})
        raise
    print_json(_as_json(report)) if as_json else _show(report)
    if report.problems:
        raise Failure("\n".join(report.problems))
    return ExitCode.OK


def _configuration(named: Path | None, root: Path | None) -> Config | None:
    try:
        path = locate(named, os.environ)
    except ConfigError:
        if root is None:
            raise
        return None
    return load(path, root=root)


def examine(config: Config | None, root: Path | None) -> Report:
    """Try and count everything. Raises Failure if there is no such root, PermissionError."""
    place = config.root if config else root and root.absolute()
    if place is None or not place.is_dir():
        raise Failure(f"{place} is not a directory; name the one your agents use", ExitCode.USAGE)
    report = Report(place, config)
    try:
        report.warnings = [str(one) for one in standing_warnings(place)]
        report.problems = [str(one) for one in standing_troubles(place)]
        if not report.problems and not missing_directories(place):
            report.problems += map(str, trial_troubles(place))
        report.problems += port_troubles(config.listen) if config else []
    except RootInUse:
        report.running = True
    if config:
        report.warnings += oddities(config)
    if (place / HANDOFF).is_dir():
        report.survey = survey(place, Household.of(config) if config else None, wall_s())
    return report


def oddities(config: Config) -> Iterator[str]:
    """Yield what is legal and hardly meant."""
    if not config.agents and len(config.peers) < 2:
        yield "no agent lives on this host; name them under `agents`"
    if not config.peers:
        yield "no peer: handoffs between agents of this host are left to them; add one with `handoffd invite` or `join`"
    elif all(listener.is_loopback for listener in config.listen):
        yield from _unreachable(config)
    default = config.peers.get(config.default_peer or "")
    if default is not None and not default.relay:
        way = f'{default.name} is the way to every agent that nobody names (agents: ["*"])'
        yield f"{way}, but may not bring what they send; add relay: true to it"


def _unreachable(config: Config) -> Iterator[str]:
    inward = [peer.name for peer in config.peers.values() if peer.dials_in]
    callers = [peer.name for peer in config.peers.values() if peer.url.startswith("https:") and peer.accepts]
    if inward:
        yield f"no address but loopback is listened on, so {', '.join(inward)} can't dial in from another machine"
    if callers:
        what = "that is right if it names this host without `url`"
        yield f"no address but loopback is listened on, so {', '.join(callers)} can't reach this host; {what}"


def _show(report: Report) -> None:
    for head, text in _lines(report):
        print(f"{head:<14}{text}")
    for warning in report.warnings:
        print(f"{'warning':<14}{warning}")
    if not report.problems:
        print(f"{'ok':<14}{_verdict(report)}")


def _verdict(report: Report) -> str:
    if report.running:
        return "a daemon runs here"
    return "`handoffd run` would start" if report.config else "the root is fit; no configuration was looked at"


def _lines(report: Report) -> Iterator[tuple[str, str]]:
    config = report.config
    if config:
        yield "configuration", f"{config.path}: host {config.host}, agents {', '.join(config.agents) or 'none'}"
        yield "identity", f"{config.host}  {config.identity.fingerprint}"
        for peer in config.peers.values():
            pins = "  ".join(peer.fingerprints) or ("no pin needed" if peer.dials_in else "no TLS")
            yield "peer", f"{peer.name}  {peer.url or 'dials in'}  agents {_agents_of(peer, config)}  {pins}"
        for listener in config.listen:
            yield "listen", f"{listener.address} port {listener.port}{', TLS' if listener.key_pair else ''}"
        for agent, hook in config.on_publish.items():
            yield "on_publish", f"{agent}: {hook.url or ' '.join(hook.command or ())}, at most {hook.timeout_s:g} s"
    yield "root", f"{report.root} on {filesystem_kind(report.root).name}"
    for fate, sender, to, count in _counted(report):
        yield "handoff/", f"{count:>4}  {way(sender, to) + '  ' if to else ''}{fate.value}"


def _agents_of(peer: PeerConfig, config: Config) -> str:
    others = ["all others"] if peer.name == config.default_peer else []
    return ", ".join([*peer.agents, *others])


def _counted(report: Report) -> Iterator[tuple[Fate, str | None, str | None, int]]:
    counts = report.survey.counts if report.survey else {}
    order = list(Fate)
    for (fate, sender, to), count in sorted(counts.items(), key=lambda item: (order.index(item[0][0]), str(item))):
        yield fate, sender, to, count


def _as_json(report: Report) -> dict[str, Any]:
    config = report.config
    return {
        "ok": not report.problems,
        "problems": report.problems,
        "warnings": report.warnings,
        "running": report.running,
        "config": str(config.path) if config else None,
        "host": config.host if config else None,
        "fingerprint": config.identity.fingerprint if config else None,
        "peers": {peer.name: list(peer.fingerprints) for peer in config.peers.values()} if config else {},
        "root": str(report.root),
        "filesystem": filesystem_kind(report.root).name,
        "handoff": {fate.name.lower(): report.survey.total(fate) for fate in Fate} if report.survey else None,
        "routes": [
            {"fate": fate.name.lower(), "from": sender, "to": to, "count": count}
            for fate, sender, to, count in _counted(report)
        ],
    }


def _fields(problem: Problem) -> dict[str, Any]:
    return asdict(problem) | {"file": str(problem.file)}
