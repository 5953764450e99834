"""Floor 0, pure: what a handoff is and what may be said about it. No I/O, clock, randomness or asyncio in here."""
