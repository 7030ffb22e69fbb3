"""Checks the two consumer groups: their members, lag, and records that were deleted unread."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.doctor.findings import Finding
from pipeline.kafka.cluster.admin import Admin
from pipeline.kafka.cluster.lag import GroupLag
from pipeline.kafka.cluster.lag_reader import flows_of, open_lag_reader
from pipeline.kafka.cluster.members import Member
from pipeline.settings import PREFIX, Settings

SLOW_S = 300.0
"""Age of the oldest waiting record, in seconds, from which on it is a warning: a rolling restart and a restore take
minutes at most."""

APART = f"give each deployment {PREFIX}TRANSFORM_GROUP and {PREFIX}SINK_GROUP of its own"

LAG = "`dodo-cio lag --watch` shows whether it shrinks"


async def groups(settings: Settings, admin: Admin) -> list[Finding]:
    """Members, lag and losses of the transform's and the sink's group; joins none and commits nothing."""
    async with open_lag_reader(settings) as reader:
        found = await reader.read(flows_of(settings))
    findings = []
    for group in found:
        findings += of_group(group)
        if group.members:
            findings += company(group.group, group.topic, len(group.partitions), await admin.members(group.group))
    return findings


def company(group: str, topic: str, partitions: int, members: Sequence[Member]) -> list[Finding]:
    """Whether the members of a group belong together: two deployments in one group take each other's records.

    During a rebalance the coordinator does not report who reads what; then there is no finding.
    """
    subject = f"members of {group}"
    settled = [(one, one.topics) for one in members if one.topics is not None]
    findings = []
    for one, topics in settled:
        if topics != {topic}:
            reads = ", ".join(sorted(topics)) or "nothing"
            text = f"{one} reads {reads}, and this deployment's group is for {topic} alone"
            findings.append(Finding("groups", subject, "fault", text, APART))
    names = sorted({one.client_id for one in members})
    if len(names) > 1:
        text = f"they call themselves {', '.join(names)}: are two deployments in it?"
        findings.append(Finding("groups", subject, "warning", text, f"{APART}, or the same {PREFIX}KAFKA_CLIENT_ID"))
    given = {tp.partition for one in members for tp in one.assigned or () if tp.topic == topic}
    if len(settled) < len(members):
        if not findings:
            text = "what each reads is not told while partitions are being given out"
            findings.append(Finding("groups", subject, "unknown", text, "look again in a minute"))
    elif nobodys := sorted(set(range(partitions)) - given):
        text = f"partitions {', '.join(map(str, nobodys))} of {topic} were given to none of them"
        findings.append(Finding("groups", subject, "fault", text, APART))
    if not findings:
        hosts = sorted({one.host for one in members})
        text = f"all read {topic} and nothing else, from {', '.join(hosts)}"
        findings.append(Finding("groups", subject, "ok", text))
    return findings


def of_group(group: GroupLag) -> list[Finding]:
    """The findings about a group from its lag and losses."""
    findings = []
    if group.state is None or group.members is None:
        text = group.note or "its coordinator does not tell"
        findings.append(Finding("groups", group.group, "unknown", text, "allow DESCRIBE on the group"))
    elif not group.members:
        waits = " and records wait" if group.records else ""
        findings.append(
            Finding("groups", group.group, "warning", f"it has no members{waits}", "start the stage that reads it")
        )
    elif group.state != "Stable":
        text = f"{group.members} members, {group.state}: partitions are being given out"
        findings.append(Finding("groups", group.group, "warning", text, "look again in a minute"))
    else:
        text = f"{group.members} members, stable"
        if group.members > len(group.partitions):
            text += f"; {group.members - len(group.partitions)} stand by, for it has {len(group.partitions)} partitions"
        findings.append(Finding("groups", group.group, "ok", text))
    return [*findings, *_lag(group)]


def _lag(group: GroupLag) -> list[Finding]:
    subject = f"{group.group} on {group.topic}"
    findings = []
    if group.records is None:
        notes = sorted({row.note for row in group.partitions if row.note})
        text = f"how many records wait is unknown: {'; '.join(notes) or group.note or 'nobody tells'}"
        findings.append(Finding("groups", subject, "unknown", text))
    elif group.seconds is not None and group.seconds > SLOW_S:
        text = f"{group.records:,} records wait, the oldest for {group.seconds:,.0f} s"
        findings.append(Finding("groups", subject, "warning", text, LAG))
    else:
        findings.append(Finding("groups", subject, "ok", f"{group.records:,} records wait"))
    if group.held:
        text = f"{group.held:,} records lie behind an open transaction of their writer"
        findings.append(Finding("groups", subject, "warning", text, "kafka-transactions.sh find-hanging"))
    if group.lost:
        text = f"{group.lost:,} records were deleted by the topic's retention before they were processed"
        remedy = "lengthen retention.ms, `dodo-cio backfill` what is missing, then `dodo-cio lag --acknowledge`"
        findings.append(Finding("groups", subject, "fault", text, remedy))
    return findings
