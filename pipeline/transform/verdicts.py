"""The verdicts of the mapping about one webhook: operations, a drop with its code, or a dead letter.

All are values; `transform.records` turns them into records and `transform.explain` into words. Nobody changes one.
Those that each webhook has made for it are not frozen by Python, which makes a value of five fields in twice the time;
a tuple with names takes as long, and is read more slowly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pipeline.customerio.operations import Identifier
from pipeline.transform.profile import Recovery

Mode = Literal["live", "test"]
OperationKind = Literal["identify", "merge", "event", "delete", "suppress"]
DeadLetterClass = Literal["unreadable", "unknown-type", "unmappable", "oversize", "transform-failed"]
DropCode = Literal[
    "test-mode",
    "vendor-example",
    "payout",
    "credit-deducted",
    "opted-out",
    "no-change",
    "forgotten",
    "command",
]
Note = Literal[
    "attribute-cut",
    "late-event",
    "superseded",
    "state-decides",
    "unknown-currency",
    "unusable-amount",
    "amount-unusable",
    "uncounted-refund",
    "unusable-time",
    "unusable-contact",
    "trimmed-address",
    "shared-address",
    "default-person-id",
    "shared-person",
    "left-person",
    "kept-person",
    "unusable-person-id",
    "unchanged-identify",
    "suppressed-event",
    "shaped-away",
]
"""What happened on the way, as codes to count. `warnings` are the same in words, for people (`explain`)."""


@dataclass(slots=True, init=False)
class Delivery:
    """How the webhook arrived: what the body does not hold.

    Args:
        webhook_id: the `webhook-id` header, the same through retries and replays.
        attempt_at_s: the `webhook-timestamp` header, unix seconds of this attempt.
        received_at_ms: when ingest took it, unix milliseconds.
        mode: which endpoint's secret matched.
    """

    webhook_id: str
    attempt_at_s: int | None
    received_at_ms: int | None
    mode: Mode

    def __init__(
        self, webhook_id: str, attempt_at_s: int | None = None, received_at_ms: int | None = None, mode: Mode = "live"
    ) -> None:
        self.webhook_id = webhook_id
        self.attempt_at_s = attempt_at_s
        self.received_at_ms = received_at_ms
        self.mode = mode


@dataclass(slots=True, init=False)
class MappedOperation:
    """One Track API operation, as the bytes that go into the batch.

    `name` is an event's canonical name (`payment_completed`), whatever style goes out. `op_id` is the event's ULID,
    for an identify `<webhook-id>:identify`, which only this project reads. `key` is that of its record where it is
    about somebody else than the others (`Operations.person_key`).
    """

    op_id: str
    body: bytes
    barrier: bool
    kind: OperationKind
    name: str | None
    key: bytes | None

    def __init__(  # noqa: PLR0917 - in the order of its fields
        self, op_id: str, body: bytes, barrier: bool, kind: OperationKind, name: str | None, key: bytes | None = None
    ) -> None:
        self.op_id = op_id
        self.body = body
        self.barrier = barrier
        self.kind = kind
        self.name = name
        self.key = key


@dataclass(slots=True, init=False)
class Operations:
    """The webhook becomes these operations, identify first, all of one person; a removal also of who stood in for them.

    `warnings` are for a person who looks (`explain`), never empty words, never values of the body; `notes` are codes to
    count, one for each thing that happened. `identity` is the digest of the identify's attributes, which the state
    keeps to know the next one that would change nothing; None without a profile or an identify. With a profile there
    may be no operation left. `identified_by` is the step of the identity policy that hit, None when none did;
    `identifier` is the kind of `person_key`. `address` is that of an identify of a customer who goes by their own id.
    `identified_at_s` is the time that the identify carries, `not_before_s` from when on it may be sent, if that is too
    far ahead of the clock. `event` is the name of the webhook's event when it is out, with these operations or since an
    earlier delivery, and `spoken` the id by which the state remembers that this webhook has emitted one, where the
    event's own id may be another in the next reading of the body. `recoveries` are the lapses that are answered now,
    each with the subscription's id. `shaped` is the version of what shaped them, None where nothing does; what it took
    away leaves fewer operations, or none.
    """

    person_key: bytes
    operations: tuple[MappedOperation, ...]
    event_time_ms: int
    warnings: tuple[str, ...]
    notes: tuple[Note, ...]
    identity: bytes | None
    identified_by: str | None
    identifier: Identifier
    address: str | None
    identified_at_s: int | None
    not_before_s: int | None
    event: str | None
    spoken: str | None
    recoveries: tuple[tuple[str, Recovery], ...]
    shaped: str | None

    def __init__(  # noqa: PLR0917 - in the order of its fields
        self,
        person_key: bytes,
        operations: tuple[MappedOperation, ...],
        event_time_ms: int,
        warnings: tuple[str, ...] = (),
        notes: tuple[Note, ...] = (),
        identity: bytes | None = None,
        identified_by: str | None = None,
        identifier: Identifier = "id",
        address: str | None = None,
        identified_at_s: int | None = None,
        not_before_s: int | None = None,
        event: str | None = None,
        spoken: str | None = None,
        recoveries: tuple[tuple[str, Recovery], ...] = (),
        shaped: str | None = None,
    ) -> None:
        self.person_key = person_key
        self.operations = operations
        self.event_time_ms = event_time_ms
        self.warnings = warnings
        self.notes = notes
        self.identity = identity
        self.identified_by = identified_by
        self.identifier = identifier
        self.address = address
        self.identified_at_s = identified_at_s
        self.not_before_s = not_before_s
        self.event = event
        self.spoken = spoken
        self.recoveries = recoveries
        self.shaped = shaped


@dataclass(frozen=True, slots=True)
class Dropped:
    """The webhook is meant to end here: `reason` is a code to count, `text` is the same in words."""

    reason: DropCode
    text: str


@dataclass(frozen=True, slots=True)
class DeadLettered:
    """The webhook cannot go on. `reason` and `field` never repeat the body's content."""

    class_: DeadLetterClass
    reason: str
    field: str | None = None


@dataclass(frozen=True, slots=True)
class SentOn:
    """The record lies in another partition than its customer's: it is written on to that one, and decided there.

    Args:
        key: the customer's part of keys, the key of the copy.
        partition: of the customer's owner.
        partitions: how many there are.
    """

    key: bytes
    partition: int
    partitions: int


Verdict = Operations | Dropped | DeadLettered
Decided = Verdict | SentOn
"""What becomes of a record: the mapping's verdict, or it is not to be judged here."""
