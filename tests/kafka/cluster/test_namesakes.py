"""Which topic was probably meant."""

from __future__ import annotations

import pytest

from pipeline.kafka.cluster.namesakes import namesakes


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
