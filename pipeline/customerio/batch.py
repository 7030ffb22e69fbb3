"""A batch body: operations joined once, as the bytes they already are.

The size is known before an operation is added, in constant time, because a body is nothing but its items, a comma
between them and a fixed wrapper.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from pipeline.customerio.limits import BODY_MAX_BYTES
from pipeline.errors import OversizeError

WRAPPER_PREFIX: Final = b'{"batch":['
SEPARATOR: Final = b","
WRAPPER_SUFFIX: Final = b"]}"
WRAPPER_BYTES: Final = len(WRAPPER_PREFIX) + len(WRAPPER_SUFFIX)


def join(items: Sequence[bytes]) -> bytes:
    """The request body of `items`, each byte for byte, in order."""
    return b"".join((WRAPPER_PREFIX, SEPARATOR.join(items), WRAPPER_SUFFIX))


def body_bytes(items_bytes: int, count: int) -> int:
    """The size of the body of `count` items that have `items_bytes` together."""
    return WRAPPER_BYTES + items_bytes + max(count - 1, 0) * len(SEPARATOR)


class Batch:
    """Operations that travel together. At least one fits whatever the budget is, so a small budget cannot stall.

    Args:
        max_bytes: budget for the whole body. Never above what Customer.io takes.
    """

    __slots__ = ("_items_bytes", "items", "max_bytes")

    def __init__(self, max_bytes: int = BODY_MAX_BYTES) -> None:
        self.items: list[bytes] = []
        self.max_bytes = min(max_bytes, BODY_MAX_BYTES)
        self._items_bytes = 0

    def __len__(self) -> int:
        """Operations in the batch."""
        return len(self.items)

    @property
    def size_bytes(self) -> int:
        """The size of the body as it stands."""
        return body_bytes(self._items_bytes, len(self.items))

    def fits(self, item: bytes) -> bool:
        """Whether `item` can be added."""
        size = body_bytes(self._items_bytes + len(item), len(self.items) + 1)
        return size <= (self.max_bytes if self.items else BODY_MAX_BYTES)

    def add(self, item: bytes) -> None:
        """Add one operation.

        Raises:
            OversizeError: it does not fit; ask `fits` first.
        """
        if not self.fits(item):
            raise OversizeError(f"an operation of {len(item):,} bytes does not fit the batch", field=None)
        self.items.append(item)
        self._items_bytes += len(item)

    def body(self) -> bytes:
        """The request body."""
        return join(self.items)
