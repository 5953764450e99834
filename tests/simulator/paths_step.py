"""Which steps of the protocol model the calls of an engine and its answers are (docs/custody.md 15.1).

It owns those names and the T that are concerned, and knows neither hosts nor traces.
"""

from collections.abc import Iterable, Iterator, Sequence

from handoffd.custody.message import Accept, Answer, Arrival, Attempt, Batch, Finish, Settlement, StatesNews
from handoffd.custody.visit import Lease, Leased, Tidings, Wishes
from handoffd.protocol.record import Record


def step_of(name: str, items: Sequence[object]) -> tuple[str, list[object]]:
    """Return the step of the model that a call may be, and of which T."""
    if name in ("admit", "receive"):
        arrived = [item.claimed_tid for item in items if isinstance(item, Arrival)]
        return ("post" if name == "admit" else "receive"), list(arrived)
    if name in ("revoke", "verdict"):
        return name, [tid for item in items if isinstance(item, Batch) for tid in item.tids]
    if name == "lease":
        return name, [tid for item in items if isinstance(item, Lease) for tid in item.tids]
    if name == "settle":
        refused = (item for item in items if isinstance(item, Settlement) and item.attempt is Attempt.NOT_ADMITTED)
        return "refusal", [item.tid for item in refused]
    if name in ("accept", "finish"):
        return "agent", [item.ident for item in items if isinstance(item, Accept | Finish)]
    return "", []


def records(answers: Iterable[object]) -> Iterator[Record | None]:
    """Return all records among what an engine answered."""
    for answer in answers:
        if isinstance(answer, Answer):
            yield answer.record
        elif isinstance(answer, StatesNews | Tidings):
            yield from answer.records
        elif isinstance(answer, tuple):
            yield from (one for one in answer if isinstance(one, Record))


def said(answers: Iterable[object]) -> Iterator[tuple[str, Sequence[object]]]:
    """Return the steps of the model that a visitor hears of in what an engine answered, and of which T."""
    for answer in answers:
        if isinstance(answer, Leased):
            yield "bytes", [one.answer.tid for one in answer.parcels if one.answer.data is not None]
        elif isinstance(answer, Wishes):
            yield "wishes", answer.verdict
            yield "forgets", answer.forget
