"""Joins operations to the body of a batch request, byte for byte.

The size is known before an operation is added: a body is its items, a comma between them and a fixed wrapper.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

WRAPPER_PREFIX: Final = b'{"batch":['
SEPARATOR: Final = b","
WRAPPER_SUFFIX: Final = b"]}"
WRAPPER_BYTES: Final = len(WRAPPER_PREFIX) + len(WRAPPER_SUFFIX)


def join(items: Sequence[bytes]) -> bytes:
    """The request body of `items`, each byte for byte, in order."""
    return b"".join((WRAPPER_PREFIX, SEPARATOR.join(items), WRAPPER_SUFFIX))
