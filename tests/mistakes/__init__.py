"""Seeded mistakes: every rule of docs/custody.md broken in the real code, one at a time, and what notices it."""
