"""What each stage and each command may have to do with the cluster's topics and groups: the ACLs that a user needs.

One list: the start checks ask from it, `dodo-cio topics render` prints it, and docs/kafka.md shows it. READ and
WRITE on a topic, and READ on a group, include DESCRIBE. An idempotent producer needs nothing beyond WRITE since Kafka
2.8.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Final, Literal

from pipeline.kafka.cluster.losses import ledger_of
from pipeline.settings import Settings, Stage


class Operation(IntEnum):
    """org.apache.kafka.common.acl.AclOperation."""

    READ = 3
    WRITE = 4
    CREATE = 5
    DELETE = 6
    ALTER = 7
    DESCRIBE = 8
    DESCRIBE_CONFIGS = 10
    ALTER_CONFIGS = 11

    @property
    def word(self) -> str:
        """As `kafka-acls.sh` and Strimzi spell it."""
        return "".join(part.capitalize() for part in self.name.split("_"))


NOT_TOLD: Final = -(2**31)
"""Of authorized operations: the broker did not look, or is not Kafka itself."""


def known_operations(operations: int) -> int | None:
    """The bits of `Operation` in a broker's answer; None: unknown."""
    return None if operations == NOT_TOLD else operations


Kind = Literal["topic", "group"]

STAGES: Final[tuple[Stage, ...]] = ("ingest", "transform", "sink")

COMMANDS: Final = ("topics", "lag", "trace", "explain", "preview", "dlq", "backfill", "forget", "state")
"""Groups of commands that talk to the cluster, `doctor`'s questions among them."""


@dataclass(frozen=True, slots=True)
class Right:
    """One ACL. Without one that is not `needed` the usual work is done, and something less is known or can be done."""

    kind: Kind
    name: str
    operation: Operation
    needed: bool = True

    def __str__(self) -> str:
        """As messages name it."""
        return f"{self.operation.name} on {self.kind} {self.name}"


def rights_of(who: str, settings: Settings) -> list[Right]:
    """What the stage or the group of commands `who` needs under these settings, each once."""
    webhooks, operations = settings.webhooks_topic, settings.operations_topic
    dead_letters, customers = settings.dead_letters_topic, settings.customers_topic
    transform, sink = settings.transform_group, settings.sink_group
    match who:
        case "ingest":
            return [*_writes(webhooks, dead_letters), *_looks(webhooks, dead_letters)]
        case "transform":
            state = [*_reads(customers), *_writes(customers, webhooks)] if settings.state else []
            looks = _looks(webhooks, operations, dead_letters, *([customers] if settings.state else []))
            shadow = (settings.shadow_topic,) if settings.shadow_topic is not None else ()
            aside = [replace(right, needed=False) for right in _writes(*shadow)]
            return [*_reads(webhooks), *_writes(operations, dead_letters), *state, *looks, *aside, *_member(transform)]
        case "sink":
            # To tell the transform of a profile that Customer.io refused; without it that is logged once.
            tells = [replace(right, needed=False) for right in _writes(webhooks)] if settings.refusals_are_told else []
            looks = _looks(operations, dead_letters)
            return [*_reads(operations), *_writes(dead_letters), *tells, *looks, *_member(sink)]
        case "topics":
            every = (webhooks, operations, dead_letters, customers)
            kinds = (Operation.CREATE, Operation.ALTER, Operation.DESCRIBE)
            managed = [Right("topic", name, kind) for name in every for kind in kinds]
            configs = (Operation.DESCRIBE_CONFIGS, Operation.ALTER_CONFIGS)
            managed += [Right("topic", name, kind) for name in every for kind in configs]
            # With --add-partitions the facts move along; nothing else asks for these.
            moving = rights_of("state", settings) if settings.state else []
            return [*managed, *(replace(right, needed=False) for right in moving)]
        case "lag":
            # To acknowledge losses takes READ on their groups; to see them DESCRIBE would do.
            groups = [Right("group", group, Operation.DESCRIBE) for group in (transform, sink)]
            ledgers = [Right("group", ledger_of(group), Operation.READ) for group in (transform, sink)]
            return [*_reads(webhooks, operations), *groups, *ledgers]
        case "trace":
            # Without the groups it shows what there is, and not how far the stages are.
            groups = [Right("group", group, Operation.DESCRIBE, needed=False) for group in (transform, sink)]
            return [*_reads(webhooks, operations, dead_letters), *groups]
        case "explain":
            return _reads(customers) if settings.state else []  # with --state; else it asks nobody
        case "preview":
            return _reads(webhooks, *([customers] if settings.state else []))
        case "dlq":
            marks = _reads(customers) if settings.state else []
            return [*_reads(dead_letters), *_writes(webhooks, operations, dead_letters), *marks]
        case "backfill":
            return _writes(webhooks)
        case "forget":
            # Without the others the request is sent all the same, and the dead letters are not looked at.
            rewriting = (Operation.READ, Operation.WRITE, Operation.DELETE, Operation.DESCRIBE_CONFIGS)
            letters = [Right("topic", dead_letters, kind, needed=False) for kind in rewriting]
            marks = [Right("topic", customers, Operation.READ, needed=False)] if settings.state else []
            return [*_writes(webhooks), *letters, *marks]
        case "state":
            group = Right("group", transform, Operation.DESCRIBE)
            return [*_reads(customers), *_writes(customers), *_reads(webhooks), group]
        case _:
            raise ValueError(who)


def _reads(*topics: str) -> list[Right]:
    return [Right("topic", topic, Operation.READ) for topic in topics]


def _writes(*topics: str) -> list[Right]:
    return [Right("topic", topic, Operation.WRITE) for topic in topics]


def _looks(*topics: str) -> list[Right]:
    return [Right("topic", topic, Operation.DESCRIBE_CONFIGS, needed=False) for topic in topics]


def _member(group: str) -> list[Right]:
    return [Right("group", group, Operation.READ), Right("group", ledger_of(group), Operation.READ, needed=False)]


def united(rights: Iterable[Right]) -> dict[tuple[Kind, str], list[Operation]]:
    """The operations on each topic and group, each once."""
    found: dict[tuple[Kind, str], list[Operation]] = {}
    for right in rights:
        operations = found.setdefault((right.kind, right.name), [])
        if right.operation not in operations:
            operations.append(right.operation)
    return found


def missing(rights: Sequence[Right], allowed: dict[tuple[Kind, str], int | None]) -> list[Right]:
    """Those of `rights` that the bits of `allowed` lack, of which Kafka numbers one for each operation.

    What is not in there, or None, is not known, and not counted as missing.
    """
    lacking = []
    for right in rights:
        bits = allowed.get((right.kind, right.name))
        if bits is not None and not bits >> right.operation & 1:
            lacking.append(right)
    return lacking
