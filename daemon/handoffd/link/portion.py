"""How many handoffs go in one request over this link.

It knows neither a connection nor what is sent. The rule that must stay true: a request that was too much to be
answered in time is not made again as it was; else a slow link would carry the same bytes for ever and deliver none.
"""

from typing import Final

from handoffd.protocol.timing import BATCH_ITEMS, REQUEST_TOTAL_S

SOON_S: Final = REQUEST_TOTAL_S / 4
"""Twice as many, answered half as fast, still come in time."""


class Portion:
    """`most` handoffs in the next request."""

    def __init__(self) -> None:
        self.most = BATCH_ITEMS

    def answered(self, items: int, within_s: float) -> None:
        """Note an answer to a request with so many: twice as many next time, if these were all it might hold."""
        if items >= self.most and within_s <= SOON_S:
            self.most = min(2 * self.most, BATCH_ITEMS)

    def unanswered(self, items: int) -> None:
        """Note that none came: next time half of what it held, which may be fewer than it might have held.

        Of a request with one nothing is left to be halved.
        """
        if items > 1:
            self.most = min(self.most, items) // 2
