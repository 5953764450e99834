"""The demonstration: two hosts on one machine, and what handoffd promises, shown and checked.

It owns a play in five scenes with real daemons, real agents and real kills. It imports nothing else of handoffd: the
daemons are commands, the agents scripts. The rule that must stay true: every word of the check list at its end comes
from files, from agents or from exit codes, never from what the play meant to do.
"""

from handoffd.demo.play import play

__all__ = ["play"]
