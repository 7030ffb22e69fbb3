"""A shop's own package, as a user would write it: what docs/python.md shows."""

from __future__ import annotations

__version__ = "1.0.0"
