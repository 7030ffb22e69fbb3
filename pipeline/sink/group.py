"""Groups: operations that travel in one request, and what follows from it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from pipeline.customerio.batch import join
from pipeline.sink.batching import Draft, Waiting
from pipeline.sink.handover import Assignment
from pipeline.sink.item import Item
from pipeline.sink.patience import Patience


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
        refused_at: loop time at which they were last refused as a whole, larger groups included.
        refused_as: the refusal's words then.
        aside: whether it is one operation that waits until the refusal of another tells whose fault it is.
        patience: how long it has failed while others succeeded.
        rejections: how often it was refused while others were not, by an answer that Customer.io may not have written.
    """

    items: list[Item]
    attempts: int = 0
    failures: int = 0
    slow: int = 0
    resent: bool = False
    first_at: float | None = None
    refused_at: float | None = None
    refused_as: str = ""
    aside: bool = False
    patience: Patience = field(default_factory=Patience)
    rejections: Patience = field(default_factory=Patience)
    _body: bytes | None = None

    @property
    def body(self) -> bytes:
        """The request body, joined once."""
        if self._body is None:
            self._body = join([item.body for item in self.items])
        return self._body

    def take_out(self, item: Item) -> Group:
        """Take one of several items out, as a group of its own; what is known of the rest stays known."""
        self.items = [one for one in self.items if one is not item]
        self._body = None
        if len(self.items) == 1:
            self.patience, self.rejections = self.patience.inherited(), self.rejections.inherited()
        return self.part([item], resent=self.resent)

    def part(self, items: list[Item], *, slow: int = 0, resent: bool = False) -> Group:
        """A group of some of the items, which remembers the attempts."""
        return Group(
            items,
            attempts=self.attempts,
            slow=slow,
            resent=resent,
            refused_at=self.refused_at,
            refused_as=self.refused_as,
            patience=self.patience.inherited(),
            rejections=self.rejections.inherited(),
        )


@dataclass(frozen=True, slots=True)
class Step:
    """What follows from one request: groups to be sent next, in order, after a pause.

    `aside`: the group cannot be judged before another person's operation was accepted or refused.
    """

    groups: tuple[Group, ...] = ()
    pause_s: float = 0.0
    aside: bool = False


@dataclass(slots=True, eq=False)
class Work:
    """One lane's batch on its way to its end. All of it is of one assignment.

    Attributes:
        lane: the lane's number.
        assignment: the stay in the group in which its operations were delivered.
        waiting: what waited in the lane when it was drawn; of the same assignment, and empty once that is over.
        stack: groups to be sent, the next one last.
        draft: what was drawn, until the first request leaves.
        sending: the group in the request that is on its way, or whose dead letters are being written.
        writing: operations that no request took, whose dead letters are being written.
        resting: whether it waits out a backoff.
        is_over: another assignment has begun: nothing of this one is sent again.
    """

    lane: int
    assignment: Assignment
    waiting: Waiting
    stack: list[Group]
    draft: Draft | None = None
    sending: Group | None = None
    writing: Sequence[Item] = ()
    resting: bool = False
    is_over: bool = False

    def begin(self) -> Group:
        """Take the next group for a request."""
        self.sending = self.stack.pop()
        return self.sending

    @property
    def groups(self) -> list[Group]:
        """All that is not done, the one that is on its way included."""
        return [*self.stack, *([self.sending] if self.sending else [])]

    @property
    def on_their_way(self) -> list[Item]:
        """Operations that may be done in a moment, whatever begins meanwhile."""
        return [*(self.sending.items if self.sending else ()), *self.writing]

    def end(self, groups: tuple[Group, ...]) -> list[Item]:
        """The request is over, `groups` come next; returns their operations instead when the assignment is over."""
        self.sending = None
        if self.is_over:
            return [item for group in groups for item in group.items]
        self.stack.extend(reversed(groups))
        return []

    def leave(self) -> list[Item]:
        """Another assignment has begun; returns what was not on its way."""
        self.is_over = True
        left = [item for group in self.stack for item in group.items]
        self.stack.clear()
        return left

    def keep(self, wanted: Callable[[Item], bool]) -> list[Item]:
        """Let only the wanted operations wait on; returns the others."""
        left: list[Item] = []
        for place in range(len(self.stack) - 1, -1, -1):
            group = self.stack[place]
            kept = [item for item in group.items if wanted(item)]
            if len(kept) < len(group.items):
                left += [item for item in group.items if not wanted(item)]
                self.stack[place : place + 1] = [group.part(kept, slow=group.slow, resent=group.resent)] if kept else []
        return left
