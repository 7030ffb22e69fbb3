"""Groups: operations that travel in one request, and what follows from it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

from pipeline.customerio.batch import join
from pipeline.sink.batching import Waiting
from pipeline.sink.handover import Assignment
from pipeline.sink.item import Item
from pipeline.sink.poison.patience import Patience


@dataclass(slots=True, eq=False)
class Group:
    """Operations that are sent as one request until they are decided.

    Attributes:
        items: in order.
        attempts: requests that they have been in, larger groups included.
        failures: attempts in a row that nothing came of; the backoff's exponent.
        slow: time-outs in a row.
        resent: whether they are sent once more because errors named no operation.
        refused_at: loop time at which they were last refused as a whole, larger groups included.
        refused_as: a digest of the refusal's words then.
        compared_since: loop time at which they were first refused as a whole, larger groups included.
        refused_since: loop time at which it was first refused when alone; what it waited for before is no evidence.
        lonely: how often in a row it was refused for its size with no request of others in between.
        aside: whether it is one operation that waits until the result of another shows whose fault it is.
        patience: how long it has failed while others succeeded.
        rejections: how often it was refused while others were not, by an answer that Customer.io may not have written.
    """

    items: list[Item]
    attempts: int = 0
    failures: int = 0
    slow: int = 0
    resent: bool = False
    refused_at: float | None = None
    refused_as: bytes = b""
    compared_since: float | None = None
    refused_since: float | None = None
    lonely: int = 0
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
        self.reduced([one for one in self.items if one is not item])
        return self.part([item], resent=self.resent)

    def reduced(self, items: list[Item]) -> Group:
        """Keep only these; what is known of it stays known."""
        self.items = items
        self._body = None
        if len(items) == 1:
            self.patience, self.rejections = self.patience.inherited(), self.rejections.inherited()
        return self

    def kept(self, wanted: Callable[[Item], bool]) -> tuple[Group | None, list[Item]]:
        """What is left of it with only the wanted operations, None if nothing, and the others."""
        others = [item for item in self.items if not wanted(item)]
        if not others:
            return self, []
        items = [item for item in self.items if wanted(item)]
        return self.part(items, slow=self.slow, resent=self.resent) if items else None, others

    def part(self, items: list[Item], *, slow: int = 0, resent: bool = False) -> Group:
        """A group of some of the items, which remembers the attempts."""
        return Group(
            items,
            attempts=self.attempts,
            slow=slow,
            resent=resent,
            refused_at=self.refused_at,
            refused_as=self.refused_as,
            compared_since=self.compared_since,
            patience=self.patience.inherited(),
            rejections=self.rejections.inherited(),
        )


def share_out(groups: Sequence[Group], free: int, stays: Collection[bytes]) -> tuple[tuple[Group, ...], list[Group]]:
    """`groups`, which were one, as what stays and at most `free` shares, of different people each.

    People of `stays` stay, as does who is first of the others; with nobody to share out, all do.
    """
    items = [item for group in groups for item in group.items]
    people = list(dict.fromkeys(item.key for item in items if item.key not in stays))
    size = -(-len(people) // (free + 1))
    if len(people) <= size:
        return tuple(groups), []
    place = {key: number // size for number, key in enumerate(people)}
    parts: list[list[Item]] = [[] for _ in range(-(-len(people) // size))]
    for item in items:
        parts[place.get(item.key, 0)].append(item)
    first = groups[0]
    shares = [first.part(part, slow=first.slow) for part in parts[1:]]
    return (first.reduced(parts[0]),), shares


@dataclass(frozen=True, slots=True)
class Step:
    """What follows from one request: groups to be sent next, in order, after a pause.

    `aside`: the group cannot be judged before another person's operation was accepted or refused. `share`: lanes that
    are free may take parts of them.
    """

    groups: tuple[Group, ...] = ()
    pause_s: float = 0.0
    aside: bool = False
    share: bool = False


@dataclass(slots=True, eq=False)
class Work:
    """One lane's batch on its way to its end. All of it is of one assignment.

    Attributes:
        lane: the lane's number.
        assignment: the stay in the group in which its operations were delivered.
        waiting: what it is drawn from; of the same assignment, and empty once that is over.
        stack: groups to be sent, the next one last.
        is_drawn: whether it has been drawn; before, it waits for its first request's turn.
        keys: whose operations it holds; nobody else may draw theirs.
        sending: the group in the request that is on its way, or whose dead letters are being written.
        writing: operations that no request took, whose dead letters are being written.
        resting: whether it waits out a backoff.
        is_over: another assignment has begun: nothing of this one is sent again.
    """

    lane: int
    assignment: Assignment
    waiting: Waiting
    stack: list[Group] = field(default_factory=list)
    is_drawn: bool = False
    keys: set[bytes] = field(default_factory=set)
    sending: Group | None = None
    writing: Sequence[Item] = ()
    resting: bool = False
    is_over: bool = False

    def hold(self, group: Group) -> None:
        """Hold this, and send it next."""
        self.is_drawn = True
        self.keys.update([item.key for item in group.items])
        self.stack.append(group)

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

    def settled(self) -> set[bytes]:
        """The keys of which it holds nothing any more."""
        held = {item.key for group in self.stack for item in group.items} if self.stack else set()
        settled = self.keys - held
        self.keys = held
        return settled

    def leave(self) -> list[Item]:
        """Another assignment has begun; returns what was not on its way."""
        self.is_over = True
        self.keys = {item.key for item in self.on_their_way}
        left = [item for group in self.stack for item in group.items]
        self.stack.clear()
        return left

    def keep(self, wanted: Callable[[Item], bool]) -> list[Item]:
        """Let only the wanted operations wait on; returns the others."""
        left: list[Item] = []
        for place in range(len(self.stack) - 1, -1, -1):
            kept, others = self.stack[place].kept(wanted)
            left += others
            self.stack[place : place + 1] = [] if kept is None else [kept]
        return left
