"""A deterministic simulator of several hosts: the real custody engines over simulated disks, wires and clocks.

One seed makes one history, bit for bit. `python -m tests.simulator --help` runs many of them.
"""
