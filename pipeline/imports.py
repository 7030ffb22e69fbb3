"""Imports without the garbage collector: what they make lives as long as the process, so a search finds nothing.

A stage loads more than 1,100 modules. The collector would walk what is there again and again meanwhile: a tenth of a
start's processor time (CPython 3.11).
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """Import inside; afterwards the collector is as it was, whatever happened.

    For the entry of a process, whose work has not begun: garbage that this would have made is found later.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            # Both together make old objects of all young ones, without a look at them; else the next allocation would
            # walk them all. Nothing stays frozen: what is garbage is found by the next full collection.
            gc.freeze()
            gc.unfreeze()
            gc.enable()
