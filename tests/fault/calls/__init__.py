"""Faults at the system calls of a real process: killed at the N-th, or the N-th fails. See ../README.md."""
