"""What goes out in one request: a lone payload, or as many of those that wait as fit into a batch.

It knows sizes and order, neither the connection nor time. The rule that must stay true: a payload is in exactly one
load, and the order of the queue is kept.
"""

from collections import deque
from dataclasses import dataclass, field
from typing import Final

from handoffd.custody.message import Offer
from handoffd.link.wire import BATCH_HEAD, BATCH_TAIL, batch_item
from handoffd.protocol.name import HostName
from handoffd.protocol.timing import BATCH_ITEMS, BATCH_LIMIT_BYTES

FRAME_BYTES: Final = len(BATCH_HEAD) + len(BATCH_TAIL)
ITEM_FRAME_BYTES: Final = 2_048
"""More than what a batch adds to a payload: keys, T, PATH_HOSTS names of 63 characters each, and ours."""
BACKLOG_LIMIT_BYTES: Final = (BATCH_LIMIT_BYTES - FRAME_BYTES - BATCH_ITEMS * ITEM_FRAME_BYTES) // 2
"""Payload bytes to ask custody for: a JSON text at most doubles when it becomes a JSON string."""


@dataclass(slots=True)
class Load:
    """Offers of one request, and their encodings if it may be a batch; `late` are those that have expired."""

    offers: list[Offer] = field(default_factory=list)
    items: list[bytes] = field(default_factory=list)
    late: list[Offer] = field(default_factory=list)

    @property
    def is_batch(self) -> bool:
        """Whether several go in one request; one alone goes as its exact bytes."""
        return len(self.offers) > 1


def next_load(waiting: deque[Offer], host: HostName, now_s: float, most: int = BATCH_ITEMS) -> Load:
    """Take the next load, of at most so many, out of a queue; its `offers` are empty if nothing in time was left."""
    load = Load()
    room = BATCH_LIMIT_BYTES - FRAME_BYTES
    while waiting and len(load.offers) < most:
        if waiting[0].expires_at <= now_s:
            load.late.append(waiting.popleft())
            continue
        item = _item(waiting, load, host) if most > 1 else b""
        room -= len(item) + 1
        if load.offers and (room < 0 or not (item and load.items)):
            break
        load.offers.append(waiting.popleft())
        load.items += [item] if item else []
    return load


def _item(waiting: deque[Offer], load: Load, host: HostName) -> bytes:
    """Return the first one's encoding; nothing for one that goes alone: no text, or nobody else waits."""
    alone = not load.offers and len(waiting) == 1
    return b"" if alone else batch_item(waiting[0], (*waiting[0].path, host)) or b""
