"""Checks before a stage begins: its rights, and that its topics are configured so that nothing is lost."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from pipeline import logs
from pipeline.errors import TopicError
from pipeline.kafka.cluster.admin import Admin, sharing
from pipeline.kafka.cluster.rights import missing, rights_of
from pipeline.settings import Settings, Stage

DAY_MS: Final = 86_400_000
UNSAFE: Final = "A topic is set so that records can be lost"

log = logs.get(__name__)


@dataclass(frozen=True, slots=True)
class ConfigFault:
    """A value of a topic under which records are lost; the start is refused when `fatal`, else warned of."""

    topic: str
    setting: str
    value: str
    because: str
    fatal: bool = False


async def check_rights(
    settings: Settings, stage: Stage, *, admin: Admin | None = None, connect_within_s: float = 0.0
) -> None:
    """Make sure that this user may do all that the stage does; brokers before Kafka 2.8 are not asked.

    `admin` is a connection that is shared with other checks.

    Raises:
        TopicError: naming every right that is missing.
        BrokerUnreachableError: no broker answered.
    """
    rights = rights_of(stage, settings)
    async with sharing(settings, admin, connect_within_s=connect_within_s) as asked:
        topics = await asked.allowed_on_topics({right.name for right in rights if right.kind == "topic"})
        groups = {
            right.name: await asked.allowed_on_group(right.name)
            for right in rights
            if right.kind == "group" and right.needed
        }
    allowed = {("topic", name): bits for name, bits in topics.items()}
    allowed |= {("group", name): bits for name, bits in groups.items()}
    lacking = [str(right) for right in missing(rights, allowed) if right.needed]  # type: ignore[arg-type]
    if lacking:
        raise TopicError(
            f"this user may not do what the {stage} has to: allow {', '.join(lacking)} (ACLs). "
            "`dodo-cio topics render --format acls` prints all that each stage needs"
        )


async def check_configs(settings: Settings, topics: Iterable[str], *, admin: Admin | None = None) -> None:
    """Warn of each value of these topics under which records can be lost, and refuse what loses them for certain.

    `admin` is a connection that is shared with other checks.

    Raises:
        TopicError: naming each topic that would lose what this pipeline keeps in it.
        BrokerUnreachableError: no broker answered.
    """
    names = list(topics)
    async with sharing(settings, admin) as asked:
        counts = await asked.partitions(names)
        found = await asked.configs(names)
    unknown = sorted(name for name, configs in found.items() if configs is None)
    if unknown:
        log.warning(
            "Whether topics are set so that nothing is lost is unknown: this user lacks the ACL DESCRIBE_CONFIGS",
            topics=unknown,
        )
    faults = []
    for name, configs in found.items():
        if configs is not None:
            values = {key: value for key, (value, _) in configs.items() if value is not None}
            faults += config_faults(settings, name, values, counts[name][1])
    for fault in faults:
        if not fault.fatal:
            log.warning(UNSAFE, topic=fault.topic, setting=fault.setting, value=fault.value, because=fault.because)
    if fatal := [fault for fault in faults if fault.fatal]:
        raise TopicError(
            "\n".join(
                f"topic {one.topic}: {one.setting} is {one.value}: {one.because} (`dodo-cio topics plan`, then "
                "`dodo-cio topics apply`)"
                for one in fatal
            )
        )


def config_faults(settings: Settings, topic: str, values: Mapping[str, str], replicas: int) -> list[ConfigFault]:
    """What is wrong with the values in force of a topic of this pipeline."""
    faults = []

    def fault(setting: str, because: str, *, fatal: bool = False) -> None:
        faults.append(ConfigFault(topic, setting, values.get(setting, "unset"), because, fatal))

    policy = {part.strip() for part in values.get("cleanup.policy", "delete").split(",")}
    if topic == settings.customers_topic:
        if policy != {"compact"}:
            fault(
                "cleanup.policy",
                "what is known of customers would be deleted with its age; it must be compact",
                fatal=True,
            )
    elif "compact" in policy:
        fault("cleanup.policy", "of the records of a key all but the last are removed, processed or not")
    retention = values.get("retention.ms", "")
    if topic == settings.webhooks_topic and "delete" in policy and retention.isdigit() and int(retention) < DAY_MS:
        fault("retention.ms", "webhooks are deleted after less than a day: a longer outage of the transform loses them")
    if replicas > 2 and values.get("min.insync.replicas", "1") == "1":  # noqa: PLR2004 - with two, 2 would stop at one failure
        fault(
            "min.insync.replicas",
            f"acknowledged by one of {replicas} replicas, a record is lost with one broker; use 2",
        )
    if values.get("message.timestamp.type") == "CreateTime":
        fault("message.timestamp.type", "a writer whose clock is an hour ahead is refused, and ends; use LogAppendTime")
    if values.get("unclean.leader.election.enable") == "true":
        fault("unclean.leader.election.enable", "a replica that lacks acknowledged records may become the leader")
    return faults
