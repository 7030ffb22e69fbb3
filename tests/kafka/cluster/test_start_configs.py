"""How a topic is set that would lose records: refused or warned of by name, and never claimed where it is not known."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

import pytest
from structlog.testing import capture_logs

from pipeline.errors import TopicError
from pipeline.kafka.cluster.admin import open_admin
from pipeline.kafka.cluster.start_checks import UNSAFE, check_configs, config_faults
from pipeline.kafka.cluster.topics import load_specs
from pipeline.settings import Settings

SETTINGS = Settings.load()
SAFE = {"cleanup.policy": "delete", "retention.ms": "604800000", "min.insync.replicas": "2"}


def faults(topic: str, values: Mapping[str, str], replicas: int = 3) -> list[tuple[str, bool]]:
    """Settings that are wrong, and whether the start is refused."""
    return [(one.setting, one.fatal) for one in config_faults(SETTINGS, topic, {**SAFE, **values}, replicas)]


@pytest.mark.parametrize(
    ("topic", "values", "replicas", "expected"),
    [
        (SETTINGS.webhooks_topic, {}, 3, []),
        (SETTINGS.webhooks_topic, {"retention.ms": "86399999"}, 3, [("retention.ms", False)]),
        (SETTINGS.webhooks_topic, {"retention.ms": "86400000"}, 3, []),
        (SETTINGS.webhooks_topic, {"retention.ms": "-1"}, 3, []),
        (SETTINGS.operations_topic, {"retention.ms": "1000"}, 3, []),
        (SETTINGS.webhooks_topic, {"cleanup.policy": "compact,delete"}, 3, [("cleanup.policy", False)]),
        (SETTINGS.customers_topic, {"cleanup.policy": "compact"}, 3, []),
        (SETTINGS.customers_topic, {"cleanup.policy": "delete"}, 3, [("cleanup.policy", True)]),
        (SETTINGS.customers_topic, {"cleanup.policy": "compact, delete"}, 3, [("cleanup.policy", True)]),
        (SETTINGS.dead_letters_topic, {"min.insync.replicas": "1"}, 3, [("min.insync.replicas", False)]),
        (SETTINGS.dead_letters_topic, {"min.insync.replicas": "1"}, 1, []),
        (
            SETTINGS.customers_topic,
            {"cleanup.policy": "compact", "message.timestamp.type": "CreateTime"},
            3,
            [("message.timestamp.type", False)],
        ),
        (
            SETTINGS.operations_topic,
            {"unclean.leader.election.enable": "true"},
            3,
            [("unclean.leader.election.enable", False)],
        ),
    ],
)
def test_what_is_wrong(topic: str, values: dict[str, str], replicas: int, expected: list[tuple[str, bool]]) -> None:
    """Each fault by its setting, and nothing else."""
    assert faults(topic, values, replicas) == expected


def test_our_own_topics_are_safe() -> None:
    """What `topics apply` makes is neither refused nor warned of."""
    for spec in load_specs(SETTINGS):
        assert config_faults(SETTINGS, spec.name, {**SAFE, **spec.configs}, 3) == []


@pytest.mark.kafka
async def test_on_kafka(chain_settings: Callable[..., Awaitable[Settings]]) -> None:
    """Warned of with topic, setting, value and reason; a customers' topic that would expire is refused, with a cure."""
    settings = await chain_settings(partitions=1)
    topics = (settings.webhooks_topic, settings.customers_topic)
    with capture_logs() as told:
        await check_configs(settings, topics)
    assert told == []
    async with open_admin(settings) as admin:
        await admin.set_configs(settings.webhooks_topic, {"retention.ms": "3600000"})
    with capture_logs() as told:
        await check_configs(settings, topics)
    (line,) = told
    assert (line["event"], line["topic"], line["setting"], line["value"]) == (
        UNSAFE, settings.webhooks_topic, "retention.ms", "3600000"
    )  # fmt: skip
    async with open_admin(settings) as admin:
        await admin.set_configs(settings.customers_topic, {"cleanup.policy": "delete"})
    with pytest.raises(TopicError, match=rf"topic {settings.customers_topic}: cleanup.policy is delete.*topics apply"):
        await check_configs(settings, topics)
