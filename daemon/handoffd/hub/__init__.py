"""Floor 2: the HTTP server. It knows custody through plain calls and decides nothing about a handoff itself."""
