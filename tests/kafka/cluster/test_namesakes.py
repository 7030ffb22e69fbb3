"""Which topic was probably meant."""

from __future__ import annotations

import pytest

from pipeline.deadletters.reader import open_letter_reader
from pipeline.errors import TopicError
from pipeline.kafka.cluster.namesakes import namesakes
from pipeline.kafka.cluster.topics import check_topics
from tests.conftest import ChainSettings


@pytest.mark.parametrize(
    ("missing", "existing", "found"),
    [
        (["dodo.webhooks"], {"shop.dodo.webhooks", "customerio.operations"}, ["shop.dodo.webhooks"]),
        (["dodo.webhooks"], {"shop-dodo.webhooks"}, ["shop-dodo.webhooks"]),
        (["shop.dodo.webhooks"], {"dodo.webhooks"}, ["dodo.webhooks"]),
        (["a.dodo.webhooks"], {"b.dodo.webhooks"}, ["b.dodo.webhooks"]),
        (["dodo.webhooks", "customerio.operations"], {"z.dodo.webhooks", "a.customerio.operations"},
         ["a.customerio.operations", "z.dodo.webhooks"]),
        (["dodo.webhooks"], {"dodo.customers", "other.webhooks", "__consumer_offsets"}, []),
        (["dodo.webhooks"], set(), []),
    ],
)  # fmt: skip
def test_namesakes(missing: list[str], existing: set[str], found: list[str]) -> None:
    """The same name but for its prefix, and no other."""
    assert namesakes(missing, existing) == found


@pytest.mark.kafka
async def test_a_topic_of_another_prefix_is_named(chain_settings: ChainSettings) -> None:
    """Whoever asks for a topic that is missing hears of the one that is called alike, and of the setting to change."""
    settings = await chain_settings(partitions=1)
    topic = settings.dead_letters_topic
    astray = settings.model_copy(update={"dead_letters_topic": f"shop.{topic}"})
    with pytest.raises(TopicError, match="does not exist") as caught:
        async with open_letter_reader(astray):
            pass
    assert f"There is {topic}: if that is meant, set PIPELINE_DEAD_LETTERS_TOPIC as its owner does" in str(caught.value)
    with pytest.raises(TopicError) as caught:
        await check_topics(settings, ["no-such-topic"])
    assert "if that is meant" not in str(caught.value)
