"""Mutation testing of the deciding floors: small changes to the code, and whether its tests notice them."""
