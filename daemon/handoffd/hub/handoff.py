"""The calls about one handoff: start, poll, accept, complete, reject, get, artefact (docs/http-api.md).

It owns how a request becomes one of the engine's questions. The rule that must stay true: an agent is the one its
token names; no field of a request can make it another.
"""

import asyncio

from aiohttp.web import Response

from handoffd.custody.message import Accept, Answer, Arrival, Finish, Lookup, Poll
from handoffd.hub.answer import is_served, reason_of
from handoffd.hub.call import Call, Hub
from handoffd.hub.document import read_object, text_field
from handoffd.hub.refusal import Refused, bad_request
from handoffd.protocol.name import AgentName, BadName, Nonce, nonce
from handoffd.protocol.payload import REJECTION_FIELDS, REJECTION_WORDS_LIMIT, rejection_words
from handoffd.protocol.reason import Problem

POLL_WAIT_S = 30.0
"""A longer wait is cut to this: what lies on the way closes idle connections soon after."""
_WORDS = (*REJECTION_FIELDS, "reason", "detail")
"""Where a rejecting client may put its words when it sends no artefact."""


async def start(hub: Hub, call: Call) -> Response:
    """Admit one payload, the exact bytes of the body."""
    arrival = Arrival(
        principal=call.principal,
        data=call.body,
        claimed_tid=call.header("Idempotency-Key"),
        epoch=call.header("Handoffd-Epoch"),
        path=call.path(),
    )
    return tell(hub, await hub.ask(hub.engine.admit, arrival))


async def poll(hub: Hub, call: Call) -> Response:
    """Show the oldest payload that waits for the agent, waiting for one if asked to."""
    agent = _agent(call)
    if call.request.query.get("agent", agent) != agent:
        raise Refused(Problem.FORBIDDEN, "This token is another agent's; an agent polls for itself alone.")
    until_s = asyncio.get_running_loop().time() + min(_seconds(call, "wait"), POLL_WAIT_S)
    while True:
        seen = hub.notifier.version(call.principal.peer)
        hub.check_known(call)
        answer = await hub.ask(hub.engine.poll, Poll(agent))
        if answer.status != 204 or not await hub.notifier.wait(call.principal.peer, seen, call.caller, until_s):
            return tell(hub, answer)


async def accept(hub: Hub, call: Call) -> Response:
    """Claim a payload for the agent; the winner gets its bytes."""
    answer = await hub.ask(hub.engine.accept, Accept(_agent(call), call.ident, _nonce(call.body)))
    return tell(hub, answer)


async def complete(hub: Hub, call: Call) -> Response:
    """Complete what the agent claimed; the body, if any, is the final artefact."""
    artefact = call.body if call.body and read_object(call.body) else None
    return tell(
        hub, await hub.ask(hub.engine.finish, Finish(_agent(call), call.ident, reject=False, artefact=artefact))
    )


async def reject(hub: Hub, call: Call) -> Response:
    """Reject what the agent claimed; the body holds its words, or is the final artefact with the words in it."""
    fields = read_object(call.body) if call.body else {}
    if "hmac" in fields:
        finish = Finish(_agent(call), call.ident, True, artefact=call.body, words=rejection_words(call.body))
    else:
        words = next(filter(None, (text_field(fields, name) for name in _WORDS)), "")
        finish = Finish(_agent(call), call.ident, True, words=words[:REJECTION_WORDS_LIMIT])
    return tell(hub, await hub.ask(hub.engine.finish, finish))


async def get(hub: Hub, call: Call) -> Response:
    """Tell what is known of a handoff to one of its parties."""
    return tell(hub, await hub.ask(hub.engine.lookup, Lookup(call.principal, call.ident)))


async def artefact(hub: Hub, call: Call) -> Response:
    """Give the final artefact's bytes to one of its parties."""
    return tell(hub, await hub.ask(hub.engine.lookup, Lookup(call.principal, call.ident, artefact=True)))


def tell(hub: Hub, answer: Answer) -> Response:
    """Turn the engine's answer into a response, and count it if it is a refusal."""
    if not is_served(answer):
        hub.metrics.refused(reason_of(answer))
    return hub.stamp().answer(answer)


def _agent(call: Call) -> AgentName:
    if call.principal.agent is None:  # the door lets none through
        raise Refused(Problem.FORBIDDEN)
    return call.principal.agent


def _nonce(body: bytes) -> Nonce | None:
    text = text_field(read_object(body), "nonce") if body else None
    try:
        return None if text is None else nonce(text)
    except BadName as error:
        raise bad_request(f"nonce: {error}.") from None


def _seconds(call: Call, name: str) -> float:
    text = call.request.query.get(name, "0")
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not seconds >= 0.0:  # NaN too
        raise bad_request(f"{name}: not a number of seconds, 0 or more.")
    return seconds
