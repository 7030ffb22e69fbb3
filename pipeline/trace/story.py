"""The story of a webhook: its fate, its operations and their fates, and the steps. `assembly` puts it together.

| fate | when |
|---|---|
| `accepted` | Customer.io took every operation: the sink has committed past them, and gave none up |
| `dead-letter` | the webhook, or one of its operations, was given up and not put back since |
| `waits` | the transform or the sink has not come to it yet |
| `dropped` | a rule drops webhooks like it |
| `nothing-new` | the transform passed it and sent nothing, since all that it shows was known |
| `unknown` | this user may not see how far the groups are, or retention has taken the operations that it caused |
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final, Literal

Fate = Literal["accepted", "dead-letter", "waits", "dropped", "nothing-new", "unknown"]

WORST: Final[tuple[Fate, ...]] = ("dead-letter", "waits", "unknown", "accepted", "nothing-new", "dropped")
"""Of several fates the first of these is the webhook's."""

BEYOND: Final = "what it caused would lie further back than "
"""The prefix of the reason of a fate that nobody can read any more; the topic follows."""

LETTER: Final = "dead letter "
"""The prefix of the place of a step that ended in a dead letter."""


@dataclass(frozen=True, slots=True)
class Step:
    """Something that happened; `at_ms` is None where no time is known."""

    at_ms: int | None
    stage: str
    text: str
    place: str | None = None


@dataclass(slots=True)
class Operation:
    """One operation of a webhook; `late_s` is how old its event was when it was written for the sink."""

    op_id: str
    kind: str
    name: str | None
    place: str
    written_ms: int | None
    fate: Fate
    late_s: float | None
    body: dict[str, Any]
    why: str | None = None


@dataclass(slots=True)
class Story:
    """One webhook from its reception to its end.

    `reason` is why, `advice` what to do or to check, `private` a person's words in what was read, the longest first.
    """

    webhook_id: str
    type: str | None
    mode: str | None
    customer: str | None
    fate: Fate
    reason: str
    steps: list[Step]
    operations: list[Operation]
    advice: list[str] = field(default_factory=list)
    private: tuple[str, ...] = ()
