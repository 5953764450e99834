"""The scribe: each custody edge goes to the journal, and is counted.

It owns nothing else. The rule that must stay true: it never raises, for it is called in the middle of custody.
"""

from handoffd.hub.metric import Metrics
from handoffd.journal import Journal
from handoffd.protocol.reason import Reason, State

_STATES = {state.value: state for state in State}
_REASONS = {reason.value: reason for reason in Reason}


class Scribe:
    """Writes edges down."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._metrics: Metrics | None = None

    def count_with(self, metrics: Metrics) -> None:
        """Count from now on; before the hub exists nobody can read a metric."""
        self._metrics = metrics

    def write(self, event: str, **fields: object) -> None:
        """Note one edge."""
        self._journal.write(event, **fields)
        state = _STATES.get(event)
        if self._metrics is not None and state is not None:
            self._metrics.edge(state, _REASONS.get(str(fields.get("reason"))))
