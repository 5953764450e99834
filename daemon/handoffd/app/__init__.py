"""The composition root: builds the daemon from its configuration, runs it, and stops it in order.

It owns the wiring and the process's life. It decides nothing about handoffs. The rule that must stay true: whatever
dies unexpectedly ends the process, and the next start recovers (crash-only).
"""

from handoffd.app.process import run

__all__ = ["run"]
