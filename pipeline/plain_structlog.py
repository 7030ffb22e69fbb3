"""structlog without Rich, which it would import for coloured tracebacks at every start of every command.

Ours are plain text (a redaction step reads them), so nothing is lost, and a command starts 0.06 s of processor time
sooner. structlog takes Rich for missing where its import fails, as it documents; afterwards Rich can be imported.
"""

from __future__ import annotations

import sys

_unwanted = "rich" not in sys.modules
if _unwanted:
    sys.modules["rich"] = None  # type: ignore[assignment] # how Python marks an import that must fail
try:
    import structlog
finally:
    if _unwanted:
        del sys.modules["rich"]

__all__ = ["structlog"]
