"""The hub: the HTTP side that agents, other daemons and operators speak to (docs/http-api.md).

It owns requests, tokens, limits and the words of answers, and knows custody only through the ports of `port.py`.
The rule that must stay true: nothing is decided here about a handoff; what the engine answered is what is told.
"""
