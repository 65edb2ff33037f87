"""Python's cyclic collector waits while a request is solved.

A search makes some hundred thousand small objects that live until its end and form no cycles. The collector walks
through them again and again and finds nothing: a seventh of the time of the largest requests.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """No cyclic collection inside; whoever found it switched on switches it on again."""
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
