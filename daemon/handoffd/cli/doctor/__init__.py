"""`handoffd doctor`: examinations of one host, each a function from what is known of it to findings.

A module holds one kind of them; `command` lists them all. The rule that must stay true: looking changes nothing but the
canary, which custody forgets by itself.
"""

from handoffd.cli.doctor.command import register

__all__ = ["register"]
