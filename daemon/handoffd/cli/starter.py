"""The text of the files that `init` writes: a commented configuration and a peer's stanza.

It knows names and words, not files. The rule that must stay true: what is written here loads without a change.
"""

import json
import re
from collections.abc import Sequence

DEFAULT_LISTEN_PORT, DEFAULT_LOCAL_PORT = 8788, 8787

_CONFIGURATION = """\
# handoffd on {host}. Every key: docs/configuration.md; the schema: handoffd check --schema.
# Names of files are relative to the directory of this file. After a change: handoffd check, then SIGHUP.

# This host's name, as its peers call it.
host: {host_text}

# The shared directory the agents of this host already use (handoff/, claimed/, archive/, rejected/).
root: {root}

# Agents that live on this host.
agents: [{agents}]

# Where the daemon answers: agents and operators of this host on loopback, peers with TLS.
listen:
  - {{address: 127.0.0.1, port: {local_port}}}
  - {{address: 0.0.0.0, port: {listen_port}, tls: true}}

# For agents that speak HTTP themselves; each presents the secret in tokens/<agent>.token.
# Agents that use the directory alone need none.
agent_tokens: {agent_tokens}

# Peers: one file each in peers.d/. `handoffd invite NAME` here and `handoffd join` there make both sides of one.

# Everything below has these defaults.
#
# watch: auto                    # auto | inotify | watchfiles | scan
# scan_interval_s: 1             # the scan finds what a watcher missed
# limits:
#   max_payload_bytes: 1048576   # at most 1 MiB
#   max_ttl_s: 86400             # longest lifetime of a handoff, at most 7 days
#   agent_requests_per_s: 20     # of one agent's token
#   agent_burst: 100
# journal: {{max_bytes: 33554432, keep: 4}}
# log: {{format: text, level: info}}
# retain_days: 30
# forget_after_h: 24
# doubt_max_days: 7
# operator_token: tokens/operator.sha256   # for /metrics and the like anywhere but on loopback
# identity: {{certificate: identity/{host}.pem, key: identity/{host}.key}}
"""

_PEER = """\
# Written by `handoffd init`. Names of files are relative to the directory of handoffd.yaml.
peers:
  {peer_text}:
    url: {url}
    agents: [{agents}]
    certificate: peers/{peer}.pem      # copied from {peer}: the only one that is accepted
    token: peers/{peer}.out            # the secret this host presents
    accepts: peers/{peer}.in.sha256    # copied from {peer}: hash of the secret it presents
"""

_PAIRED = """\
# Written by `handoffd {command}`, {invite}. `handoffd unpair {peer}` takes it away again.
# Names of files are relative to the directory of handoffd.yaml.
peers:
  {peer_text}:
{where}    agents: [{agents}]{relay}
    certificate: peers/{peer}.pem      # the only one that is accepted; two during a rotation
    token: peers/{peer}.out            # the secret this host presents
    accepts: peers/{peer}.in.sha256    # hash of the secret it presents
"""

_STEPS = """\
To pair with {peer}:
  1. On {peer}, if that is not done yet (with the directory its agents use):
       handoffd init --host {peer} --root DIR {theirs}{port} \\
         --peer {host} --peer-url https://{host}:{listen_port} {ours}
  2. Copy two files from here into the directory peers/ beside {peer}'s handoffd.yaml, unaltered. Neither is a secret:
       {outgoing}/{host}.pem
       {outgoing}/{host}.in.sha256
  3. Copy {peer}'s two files (its for-{host}/) here:
       {incoming}/{peer}.pem
       {incoming}/{peer}.in.sha256
  4. On both: handoffd check. It prints the fingerprints of both hosts; they must be equal on both sides.
"""


def configuration(*, host: str, root: str, agents: Sequence[str], listen_port: int, local_port: int) -> str:
    """Return the text of handoffd.yaml."""
    return _CONFIGURATION.format(
        host=host,
        host_text=_quoted(host),
        root=_quoted(root),
        agents=", ".join(map(_quoted, agents)),
        agent_tokens="{"
        + ", ".join(f"{_quoted(agent)}: tokens/{agent}.sha256" for agent in dict.fromkeys(agents))
        + "}",
        listen_port=listen_port,
        local_port=local_port,
    )


def peer_stanza(*, peer: str, url: str, agents: Sequence[str]) -> str:
    """Return the text of peers.d/<peer>.yaml."""
    return _PEER.format(peer=peer, peer_text=_quoted(peer), url=_quoted(url), agents=", ".join(map(_quoted, agents)))


def paired_stanza(*, command: str, invite: str, peer: str, url: str | None, agents: Sequence[str], is_hub: bool) -> str:
    """Return the text of peers.d/<peer>.yaml as a pairing by invite writes it; `url` None: the peer dials in.

    `is_hub`: it is home of every agent that nobody names, and may send on behalf of them.
    """
    where = "" if url is None else f"    url: {_quoted(url)}\n"
    names = ", ".join(map(_quoted, [*agents, *(["*"] if is_hub else [])]))
    relay = "\n    relay: true" if is_hub else ""
    return _PAIRED.format(
        command=command, invite=invite, peer=peer, peer_text=_quoted(peer), where=where, agents=names, relay=relay
    )


def pairing_steps(
    *,
    host: str,
    listen_port: int,
    local_agents: Sequence[str],
    peer: str,
    peer_port: int,
    peer_agents: Sequence[str],
    directory: str,
) -> str:
    """Return what is left to do by hand: the exchange of two files each way."""
    return _STEPS.format(
        host=host,
        peer=peer,
        listen_port=listen_port,
        port="" if peer_port == DEFAULT_LISTEN_PORT else f" --listen-port {peer_port}",
        theirs=" ".join(f"--agent {agent}" for agent in peer_agents),
        ours=" ".join(f"--peer-agent {agent}" for agent in local_agents),
        outgoing=f"{directory}/for-{peer}",
        incoming=f"{directory}/peers",
    )


_PLAIN = re.compile(r"[A-Za-z/](?:[A-Za-z0-9/._:-]*[A-Za-z0-9/._-])?\Z")
_WORDS_OF_YAML = {"y", "n", "yes", "no", "on", "off", "true", "false", "null"}


def _quoted(text: str) -> str:
    plain = _PLAIN.match(text) and text.lower() not in _WORDS_OF_YAML
    return text if plain else json.dumps(text)  # YAML reads every JSON string
