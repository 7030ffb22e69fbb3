"""Faust without aiohttp, which it imports for the name of one type (`faust.types.web.HttpClientT`).

No Faust app here serves or asks anything over HTTP by it, and a stage starts 0.15 s of processor time sooner. For the
entry of a process alone: what else a process may have imported keeps its own.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType

_NAMES = ("aiohttp", "aiohttp.client")


def load() -> None:
    """Import Faust's types so; afterwards aiohttp can be imported as ever. Nothing where either is there already."""
    if "faust.types.web" in sys.modules or any(name in sys.modules for name in _NAMES):
        return
    sys.modules.update({name: _stand_in(name) for name in _NAMES})
    try:
        importlib.import_module("faust.types.web")
    finally:
        for name in _NAMES:
            del sys.modules[name]


def _stand_in(name: str) -> ModuleType:
    module = ModuleType(name)
    module.ClientSession = type("ClientSession", (), {})  # type: ignore[attr-defined] # all that is asked for
    return module
