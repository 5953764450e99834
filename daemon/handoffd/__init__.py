"""handoffd: carries signed handoffs between the shared directories of agents on different hosts."""

__version__ = "0.1.0"
