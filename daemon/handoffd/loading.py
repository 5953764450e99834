"""Modules are loaded without looking for garbage among what they make: nearly all of it stays.

It owns the collector while modules are loaded. The rule that must stay true: afterwards the collector works as ever.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def loading() -> Iterator[None]:
    """Leave the collector off within, and what has been made then out of its sight (`gc.freeze`)."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
