"""Checks topics and rights: that each topic exists, its configuration loses nothing, and each stage may use it."""

from __future__ import annotations

from collections.abc import Collection

from pipeline.doctor.findings import Finding, Verdict
from pipeline.errors import TopicError
from pipeline.kafka.cluster.admin import Admin
from pipeline.kafka.cluster.rights import COMMANDS, STAGES, Kind, missing, rights_of, united
from pipeline.kafka.cluster.start_checks import config_faults
from pipeline.kafka.cluster.topics import AddPartitions, ChangeConfig, Step, load_specs, plan
from pipeline.settings import Settings

RENDER = "`dodo-cio topics render --format acls` prints what each stage needs"
APPLY = "`dodo-cio topics plan` shows it, `dodo-cio topics apply` does it"


async def topics(settings: Settings, admin: Admin) -> list[Finding]:
    """Findings about each topic of `topics/*.yaml`: whether it exists, its partitions and configuration."""
    specs = [spec for spec in load_specs(settings) if settings.state or spec.name != settings.customers_topic]
    counts: dict[str, tuple[int, int]] = {}
    refused: dict[str, str] = {}
    for spec in specs:  # each by itself: one that may not be seen, as of another stage's, hides no other
        try:
            counts |= await admin.partitions([spec.name])
        except TopicError as error:
            refused[spec.name] = str(error)
    configs = await admin.configs(counts)
    readable = {name for name, found in configs.items() if found is not None}
    actual = await admin.topics(readable)
    todo = plan([spec for spec in specs if spec.name in readable], actual)
    findings = []
    for spec in specs:
        if spec.name in refused:
            findings.append(Finding("topics", spec.name, "unknown", refused[spec.name], RENDER))
            continue
        if spec.name not in counts:
            text = "it does not exist, or this user may not see it (DESCRIBE)"
            findings.append(Finding("topics", spec.name, "fault", text, APPLY))
            continue
        partitions, replicas = counts[spec.name]
        told = f"{partitions} partitions, {replicas} replicas"
        if spec.name not in readable:
            findings.append(
                Finding(
                    "topics", spec.name, "unknown", f"{told}; its configuration may not be read",
                    "allow DESCRIBE_CONFIGS on it",
                )
            )  # fmt: skip
            continue
        values = dict(actual[spec.name].configs)
        faults = config_faults(settings, spec.name, values, replicas)
        findings += [
            Finding(
                "topics", spec.name, "fault" if one.fatal else "warning",
                f"{one.setting} is {one.value}: {one.because}", APPLY,
            )
            for one in faults
        ]  # fmt: skip
        named = {one.setting for one in faults}
        differs = [step for step in todo.steps if step.topic == spec.name and not _is_expected(step, named)]
        findings += [
            Finding("topics", spec.name, "warning", f"differs from topics/: {step}", APPLY) for step in differs
        ]
        if not faults and not differs:
            kept = values.get("retention.ms", "-1")
            how = values.get("cleanup.policy", "delete")
            text = f"{told}, {how}" + (f", kept {_days(kept)}" if "delete" in how else "")
            findings.append(Finding("topics", spec.name, "ok", text))
    return findings + _equal(settings, {name: count for name, (count, _) in counts.items()})


def _is_expected(step: Step, named: Collection[str]) -> bool:
    """Whether another finding has it already, or it is a smaller number of partitions, which the operator chose."""
    match step:
        case AddPartitions(held=held):
            return held
        case ChangeConfig(name=name):
            return name in named
    return False


def _equal(settings: Settings, counts: dict[str, int]) -> list[Finding]:
    webhooks, customers = counts.get(settings.webhooks_topic), counts.get(settings.customers_topic)
    if not settings.state or webhooks is None or customers is None or webhooks == customers:
        return []
    return [
        Finding(
            "topics", settings.customers_topic, "fault",
            f"{customers} partitions, and {settings.webhooks_topic} has {webhooks}: they must be equal",
            "stop every transform, then `dodo-cio topics apply` and `dodo-cio state repartition`",
        )
    ]  # fmt: skip


def _days(retention_ms: str) -> str:
    if not retention_ms.isdigit():
        return "for ever"
    hours = int(retention_ms) / 3_600_000
    return f"{hours / 24:g} days" if hours >= 24 else f"{hours:g} hours"  # noqa: PLR2004 - hours of a day


async def rights(settings: Settings, admin: Admin) -> list[Finding]:
    """Findings about the rights of the user of these settings: those that a stage or group of commands needs."""
    needs = {who: rights_of(who, settings) for who in (*STAGES, *COMMANDS)}
    resources = united(right for rights in needs.values() for right in rights)
    allowed: dict[tuple[Kind, str], int | None] = {
        ("topic", name): bits
        for name, bits in (await admin.allowed_on_topics({name for kind, name in resources if kind == "topic"})).items()
    }
    for kind, name in resources:
        if kind == "group":
            allowed["group", name] = await admin.allowed_on_group(name)
    whole = {who for who in STAGES if not any(right.needed for right in missing(needs[who], allowed))}
    findings = []
    for who, wanted in needs.items():
        lacking = missing(wanted, allowed)
        needed = [str(right) for right in lacking if right.needed]
        useful = [str(right) for right in lacking if not right.needed]
        untold = [right for right in wanted if allowed.get((right.kind, right.name)) is None]
        silent = sorted({right.name for right in untold if right.kind == "topic"})
        if needed:
            # The user of a stage needs no other rights, and commands are run as a person's user.
            verdict: Verdict = "unknown" if whole or who in COMMANDS else "fault"
            text = f"this user lacks {', '.join(needed)}; another one may have it"
            findings.append(Finding("rights", who, verdict, text, RENDER))
        elif silent:
            text = f"the brokers do not tell what this user may do with {', '.join(silent)}"
            findings.append(Finding("rights", who, "unknown", text))
        elif useful:
            text = f"works without {', '.join(useful)}; what they are for is not done, or not known"
            findings.append(Finding("rights", who, "ok", text, RENDER))
        else:
            # Brokers report what may be done with a group once it exists; before that, only a refusal is certain.
            but = ", as far as is known of groups that do not exist yet" if untold else ""
            findings.append(Finding("rights", who, "ok", f"this user may do all that it does{but}"))
    return findings
