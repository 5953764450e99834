"""The agent side: hand work over and take it, in a shared root, with nothing but the directory contract.

    mailbox = Mailbox(Path("/srv/shared"), agent_name("alice"), {"bob": read_secret(Path("bob-alice.secret"))})
    claim = mailbox.claim_next()

It knows no daemon; docs/agents.md tells the rest.
"""

from handoffd.agent.directory import FlushFailed
from handoffd.agent.draft import DEFAULT_TTL_S, Draft
from handoffd.agent.hold import Gone, Hold
from handoffd.agent.mailbox import Claim, Ended, Mailbox, Written
from handoffd.agent.outcome import End, Ends
from handoffd.agent.secret import ANYONE, BadSecret, read_secret, read_secrets
from handoffd.protocol.admission import Inadmissible
from handoffd.protocol.name import AgentName, BadName, agent_name

__all__ = [
    "ANYONE",
    "DEFAULT_TTL_S",
    "AgentName",
    "BadName",
    "BadSecret",
    "Claim",
    "Draft",
    "End",
    "Ended",
    "Ends",
    "FlushFailed",
    "Gone",
    "Hold",
    "Inadmissible",
    "Mailbox",
    "Written",
    "agent_name",
    "read_secret",
    "read_secrets",
]
