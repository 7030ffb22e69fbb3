"""Topics become what the files say, and nothing else is touched."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import BrokerUnreachableError, InputError, TopicError
from pipeline.kafka.cluster.admin import open_admin
from pipeline.kafka.cluster.topic_admin import ActualTopic
from pipeline.kafka.cluster.topics import (
    AddPartitions,
    CannotChange,
    ChangeConfig,
    CreateTopic,
    Plan,
    TopicSpec,
    actual_topics,
    apply,
    check_topics,
    load_specs,
    plan,
)
from pipeline.kafka.local.broker import free_port
from pipeline.settings import Settings
from tests.kafka.shared import SharedKafka

WEBHOOKS = TopicSpec("webhooks", 12, {"cleanup.policy": "delete", "retention.ms": "1000"})
CUSTOMERS = TopicSpec("customers", 12, {"cleanup.policy": "compact"}, partitions_like="webhooks")


def as_wanted(spec: TopicSpec, **changes: object) -> ActualTopic:
    """The topic of a cluster that has what `spec` asks for, but for `changes`."""
    configs = {**spec.configs, "min.insync.replicas": "2"}
    topic = ActualTopic(spec.name, spec.partitions, 3, configs, frozenset(spec.configs))
    return replace(topic, **changes)  # type: ignore[arg-type]


def on(specs: Sequence[TopicSpec], *topics: ActualTopic, add_partitions: bool = False) -> Plan:
    """The plan against a cluster that has `topics`."""
    return plan(specs, {topic.name: topic for topic in topics}, add_partitions=add_partitions)


def test_a_missing_topic_is_created() -> None:
    """An empty cluster gets each topic, a following one with the count of the topic that it follows."""
    assert on([WEBHOOKS, CUSTOMERS]).steps == (
        CreateTopic("webhooks", 12, -1, dict(WEBHOOKS.configs)),
        CreateTopic("customers", 12, -1, dict(CUSTOMERS.configs)),
    )


def test_equal_is_empty() -> None:
    """A cluster that has what is asked for needs nothing, and there is nothing to remark."""
    assert on([WEBHOOKS, CUSTOMERS], as_wanted(WEBHOOKS), as_wanted(CUSTOMERS)) == Plan()


def test_a_value_that_differs_is_changed() -> None:
    """Only the values that differ are changed."""
    topic = as_wanted(WEBHOOKS, configs={**as_wanted(WEBHOOKS).configs, "retention.ms": "5"})
    assert on([WEBHOOKS], topic).steps == (ChangeConfig("webhooks", "retention.ms", "5", "1000"),)


def test_a_list_is_a_set() -> None:
    """`delete,compact` and `compact, delete` are the same policy."""
    spec = TopicSpec("t", 1, {"cleanup.policy": "compact, delete"})
    assert (
        on([spec], as_wanted(spec, configs={"cleanup.policy": "delete,compact", "min.insync.replicas": "2"})) == Plan()
    )


def test_partitions_are_held_unless_asked_for() -> None:
    """Adding partitions where that moves keys is shown with its danger and held; asked for, it is planned."""
    small = as_wanted(WEBHOOKS, partitions=4)
    (held,) = on([WEBHOOKS], small).steps
    assert held == AddPartitions("webhooks", 4, 12, moves_keys=True, held=True)
    assert "DANGER" in str(held)
    assert "--add-partitions" in str(held)
    (asked,) = on([WEBHOOKS], small, add_partitions=True).steps
    assert asked == AddPartitions("webhooks", 4, 12, moves_keys=True, held=False)


def test_a_following_topic_follows_what_is() -> None:
    """While the webhooks keep their 4 partitions, the customers get 4; when they get 12, 12."""
    small = as_wanted(WEBHOOKS, partitions=4)
    assert on([WEBHOOKS, CUSTOMERS], small).steps[-1] == CreateTopic("customers", 4, -1, dict(CUSTOMERS.configs))
    grown = on([WEBHOOKS, CUSTOMERS], small, add_partitions=True).steps[-1]
    assert grown == CreateTopic("customers", 12, -1, dict(CUSTOMERS.configs))
    behind = on([WEBHOOKS, CUSTOMERS], as_wanted(WEBHOOKS, partitions=24), as_wanted(CUSTOMERS))
    assert behind.steps == (AddPartitions("customers", 12, 24, moves_keys=False),)


def test_a_following_topic_that_is_ahead_cannot_be_mended() -> None:
    """More customers' partitions than webhooks' is a fault that the plan names and no request can mend."""
    (step,) = on([WEBHOOKS, CUSTOMERS], as_wanted(WEBHOOKS), as_wanted(CUSTOMERS, partitions=16)).steps
    assert isinstance(step, CannotChange)
    assert "PIPELINE_CUSTOMERS_TOPIC" in step.what


def test_more_partitions_are_kept() -> None:
    """A platform that gives more partitions is no difference, only a remark."""
    found = on([WEBHOOKS], as_wanted(WEBHOOKS, partitions=24))
    assert found.is_empty
    assert found.notes == ("topic webhooks has 24 partitions, more than the 12 asked for: kept",)


def test_a_replication_factor_is_not_changed_here() -> None:
    """Another replication factor than the wanted one names the tool that mends it."""
    (step,) = on([replace(WEBHOOKS, replication_factor=2)], as_wanted(WEBHOOKS)).steps
    assert isinstance(step, CannotChange)
    assert "kafka-reassign-partitions" in step.what


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"overrides": frozenset({"segment.ms"}), "configs": {**WEBHOOKS.configs, "segment.ms": "7"}}, "segment.ms=7"),
        ({"replication_factor": 1}, "one replica"),
        ({"configs": {**WEBHOOKS.configs, "min.insync.replicas": "1"}}, "min.insync.replicas=1"),
    ],
)
def test_remarks(changes: dict[str, object], says: str) -> None:
    """What is left alone, and what weakens the promise of acks=all, is said and is no difference."""
    found = on([WEBHOOKS], as_wanted(WEBHOOKS, **changes))
    assert found.is_empty
    assert any(says in note for note in found.notes)


NAMES = ("a", "b", "c")
VALUES = st.dictionaries(st.sampled_from(["x", "y", "z"]), st.sampled_from(["1", "2"]))


@st.composite
def clusters(draw: st.DrawFn) -> tuple[list[TopicSpec], dict[str, ActualTopic]]:
    """Specifications, the third of which follows the first, and any cluster."""
    specs = [TopicSpec(name, draw(st.integers(1, 6)), draw(VALUES)) for name in NAMES[:2]]
    specs.append(TopicSpec("c", specs[0].partitions, draw(VALUES), partitions_like="a"))
    actual = {
        name: ActualTopic(name, draw(st.integers(1, 6)), 1, configs, frozenset(configs))
        for name in draw(st.sets(st.sampled_from([*NAMES, "other"])))
        for configs in [draw(VALUES)]
    }
    return specs, actual


def after(found: Plan, actual: Mapping[str, ActualTopic]) -> dict[str, ActualTopic]:
    """A model of the cluster once the plan is carried out."""
    topics = dict(actual)
    for step in found.steps:
        match step:
            case CreateTopic():
                topics[step.topic] = ActualTopic(step.topic, step.partitions, 1, step.configs, frozenset(step.configs))
            case ChangeConfig():
                topic = topics[step.topic]
                topics[step.topic] = replace(topic, configs={**topic.configs, step.name: step.wanted})
            case AddPartitions(held=False):
                topics[step.topic] = replace(topics[step.topic], partitions=step.wanted)
            case _:
                pass
    return topics


@given(clusters(), st.booleans())
def test_a_plan_leads_to_the_specification(
    case: tuple[list[TopicSpec], dict[str, ActualTopic]], add_partitions: bool
) -> None:
    """Carried out, a plan leaves only what it held or called impossible; it shrinks and resets nothing."""
    specs, actual = case
    found = plan(specs, actual, add_partitions=add_partitions)
    topics = after(found, actual)
    rest = plan(specs, topics, add_partitions=add_partitions).steps
    assert all(isinstance(step, CannotChange) or (isinstance(step, AddPartitions) and step.held) for step in rest)
    assert set(topics) == set(actual) | set(NAMES)
    managed = {spec.name: set(spec.configs) for spec in specs}
    for name, topic in actual.items():
        assert topics[name].partitions >= topic.partitions
        for key, value in topic.configs.items():
            assert key in managed.get(name, set()) or topics[name].configs[key] == value
    if not any(isinstance(step, CannotChange) for step in rest):
        assert topics["c"].partitions == topics["a"].partitions


def test_the_files_take_the_settings_names() -> None:
    """Renamed topics are specified under their new names; the customers still follow the webhooks."""
    specs = {spec.name: spec for spec in load_specs(Settings.load(webhooks_topic="w", customers_topic="c"))}
    assert set(specs) == {"w", "c", "customerio.operations", "dodo-customerio.dead-letters"}
    assert (specs["w"].partitions, specs["w"].configs["retention.ms"]) == (12, "2592000000")
    assert specs["c"].partitions_like == "w"
    assert specs["c"].configs["cleanup.policy"] == "compact"
    assert specs["dodo-customerio.dead-letters"].partitions == 3


def test_fewer_partitions_for_development() -> None:
    """`at_most_partitions` lowers counts and raises none."""
    counts = [spec.partitions for spec in load_specs(Settings.load(), at_most_partitions=4)]
    assert sorted(counts) == [3, 4, 4, 4]


def test_one_topic_in_two_files_is_refused(tmp_path: Path) -> None:
    """Two files for the same setting would overwrite each other."""
    for name in ("a", "b"):
        (tmp_path / f"{name}.yaml").write_text(
            f"topic: {name}\nsetting: webhooks_topic\npartitions: 1\nconfigs: {{}}\n"
        )
    with pytest.raises(InputError, match=r"two files specify topic dodo\.webhooks"):
        load_specs(Settings.load(), directory=tmp_path)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("- a\n", "mapping"),
        ("topic: [\n", "cannot be read"),
        ("topic: 2026-02-30\n", "cannot be read"),
        ("[" * 20_000, "cannot be read"),
        ("topic: t\nsetting: webhooks_topic\npartitions: 3\nconfig: {}\n", "unknown field config"),
        ("topic: t\nsetting: lanes\npartitions: 3\nconfigs: {}\n", "topic setting"),
        ("topic: t\nsetting: webhooks_topic\nconfigs: {}\n", "one of partitions"),
        ("topic: t\nsetting: webhooks_topic\npartitions: 0\nconfigs: {}\n", "from 1 to"),
        ("topic: t\nsetting: webhooks_topic\npartitions: yes\nconfigs: {}\n", "from 1 to"),
        ("topic: t\nsetting: webhooks_topic\npartitions: 3\n", "configs"),
        ("topic: t\nsetting: webhooks_topic\npartitions: 3\nconfigs: {a: [1]}\n", "single value"),
        ("topic: t\nsetting: webhooks_topic\npartitions_like: u\nconfigs: {}\n", "partitions_like must name"),
    ],
)
def test_a_faulty_file_is_named(tmp_path: Path, text: str, says: str) -> None:
    """A malformed topic file is refused with its path and the field at fault."""
    (tmp_path / "t.yaml").write_text(text)
    with pytest.raises(InputError, match=says) as caught:
        load_specs(Settings.load(), directory=tmp_path)
    assert "t.yaml" in str(caught.value)


def test_an_empty_directory_is_refused(tmp_path: Path) -> None:
    """A wrong directory must not look like a cluster that needs nothing."""
    with pytest.raises(InputError, match="no topic files"):
        load_specs(Settings.load(), directory=tmp_path)


def test_a_name_that_no_directory_has(tmp_path: Path) -> None:
    """The file system's own refusal is one message, too."""
    with pytest.raises(InputError, match="cannot be read"):
        load_specs(Settings.load(), directory=tmp_path / ("x" * 5000))


def names_of_its_own(kafka: SharedKafka) -> Settings:
    """Settings whose topics do not exist."""
    prefix = uuid.uuid4().hex[:10]
    names = {f"{name}_topic": f"{prefix}.{name}" for name in ("webhooks", "operations", "dead_letters", "customers")}
    return Settings.load(kafka_bootstrap_servers=kafka.bootstrap_servers, **names)


@pytest.mark.kafka
async def test_apply_on_kafka(kafka: SharedKafka) -> None:
    """What apply made, the cluster reports back as equal; what others set on a topic survives a change of ours."""
    settings = names_of_its_own(kafka)
    specs = load_specs(settings, at_most_partitions=2)
    done: list[object] = []
    todo = plan(specs, await actual_topics(settings, specs))
    assert await apply(settings, todo, done=done.append) == ()
    assert done == list(todo.steps)
    assert plan(specs, await actual_topics(settings, specs)).is_empty

    async with open_admin(settings) as admin:
        await admin.set_configs(settings.webhooks_topic, {"segment.ms": "3600000", "retention.ms": "1000"})
    found = plan(specs, await actual_topics(settings, specs))
    assert found.steps == (ChangeConfig(settings.webhooks_topic, "retention.ms", "1000", "2592000000"),)
    await apply(settings, found)
    topic = (await actual_topics(settings, specs))[settings.webhooks_topic]
    assert (topic.configs["retention.ms"], topic.configs["segment.ms"]) == ("2592000000", "3600000")


@pytest.mark.kafka
async def test_partitions_grow_only_when_asked(kafka: SharedKafka) -> None:
    """Held partitions are left out and returned; asked for, both the webhooks and the customers grow."""
    settings = names_of_its_own(kafka)
    small, large = (load_specs(settings, at_most_partitions=count) for count in (2, 3))
    await apply(settings, plan(small, {}))
    held = await apply(settings, plan(large, await actual_topics(settings, large)))
    assert {step.topic for step in held} == {
        settings.webhooks_topic,
        settings.operations_topic,
        settings.dead_letters_topic,
    }
    flow = [settings.webhooks_topic, settings.customers_topic]
    assert await check_topics(settings, flow) == dict.fromkeys(flow, 2)
    assert await apply(settings, plan(large, await actual_topics(settings, large), add_partitions=True)) == ()
    assert await check_topics(settings, flow) == dict.fromkeys(flow, 3)


@pytest.mark.kafka
async def test_a_refusal_has_the_cluster_s_reason(kafka: SharedKafka) -> None:
    """A replication factor that the cluster cannot give is refused with its own words."""
    settings = names_of_its_own(kafka)
    with pytest.raises(TopicError, match=r"was not created.*[Rr]eplication"):
        await apply(settings, plan(load_specs(settings, replication_factor=3), {}))


@pytest.mark.kafka
async def test_a_bad_value_has_the_cluster_s_reason(
    chain_settings: Callable[..., Awaitable[Settings]],
) -> None:
    """A value that the cluster refuses is reported with the topic and the reason."""
    settings = await chain_settings(partitions=1)
    change = ChangeConfig(settings.webhooks_topic, "retention.ms", "1", "soon")
    with pytest.raises(TopicError, match=r"was not changed.*retention\.ms"):
        await apply(settings, Plan((change,)))


@pytest.mark.kafka
async def test_check_names_what_is_missing(chain_settings: Callable[..., Awaitable[Settings]]) -> None:
    """A start check names the missing topics and the command, and counts the partitions of the others."""
    settings = await chain_settings(partitions=3)
    assert await check_topics(settings, [settings.webhooks_topic]) == {settings.webhooks_topic: 3}
    with pytest.raises(TopicError, match=r"topics nope-1, nope-2 do not exist.*dodo-cio topics apply"):
        await check_topics(settings, ["nope-1", settings.webhooks_topic, "nope-2"])


async def test_no_broker() -> None:
    """Nobody listening is said at once, with the setting to check."""
    settings = Settings.load(kafka_bootstrap_servers=f"127.0.0.1:{free_port()}")
    with pytest.raises(BrokerUnreachableError, match=r"nothing listens there.*PIPELINE_KAFKA_BOOTSTRAP_SERVERS"):
        await check_topics(settings, ["t"])
