"""httpx without its own command line, which it would import with click, Rich and Pygments wherever they are installed.

Nobody here uses it, and a stage starts 0.06 s of processor time sooner. httpx takes the parts of its extra `cli` for
missing where their import fails; afterwards they can be imported.
"""

from __future__ import annotations

import sys

_UNWANTED = "httpx._main"

_unwanted = _UNWANTED not in sys.modules
if _unwanted:
    sys.modules[_UNWANTED] = None  # type: ignore[assignment] # how Python marks an import that must fail
try:
    import httpx
finally:
    if _unwanted:
        del sys.modules[_UNWANTED]

__all__ = ["httpx"]
