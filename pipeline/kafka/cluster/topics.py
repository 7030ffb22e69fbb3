"""The topics that this pipeline needs, and what it takes to get there.

`topics/*.yaml` is the specification; `plan` compares it with the cluster and is a pure function; `apply` carries a
plan out. Never: a topic deleted, a partition removed, a value reset that the specification does not name, or, unless
asked for in so many words, a partition added where that would move keys.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from pipeline.errors import TopicError
from pipeline.kafka.cluster.admin import Admin, open_admin, sharing
from pipeline.kafka.cluster.namesakes import hint
from pipeline.kafka.cluster.topic_admin import ActualTopic
from pipeline.kafka.cluster.topic_specs import TopicSpec, load_specs
from pipeline.settings import PREFIX, Settings

__all__ = [
    "AddPartitions",
    "CannotChange",
    "ChangeConfig",
    "CreateTopic",
    "Plan",
    "Step",
    "TopicSpec",
    "actual_topics",
    "apply",
    "check_topics",
    "load_specs",
    "plan",
]

VISIBLE_WITHIN_S = 30.0
"""After a create, metadata reaches all brokers within a second or two; a caller may use the topic when we return."""

POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class CreateTopic:
    """The topic does not exist."""

    topic: str
    partitions: int
    replication_factor: int
    configs: Mapping[str, str]

    def __str__(self) -> str:
        """One line for people."""
        replicas = "the cluster's default" if self.replication_factor == -1 else str(self.replication_factor)
        configs = " ".join(f"{name}={value}" for name, value in self.configs.items())
        return f"create topic {self.topic}: {self.partitions} partitions, replication factor {replicas}, {configs}"


@dataclass(frozen=True, slots=True)
class ChangeConfig:
    """A value in force differs from the specification."""

    topic: str
    name: str
    current: str | None
    wanted: str

    def __str__(self) -> str:
        """One line for people."""
        return f"change topic {self.topic}: {self.name} from {self.current} to {self.wanted}"


@dataclass(frozen=True, slots=True)
class AddPartitions:
    """The topic has fewer partitions than wanted; `held` when that would move keys and was not asked for."""

    topic: str
    current: int
    wanted: int
    moves_keys: bool
    held: bool = False

    def __str__(self) -> str:
        """One line for people, with the danger."""
        text = f"add partitions to topic {self.topic}: from {self.current} to {self.wanted}"
        if self.moves_keys:
            text += (
                ". DANGER: most keys move to another partition, so a customer's new records may overtake older ones; "
                "stop the producers and drain the topic first"
            )
        return f"{text}. Only done with --add-partitions" if self.held else text


@dataclass(frozen=True, slots=True)
class CannotChange:
    """A difference that no request to the cluster can mend."""

    topic: str
    what: str

    def __str__(self) -> str:
        """One line for people."""
        return f"cannot change topic {self.topic}: {self.what}"


Step = CreateTopic | ChangeConfig | AddPartitions | CannotChange


@dataclass(frozen=True, slots=True)
class Plan:
    """`steps` lead from the cluster to the specification; `notes` list what is left alone or worth knowing."""

    steps: tuple[Step, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether the cluster has what the specification asks for."""
        return not self.steps


def plan(specs: Sequence[TopicSpec], actual: Mapping[str, ActualTopic], *, add_partitions: bool = False) -> Plan:
    """What differs between `specs` and the cluster's `actual` topics, in the order in which to do it.

    Without `add_partitions` a step that would move keys is planned as held, and topics that follow that topic keep to
    the count that it has.
    """
    steps: list[Step] = []
    notes: list[str] = []
    counts: dict[str, int] = {}
    for spec in specs:
        topic = actual.get(spec.name)
        followed = counts.get(spec.partitions_like) if spec.partitions_like else None
        wanted = followed if followed is not None else spec.partitions
        if topic is None:
            counts[spec.name] = wanted
            steps.append(CreateTopic(spec.name, wanted, spec.replication_factor, dict(spec.configs)))
            continue
        partitions = _partitions(spec, topic, wanted, add_partitions=add_partitions)
        held = any(isinstance(step, AddPartitions) and step.held for step in partitions)
        counts[spec.name] = topic.partitions if held else max(wanted, topic.partitions)
        steps += [*_configs(spec, topic), *partitions]
        if spec.replication_factor not in (-1, topic.replication_factor):
            steps.append(
                CannotChange(
                    spec.name,
                    f"it has replication factor {topic.replication_factor}, wanted {spec.replication_factor}: "
                    "reassign its partitions with kafka-reassign-partitions.sh",
                )
            )
        notes += _notes(spec, topic, wanted)
    return Plan(tuple(steps), tuple(notes))


def _configs(spec: TopicSpec, topic: ActualTopic) -> list[ChangeConfig]:
    return [
        ChangeConfig(spec.name, name, topic.configs.get(name), value)
        for name, value in spec.configs.items()
        if not _same(topic.configs.get(name), value)
    ]


def _same(current: str | None, wanted: str) -> bool:
    """Equal as Kafka reads them: `compact,delete` is a set."""
    if current is None:
        return False
    return {part.strip() for part in current.split(",")} == {part.strip() for part in wanted.split(",")}


def _partitions(spec: TopicSpec, topic: ActualTopic, wanted: int, *, add_partitions: bool) -> list[Step]:
    if topic.partitions < wanted:
        # A topic that follows another one is written to by partition number, not by key: nothing moves.
        moves = spec.partitions_like is None
        return [AddPartitions(spec.name, topic.partitions, wanted, moves, held=moves and not add_partitions)]
    if topic.partitions > wanted and spec.partitions_like:
        return [
            CannotChange(
                spec.name,
                f"it has {topic.partitions} partitions and {spec.partitions_like} {wanted}; they must be equal, and "
                f"Kafka cannot remove partitions: name a new topic in {PREFIX}CUSTOMERS_TOPIC",
            )
        ]
    return []


def _notes(spec: TopicSpec, topic: ActualTopic, wanted: int) -> list[str]:
    notes = []
    if topic.partitions > wanted and not spec.partitions_like:
        notes.append(f"topic {spec.name} has {topic.partitions} partitions, more than the {wanted} asked for: kept")
    unmanaged = sorted(topic.overrides - set(spec.configs))
    if unmanaged:
        values = ", ".join(f"{name}={topic.configs.get(name)}" for name in unmanaged)
        notes.append(f"topic {spec.name} has settings that are not ours, left alone: {values}")
    in_sync = topic.configs.get("min.insync.replicas", "1")
    if topic.replication_factor == 1:
        notes.append(f"topic {spec.name} has one replica: a lost disk loses its records (fine for a local broker)")
    elif in_sync == "1":
        notes.append(
            f"topic {spec.name} has min.insync.replicas=1: acks=all then waits for one broker only, and its loss "
            "can lose acknowledged records; 2 is usual for a replication factor of 3"
        )
    return notes


async def apply(settings: Settings, todo: Plan, *, done: Callable[[Step], None] = lambda _: None) -> tuple[Step, ...]:
    """Carry out `todo`; returns the steps that were left out (held partitions, what cannot be changed).

    `done` hears of each step once it is carried out. Returns when every topic can be used.

    Raises:
        TopicError: the cluster refused a step; the ones before it are done, and a new plan shows the rest.
        BrokerUnreachableError: no broker answered.
    """
    left: list[Step] = []
    async with open_admin(settings) as admin:
        for step in todo.steps:
            match step:
                case CreateTopic():
                    await admin.create(step.topic, step.partitions, step.replication_factor, step.configs)
                    await _visible(admin, step.topic, step.partitions)
                case ChangeConfig():
                    await admin.set_configs(step.topic, {step.name: step.wanted})
                case AddPartitions(held=False):
                    await admin.add_partitions(step.topic, step.wanted)
                    await _visible(admin, step.topic, step.wanted)
                case _:
                    left.append(step)
                    continue
            done(step)
    return tuple(left)


async def _visible(admin: Admin, topic: str, partitions: int) -> None:
    deadline = asyncio.get_running_loop().time() + VISIBLE_WITHIN_S
    while await admin.partitions_everywhere(topic) < partitions:
        if asyncio.get_running_loop().time() > deadline:
            raise TopicError(
                f"topic {topic} was accepted by the cluster but did not appear within {VISIBLE_WITHIN_S:.0f} s"
            )
        await asyncio.sleep(POLL_S)


async def actual_topics(settings: Settings, specs: Iterable[TopicSpec]) -> dict[str, ActualTopic]:
    """The cluster's side of `plan`.

    Raises:
        TopicError: we may not look at a topic.
        BrokerUnreachableError: no broker answered.
    """
    async with open_admin(settings) as admin:
        return await admin.topics(spec.name for spec in specs)


async def check_topics(
    settings: Settings, names: Iterable[str], *, admin: Admin | None = None, connect_within_s: float = 0.0
) -> dict[str, int]:
    """Partition counts of `names`, for start checks; nothing is ever created.

    Args:
        settings: where the brokers are.
        names: of topics.
        admin: a connection that is shared with other checks.
        connect_within_s: as in `open_admin`.

    Raises:
        TopicError: naming each topic that is missing or hidden from us, and the command that creates it.
        BrokerUnreachableError: no broker answered, or the credentials were refused.
    """
    wanted = list(dict.fromkeys(names))
    async with sharing(settings, admin, connect_within_s=connect_within_s) as asked:
        found = await asked.partitions(wanted)
        missing = [name for name in wanted if name not in found]
        existing = await asked.names() if missing else set()
    if missing:
        fields = [name for name in type(settings).model_fields if name.endswith("_topic")]
        variables = [f"{PREFIX}{name.upper()}" for name in fields if getattr(settings, name) in missing]
        several = len(missing) > 1
        raise TopicError(
            f"{'topics' if several else 'topic'} {', '.join(missing)} {'do' if several else 'does'} not exist at "
            f"{settings.kafka_bootstrap_servers} (or this user may not see {'them' if several else 'it'}). "
            f"See `dodo-cio topics plan`, create with `dodo-cio topics apply`{hint(missing, existing, variables)}"
        )
    return {name: found[name][0] for name in wanted}
