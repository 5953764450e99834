"""Measures handoffd against the physical floor of the machine it runs on: `python -m benchmarks`, or `make bench`.

It knows the directory contract, the configuration file and the HTTP interface; of handoffd's code it uses what makes a
host's identity, and nothing else. The rule that must stay true: a ratio is only ever made of two numbers of one run.
"""
