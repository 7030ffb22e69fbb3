"""Statements: what a sink publishes to the others of its group about its budget, as a short text.

The text lies beside an offset that the sink committed (`pipeline.kafka.worker.notes`). Who else commits for the group
may have left anything there; what is not a statement of this form is nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

FORM: Final = "dodo-cio-budget"
VERSION: Final = 1

MAX_GRANTS: Final = 32
"""In one statement: 1,400 bytes. Brokers refuse more than 4,096 beside an offset (`offset.metadata.max.bytes`)."""

MAX_BYTES: Final = 4_096


@dataclass(frozen=True, slots=True)
class Grant:
    """A borrower may use `per_second` of the lender's requests, for as long as its ticket lasts."""

    per_second: float
    ticket: int


@dataclass(frozen=True, slots=True)
class Statement:
    """What one sink publishes.

    Attributes:
        generation: of the consumer group; a statement of another one means nothing.
        member: a name that this sink gave itself for this generation.
        ticket: the number of its wish for more than its share; None: it has enough.
        grants: what it lends, by the borrower's name.
    """

    generation: int
    member: str
    ticket: int | None = None
    grants: Mapping[str, Grant] = field(default_factory=dict)

    def render(self) -> str:
        """The text."""
        fields: dict[str, Any] = {FORM: VERSION, "generation": self.generation, "member": self.member}
        if self.ticket is not None:
            fields["ticket"] = self.ticket
        if self.grants:
            fields["grants"] = {who: [grant.per_second, grant.ticket] for who, grant in self.grants.items()}
        return orjson.dumps(fields).decode()


def parse(text: str) -> Statement | None:
    """The statement that `text` is, None for anything else."""
    if len(text) > MAX_BYTES or FORM not in text:
        return None
    try:
        match orjson.loads(text):
            case {"dodo-cio-budget": 1, "generation": generation, "member": str(member), **rest}:
                ticket = rest.get("ticket")
                return Statement(
                    _number(generation),
                    member,
                    None if ticket is None else _number(ticket),
                    _grants(rest.get("grants", {})),
                )
    except (ValueError, TypeError):  # orjson's own error is a ValueError
        pass
    return None


def _grants(value: Any) -> dict[str, Grant]:
    return {who: Grant(_rate(per_second), _number(ticket)) for who, (per_second, ticket) in dict(value).items()}


def _rate(value: Any) -> float:
    rate = float(value)
    if isinstance(value, str | bool) or not math.isfinite(rate) or rate < 0:
        raise ValueError("not a rate")
    return rate


def _number(value: Any) -> int:
    if type(value) is not int:
        raise ValueError("not a number")
    return value
