"""What may be written in the configuration file: every key, its type, range, default and meaning.

It owns the keys and their words; `docs/configuration.md` and `handoffd check --schema` are made from it. It opens no
file and compares no two keys. The rule that must stay true: a key that is not described here is refused.
"""

import ipaddress
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError

from handoffd.protocol import timing
from handoffd.protocol.name import agent_name, host_name

ANY_AGENT = "*"


def refusal(message: str, remedy: str) -> PydanticCustomError:
    """Return the error by which a validator names what is wrong and what to do."""
    return PydanticCustomError("refused", "{message}; {remedy}", {"message": message, "remedy": remedy})


def _agent_or_any(text: str) -> str:
    return text if text == ANY_AGENT else agent_name(text)


def is_loopback(host: str) -> bool:
    """Tell whether a host written in the configuration can only be this machine."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        remedy = "write 127.0.0.1 or ::1 for this machine alone, 0.0.0.0 or :: for every interface"
        raise refusal(f"{text!r} is not an IP address", remedy) from None


def _url(text: str) -> str:
    example = "write it as https://alice-vm:8788"
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port  # both may raise
    except ValueError as error:
        raise refusal(f"{text!r} is not a URL ({error})", example) from None
    if parts.scheme not in ("http", "https") or not host:
        raise refusal(f"{text!r} is not an http or https URL with a host", example)
    if parts.path.strip("/") or parts.query or parts.fragment or parts.username is not None:
        raise refusal(f"{text!r} has more than scheme, host and port", example)
    if parts.scheme == "http" and not is_loopback(host):
        raise refusal("plain http is for this machine alone", f"write https://{parts.netloc}")
    return f"{parts.scheme}://{parts.netloc}"


def _local_url(text: str) -> str:
    example = "write it as http://127.0.0.1:9000/wake"
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port  # both may raise
    except ValueError as error:
        raise refusal(f"{text!r} is not a URL ({error})", example) from None
    if parts.scheme != "http" or not host or not is_loopback(host):
        raise refusal(f"{text!r} is not an http URL on this machine", f"{example}; a hook calls nobody else")
    if parts.username is not None or parts.fragment:
        raise refusal(f"{text!r} has a user or a fragment", example)
    return text


AgentText = Annotated[str, AfterValidator(agent_name)]
HostText = Annotated[str, AfterValidator(host_name)]
FileText = Annotated[str, Field(min_length=1)]
Word = Literal["debug", "info", "warning", "error"]


class _Section(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")


class Listen(_Section):
    """One address the daemon answers on."""

    address: Annotated[str, AfterValidator(_address)] = Field(
        description="IP address to listen on. Anything but loopback needs `tls: true`.", examples=["127.0.0.1"]
    )
    port: int = Field(ge=1, le=65_535, description="TCP port.", examples=[8787])
    tls: bool = Field(default=False, description="Speak TLS 1.3, with this host's identity unless told otherwise.")
    certificate: FileText | None = Field(
        default=None, description="PEM file to show instead of the identity's certificate; needs `key`."
    )
    key: FileText | None = Field(default=None, description="PEM file of that certificate's private key, mode 0600.")


class Peer(_Section):
    """Another host's daemon."""

    url: Annotated[str, AfterValidator(_url)] | None = Field(
        default=None,
        description="Where its daemon answers. Without it that peer can't be called from here: it dials in and comes "
        "for what is its own (its configuration has our `url`).",
        examples=["https://alice-vm:8788"],
    )
    agents: tuple[Annotated[str, AfterValidator(_agent_or_any)], ...] = Field(
        strict=False,
        min_length=1,
        description='The agents that live on that host or behind it. `"*"` on one peer: every agent that nobody names.',
        examples=[["alice"]],
    )
    certificate: FileText | None = Field(
        default=None,
        description="PEM file with the certificate it shows, pinned: no other is accepted. Two of them during a "
        "rotation. Needed with https.",
        examples=["peers/alice-vm.pem"],
    )
    token: FileText | None = Field(
        default=None,
        description="File with the secret this host presents to it, mode 0600. Needed with `url`.",
        examples=["peers/alice-vm.out"],
    )
    accepts: FileText | None = Field(
        default=None,
        description="File with the SHA-256 of the secret it presents to this host. Needed unless this host listens on "
        "loopback alone, where no peer could call it.",
        examples=["peers/alice-vm.in.sha256"],
    )
    relay: bool = Field(
        default=False,
        description="May it send on behalf of agents that are not its own? `true` for a hub, of a star or in a chain.",
    )


class Hook(_Section):
    """What wakes an agent when something was published for it."""

    command: tuple[Annotated[str, Field(min_length=1)], ...] | None = Field(
        default=None,
        strict=False,
        min_length=1,
        description="Program with its absolute path, and arguments; no shell. It gets ids and the file's path as one "
        "JSON object on standard input and as HANDOFF_... in its environment, never the payload.",
        examples=[["/usr/local/bin/wake-alice", "--now"]],
    )
    url: Annotated[str, AfterValidator(_local_url)] | None = Field(
        default=None,
        description="http URL on this machine; the same JSON object is posted there, any 2xx answer will do. Give "
        "`command` or `url`.",
        examples=["http://127.0.0.1:9000/wake"],
    )
    timeout_s: float = Field(
        default=10.0,
        ge=0.1,
        le=300,
        description="Seconds after which the command is ended with all it started, or the call given up.",
    )


class Limits(_Section):
    """What the daemon refuses to carry or to answer."""

    max_payload_bytes: int = Field(
        default=timing.PAYLOAD_LIMIT_BYTES,
        ge=4_096,
        le=timing.PAYLOAD_LIMIT_BYTES,
        description="Largest payload, in bytes. Nothing is ever cut: more is refused.",
    )
    max_ttl_s: int = Field(
        default=int(timing.MAX_TTL_S),
        ge=1,
        le=int(timing.MAX_TTL_LIMIT_S),
        description="Longest lifetime of a handoff (`expires_at` less `initiated_at`), in seconds.",
    )
    agent_requests_per_s: float = Field(
        default=20, gt=0, le=10_000, description="Sustained HTTP requests a second of one agent's token."
    )
    agent_burst: int = Field(
        default=100, ge=1, le=100_000, description="Requests one agent's token may make at once before that rate holds."
    )


class Identity(_Section):
    """The key pair this host is known by."""

    certificate: FileText | None = Field(
        default=None, description="PEM file of the certificate. Default: `identity/<host>.pem`."
    )
    key: FileText | None = Field(
        default=None, description="PEM file of the private key, mode 0600. Default: `identity/<host>.key`."
    )


class Journal(_Section):
    """`relay/events.jsonl`, the record for people."""

    max_bytes: int = Field(
        default=32 << 20, ge=64 << 10, le=4 << 30, description="Size at which the journal starts a new file, in bytes."
    )
    keep: int = Field(default=4, ge=1, le=100, description="Older journal files kept beside the current one.")


class Log(_Section):
    """What the daemon writes to standard error."""

    format: Literal["text", "json"] = Field(default="text", description="`text` for people, `json` for collectors.")
    level: Word = Field(default="info", description="The least severe lines that are written.")


class Page(_Section):
    """The status page at /page/ (docs/status-page.md)."""

    serve: Literal["nowhere", "loopback", "everywhere"] = Field(
        default="loopback",
        description="From where the page may be looked at: from this machine, or over every listener (the others have "
        "TLS). In either case by a link of `handoffd page` or with a viewer's token.",
    )
    viewers: FileText | None = Field(
        default=None,
        description="File with the SHA-256 of tokens that open the page without a link, one a line.",
        examples=["tokens/viewer.sha256"],
    )
    show_payloads: bool = Field(
        default=False, description="Show payloads on the page, transcript and all, to everybody who may look at it."
    )


class Document(_Section):
    """The configuration file of one daemon."""

    host: HostText = Field(description="This host's name, as its peers call it.", examples=["bob-vm"])
    root: FileText = Field(
        description="The shared directory the agents of this host already use; it holds handoff/, claimed/, archive/ "
        "and rejected/.",
        examples=["/srv/voice-shared"],
    )
    agents: tuple[AgentText, ...] = Field(
        strict=False, description="Agents that live on this host.", examples=[["bob"]]
    )
    listen: tuple[Listen, ...] = Field(
        default=(Listen(address="127.0.0.1", port=8787),),
        strict=False,
        description="Addresses the daemon answers on. Agents of this host use loopback, peers one with TLS.",
    )
    agent_tokens: dict[AgentText, FileText] = Field(
        default_factory=dict,
        description="For agents that speak HTTP: agent to file with the SHA-256 of its token. One hash a line, several "
        "during a rotation, `#` starts a comment.",
        examples=[{"bob": "tokens/bob.sha256"}],
    )
    on_publish: dict[AgentText, Hook] = Field(
        default_factory=dict,
        description="Agent of this host to what wakes it, once for each handoff published for it.",
        examples=[{"bob": {"command": ["/usr/local/bin/wake-bob"]}}],
    )
    operator_token: FileText | None = Field(
        default=None,
        description="File with the SHA-256 of the token that /healthz, /readyz, /metrics and /openapi.json want "
        "anywhere but on loopback. Without it they are refused there.",
        examples=["tokens/operator.sha256"],
    )
    page: Page = Field(default=Page(), description="The status page at /page/.")
    peers: dict[HostText, Peer] = Field(
        default_factory=dict, description="Daemons of other hosts, by host name. Files in `peers.d/` add to them."
    )
    identity: Identity = Field(default=Identity(), description="The key pair this host is known by.")
    watch: Literal["auto", "inotify", "watchfiles", "scan"] = Field(
        default="auto",
        description="How files are noticed at once; the scan finds what a watcher missed. `auto` takes the best one "
        "that works.",
    )
    scan_interval_s: float = Field(
        default=1.0, ge=0.1, le=60, description="Seconds between two scans of the directories."
    )
    limits: Limits = Field(default=Limits(), description="What the daemon refuses to carry or to answer.")
    retain_days: int = Field(
        default=int(timing.RETAIN_S / timing.DAY_S),
        ge=1,
        le=3_650,
        description="Days an outcome nobody asked to forget is kept past `expires_at`. Must exceed `doubt_max_days` + "
        "1 h + `limits.max_ttl_s` + `forget_after_h`.",
    )
    forget_after_h: int = Field(
        default=int(timing.FORGET_AFTER_S / timing.HOUR_S),
        ge=1,
        le=720,
        description="Hours past `expires_at` before an outcome both sides know is deleted. Must exceed the largest "
        "clock error between hosts.",
    )
    doubt_max_days: int = Field(
        default=int(timing.DOUBT_MAX_S / timing.DAY_S),
        ge=1,
        le=365,
        description="Days past `expires_at` to keep asking a silent peer before the outcome is recorded as unknown.",
    )
    journal: Journal = Field(default=Journal(), description="`relay/events.jsonl`, the record for people.")
    log: Log = Field(default=Log(), description="What the daemon writes to standard error.")


class PeerFile(_Section):
    """A file of `peers.d/`: one or more peers, written by a program."""

    peers: dict[HostText, Peer] = Field(description="Daemons of other hosts, by host name.")
