"""Why a link is not up, in plain words with what to do next, read from what /hello brought.

It knows answers and failures as values and acts on none. The rule that must stay true: only a greeting without
trouble opens a link, and every trouble names its remedy.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from handoffd.link.answer import UNPAIRED_KEY, Body, said
from handoffd.link.wire import BadAnswer, Greeting, read_greeting
from handoffd.protocol.name import AgentName

RETRY_AFTER_LIMIT_S: Final = 60.0
"""A peer can make us wait no longer: a handoff lives 60 s by default."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """One reason. `refused`: it will not pass by itself. `wait_s`: what the peer asked us to wait."""

    word: str
    detail: str
    remedy: str
    refused: bool = False
    wait_s: float = 0.0
    agents: tuple[AgentName, ...] = ()

    @property
    def words(self) -> str:
        """Return it in one line for a person."""
        return f"{self.word}: {self.detail}; {self.remedy}"

    def fields(self) -> dict[str, str]:
        """Return it for the status."""
        return {"word": self.word, "detail": self.detail, "remedy": self.remedy}


def unsent(kind: str, detail: str, url: str) -> Trouble:
    """Return the trouble of a connection that could not be made; `kind` as in client.NotSent."""
    if kind == "tls_failed":
        return Trouble(kind, f"{url}: {detail}", "check that this port speaks TLS 1.3 (`tls: true` at the peer)", True)
    return Trouble(
        "unreachable", f"{url}: {detail}", "check that the peer's daemon runs, and address, port and firewall"
    )


def silent(detail: str, url: str) -> Trouble:
    """Return the trouble of a connected peer that gives no answer."""
    return Trouble("no_answer", f"{url}: {detail}", "check the peer's daemon and the network between")


def wrong_certificate(expected: Collection[str], presented: str | None, detail: str) -> Trouble:
    """Return the trouble of a certificate that is not the pinned one."""
    shown = f"presented {presented}" if presented else f"not accepted ({detail})"
    pinned = f"expected {' or '.join(expected)}, " if expected else ""
    remedy = (
        "compare both with the operator of the peer (`handoffd check` there); if it is really theirs, put it into our "
        "`certificate` file of the peer, or pair anew: `handoffd invite --replace` there and `handoffd join` here"
    )
    return Trouble("wrong_certificate", f"{pinned}{shown}", remedy, True)


def read_hello(
    status: int, body: Body | None, retry_after: str | None, local: frozenset[AgentName], version: str
) -> Greeting | Trouble:
    """Return the greeting in an answer to /hello, or why it opens nothing."""
    if status != _GREETED:
        return _refusal(status, body, retry_after)
    try:
        greeting = read_greeting(body)
    except BadAnswer as error:
        return _stranger(str(error))
    return _mismatch(greeting, version) or _conflict(greeting, local) or greeting


def not_ready(peer: str) -> Trouble:
    """Return the trouble of an epoch that our own custody does not take yet."""
    remedy = "see the journal; it is asked again by itself"
    return Trouble("not_ready", f"the epoch of {peer} could not be noted here", remedy)


def read_retry_after(text: str | None) -> float:
    """Return the seconds of a Retry-After header, 0 without one; a date, which no handoffd writes, counts as none."""
    if text is None or not text.isascii() or not text.isdigit():
        return 0.0
    return min(float(text[:9]), RETRY_AFTER_LIMIT_S)


_GREETED = 200
_WRONG_TOKEN, _FORBIDDEN = 401, 403
_BUSY = frozenset({429, 503})


def _refusal(status: int, body: Body | None, retry_after: str | None) -> Trouble:
    words = said(body) or f"status {status}"
    if status == _WRONG_TOKEN and body is not None and body.get(UNPAIRED_KEY) is True:
        remedy = (
            "end it on this side too: `handoffd unpair PEER`; or pair anew: `handoffd invite` there and "
            "`handoffd join` here"
        )
        return Trouble("unpaired", f"the peer has ended the pairing with this host ({words})", remedy, True)
    if status == _WRONG_TOKEN:
        remedy = (
            "exchange the tokens again: `handoffd invite --replace` there and `handoffd join` here; or give the peer "
            "the hash of our token (its `accepts`), or us the right token (our `token`); if it has parted from us: "
            "`handoffd unpair PEER` here"
        )
        return Trouble("wrong_token", f"the peer does not know our token ({words})", remedy, True)
    if status == _FORBIDDEN:
        return Trouble("forbidden", f"the peer refuses us ({words})", "see the peer's `peers` and its journal", True)
    if status in _BUSY:
        wait_s = read_retry_after(retry_after)
        return Trouble("busy", f"the peer is busy ({words})", "it is asked again by itself", wait_s=wait_s)
    return _stranger(f"/hello was answered with {words}")


def _stranger(detail: str) -> Trouble:
    return Trouble("not_handoffd", detail, "check `url`: something else than a handoffd answers there", True)


def _mismatch(greeting: Greeting, version: str) -> Trouble | None:
    if greeting.version.partition(".")[0] == version.partition(".")[0]:
        return None
    detail = f"the peer runs handoffd {greeting.version}, this host {version}"
    return Trouble("wrong_version", detail, "run the same major version on both hosts", True)


def _conflict(greeting: Greeting, local: frozenset[AgentName]) -> Trouble | None:
    both = tuple(sorted(greeting.homes & local))
    if not both:
        return None
    detail = f"both hosts call {', '.join(both)} local"
    return Trouble("conflict", detail, "remove them from `agents` on one host", True, agents=both)
