"""Pairing: how two daemons come to trust each other by one string that a person carries.

It knows neither configuration nor daemon: an invite's text, the two sides' terms, proofs of the secret, addresses, and
a way to reach a host whose certificate is known by its fingerprint. The rule that must stay true: the secret itself
never leaves this host except inside the invite, and nothing is sent before the certificate has been compared.
"""
