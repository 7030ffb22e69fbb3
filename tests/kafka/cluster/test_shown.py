"""A value that was set on a topic is there for whoever looks next."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.kafka.cluster.topic_admin import DYNAMIC_TOPIC_CONFIG, SHOWN_RETRY_S, SHOWN_WITHIN_S, TopicAdmin
from pipeline.kafka.reach import Heard
from pipeline.kafka.requests import Requests
from tests.kafka.test_requests import Cluster
from tests.virtual import run_virtual


def _asked(*values: str | None, code: int = 0) -> int:
    """How often the cluster is asked to set "9", whose brokers show these values in turn and then the last for ever."""

    def says(attempt: int) -> Any:
        if attempt == 1:
            return SimpleNamespace(responses=[(0, None, 2, "orders")])
        value = values[min(attempt - 2, len(values) - 1)]
        entries = [("retention.ms", value, False, DYNAMIC_TOPIC_CONFIG)]
        return SimpleNamespace(resources=[(code, None, 2, "orders", entries)])

    cluster = Cluster({1: says})
    run_virtual(TopicAdmin(Requests(cluster, Heard())).set_configs("orders", {"retention.ms": "9"}))
    return len(cluster.asked)


@pytest.mark.parametrize(("values", "asked"), [(("9",), 2), (("1", "1", "9"), 4), ((None, "9"), 3)])
def test_it_is_waited_for(values: tuple[str | None, ...], asked: int) -> None:
    """A broker is asked until it shows what was set: it hears of it a moment after the controller decided."""
    assert _asked(*values) == asked


def test_but_not_for_ever() -> None:
    """A cluster may write a value in another way than it was given."""
    assert _asked("9.0") == pytest.approx(SHOWN_WITHIN_S / SHOWN_RETRY_S, abs=3)


def test_nobody_waits_for_what_he_may_not_see() -> None:
    """Without DescribeConfigs on the topic the order counts as it was answered."""
    assert _asked("1", code=29) == 2
