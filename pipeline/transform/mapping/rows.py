"""The mapping's table: one row for each outcome of a type, read from the top, the first that holds decides.

The rows are the rules and their documentation at once: `reference_rows` prints what `map_webhook` runs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from pipeline.transform.fields import text
from pipeline.transform.mapping.case import Attributes, Case
from pipeline.transform.timestamps import to_ms, utc_day
from pipeline.transform.verdicts import DropCode


@dataclass(frozen=True, slots=True)
class Condition:
    """When a row holds: in words for the reference, in code for the mapping."""

    words: str
    holds: Callable[[Case], bool]


FOR_GOOD: Final = frozenset({"id", "payment_id", "refund_id", "subscription_id", "created_at", "abandoned_at"})
"""Fields that every reading of a body shows alike; a dispute's stage and a grant's moments move on."""


_MOMENTS: Final = ("_at", "_date")
"""How fields end whose values are moments."""


@dataclass(frozen=True, slots=True)
class Key:
    """What names a fact, so that two webhooks about it are one event. Without any of its parts the webhook-id does.

    Args:
        fields: fields of `data`; `…_at` ones are compared as moments (`:31Z` is `:31.000Z`), `…_date` ones as UTC days.
        time: the field that gives the ULID its time; the envelope's `timestamp` stands in for it.
        after: moments of which the latest before the event belongs to the name, where there is one. Later ones do not:
            a retry's body may hold them, and would be another fact.
        stateless: the key stands in for the state, which knows better; with it the webhook-id names the fact.
    """

    fields: tuple[str, ...]
    time: str = "created_at"
    after: tuple[str, ...] = ()
    stateless: bool = False

    def parts(self, case: Case) -> tuple[str, ...] | None:
        """The fact's name, None when a part is missing: a shorter key would swallow other facts."""
        if self.stateless and case.profile is not None:
            return None
        parts = []
        data = case.data
        for field in self.fields:
            value = text(data.get(field))
            if value is None:
                return None
            if field.endswith(_MOMENTS):
                ms = to_ms(value)
                if ms is None:
                    return None
                value = utc_day(ms) if field.endswith("_date") else str(ms)
            parts.append(value)
        if self.after and case.occurred_ms is not None:
            moments = [
                ms for field in self.after if (ms := to_ms(data.get(field))) is not None and ms < case.occurred_ms
            ]
            if moments:
                parts.append(str(max(moments)))
        return tuple(parts)

    @property
    def moves(self) -> bool:
        """Whether another reading of the same webhook's body may name another fact."""
        return bool(self.after) or not {*self.fields, self.time} <= FOR_GOOD

    @property
    def words(self) -> str:
        """For the reference."""
        words = [f"{field} (day)" if field.endswith("_date") else field for field in self.fields]
        if self.after:
            words.append(f"{' or '.join(self.after)} before it")
        return ", ".join(words)


@dataclass(frozen=True, slots=True)
class Row:
    """One outcome of one type.

    Args:
        type: the Dodo type.
        event: the event's canonical name; None sends the identify alone.
        when: the condition; None always holds.
        key: what names the fact; None: the webhook-id.
        drop: the code when nothing at all is sent; `event` means nothing then.
        decides: what the state would know better, in words; shown as a warning when there is no state.
        suppressed: the row stands for an event that is held back because the state has seen its twin.
    """

    type: str
    event: str | None
    when: Condition | None = None
    key: Key | None = None
    drop: DropCode | None = None
    decides: str | None = None
    suppressed: bool = False


@dataclass(frozen=True, slots=True)
class Status:
    """The object's status at delivery, and which types each value agrees with.

    `data` is the state at the delivery attempt, `type` what happened earlier: when they disagree, something newer is
    true. Values that are not listed anywhere do not count.

    Args:
        field: in `data`.
        attribute: on the event.
        agrees: by type, the statuses that fit it.
        known: all statuses that the vendor lists, in lower case.
    """

    field: str
    attribute: str
    agrees: Mapping[str, frozenset[str]]
    known: frozenset[str]

    def contradicts(self, case: Case, status: str) -> bool:
        """Whether `status` shows that the type's fact has been overtaken."""
        agreed = self.agrees.get(case.type)
        value = status.lower()
        return agreed is not None and value in self.known and value not in agreed


@dataclass(frozen=True, slots=True)
class FamilyMapping:
    """How one Dodo family is mapped.

    Args:
        rows: its table.
        attributes: adds the family's attributes to an event's.
        status: the object's status, if it has one.
        identifies: adds what the body has about the person beyond contact and country; None: nothing.
        maybe_new: whether the event may be the first thing that is ever sent about the person.
        links: attributes that the family promises, for the reference.
    """

    rows: tuple[Row, ...]
    attributes: Callable[[Case, Row, Attributes], None]
    links: tuple[str, ...]
    status: Status | None = None
    identifies: Callable[[Case, Row, Attributes], None] | None = None
    maybe_new: Callable[[Case], bool] = lambda _case: False


@dataclass(frozen=True, slots=True)
class ReferenceRow:
    """One line of the mapping reference."""

    type: str
    condition: str
    event: str
    key: str
    state: str
    attributes: tuple[str, ...]


ALWAYS: Final = ""
NO_EVENT: Final = "none, identify only"
WEBHOOK_ID: Final = "webhook-id"


def reference_row(row: Row, mapping: FamilyMapping, *, first: bool) -> ReferenceRow:
    """`row` in words; `first`: whether it is its type's first row (a later one without condition is the rest)."""
    condition = row.when.words if row.when is not None else (ALWAYS if first else "else")
    event = f"dropped ({row.drop})" if row.drop is not None else row.event or NO_EVENT
    sends = row.drop is None and row.event is not None
    return ReferenceRow(
        type=row.type,
        condition=condition,
        event=event,
        key=(row.key.words if row.key is not None else WEBHOOK_ID) if sends else "",
        state=row.decides or "",
        attributes=mapping.links if sends else (),
    )
