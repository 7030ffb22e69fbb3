"""Groups: operations that travel in one request, and what follows from it."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.customerio.batch import join
from pipeline.sink.item import Item


@dataclass(slots=True, eq=False)
class Group:
    """Operations that are sent as one request until they are decided.

    Attributes:
        items: in order.
        attempts: requests that they have been in, larger groups included.
        failures: attempts in a row that nothing came of; the backoff's exponent.
        slow: time-outs in a row.
        resent: whether they are sent once more because errors named no operation.
        first_at: loop time of the first request as this group.
    """

    items: list[Item]
    attempts: int = 0
    failures: int = 0
    slow: int = 0
    resent: bool = False
    first_at: float | None = None
    _body: bytes | None = None

    @property
    def body(self) -> bytes:
        """The request body, joined once."""
        if self._body is None:
            self._body = join([item.body for item in self.items])
        return self._body

    def part(self, items: list[Item], *, slow: int = 0, resent: bool = False) -> Group:
        """A group of some of the items, which remembers the attempts."""
        return Group(items, attempts=self.attempts, slow=slow, resent=resent)


@dataclass(frozen=True, slots=True)
class Step:
    """What follows from one request: groups to be sent next, in order, after a pause."""

    groups: tuple[Group, ...] = ()
    pause_s: float = 0.0
