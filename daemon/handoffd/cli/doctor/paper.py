"""The configuration and the certificates it names: can they be used, and for how long?

It reads files that the configuration names and judges dates; the rules of a configuration are config's own. The rule
that must stay true: a configuration that `handoffd run` refuses is told in the same words.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

from handoffd.cli.check import oddities
from handoffd.cli.doctor.finding import Finding, failure, fine, unchecked, warning
from handoffd.cli.doctor.patient import Patient
from handoffd.config import Config, Problem
from handoffd.identity import BadCertificate, Certificate, read_certificates
from handoffd.protocol.timing import DAY_S

SOON_DAYS = 30
"""Before its end a certificate is warned of: a rotation needs the operators of two hosts."""


def configuration(patient: Patient) -> Iterator[Finding]:
    """Tell whether the configuration can be used."""
    yield from problems(patient.problems)
    config = patient.config
    if config is None:
        yield unchecked("peers, ports, certificates", "not without a configuration that can be used")
        return
    for text in oddities(config):
        message, _, remedy = text.partition("; ")
        yield warning("configuration", message, remedy)
    peers = f"{len(config.peers)} peer{'s' * (len(config.peers) != 1)}"
    yield fine("configuration", f"{config.path}: agents {', '.join(config.agents) or 'none'}, {peers}")


def problems(found: Iterable[Problem]) -> list[Finding]:
    """Return what keeps a configuration from being used."""
    return [failure(_word(one), f"{_place(one)}: {one.message}", one.remedy) for one in found]


def _place(problem: Problem) -> str:
    place = f"{problem.file}:{problem.line}" if problem.line else str(problem.file)
    return f"{place}: {problem.key}" if problem.key else place


def _word(problem: Problem) -> str:
    named = problem.key.partition(".")[0] == "identity" or problem.key.endswith("certificate")
    return "bad_certificate" if named else "configuration"


def certificates(patient: Patient) -> Iterator[Finding]:
    """Tell which certificates end soon; one that has ended is a problem of the configuration."""
    if patient.config is None:
        return
    ends = []
    for name, file, found in _certificates(patient.config):
        for one in found:
            days = (one.not_after_s - patient.now_s) / DAY_S
            ends.append(days)
            if days < SOON_DAYS:
                yield _ending(name, file, days, others=len(found) - 1)
    if ends:
        number = f"{len(ends)} certificate{'s' * (len(ends) != 1)}"
        yield fine("certificates", f"{number}, the first ends in {max(0, int(min(ends)))} days")


def _ending(name: str, file: str, days: float, *, others: int) -> Finding:
    when = f"ends in {int(days)} days" if days >= 0 else "has ended"
    if others:
        return warning(
            "certificate_ends",
            f"one of the certificates of {name} ({file}) {when}",
            "remove it if the others are in use",
        )
    remedy = f"before that day, on {name}: handoffd cert rotate"
    return warning("certificate_ends", f"the certificate of {name} ({file}) {when}", remedy)


def _certificates(config: Config) -> Iterator[tuple[str, str, tuple[Certificate, ...]]]:
    pairs = dict.fromkeys((config.identity, *(one.key_pair for one in config.listen if one.key_pair)))
    for pair in pairs:
        yield config.host, str(pair.certificate), _read(pair.certificate)
    for peer in config.peers.values():
        if peer.pinned_pem is not None:
            yield peer.name, "pinned here", read_certificates(peer.pinned_pem)


def _read(file: Path) -> tuple[Certificate, ...]:
    try:
        return read_certificates(file.read_text(encoding="ascii"))
    except (OSError, BadCertificate):
        return ()  # it was readable a moment ago, when the configuration was loaded
