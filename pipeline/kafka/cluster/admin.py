"""The admin client: requests to the cluster, in this project's words.

The one place for them, as Kafka's own `Admin` is: `topic_admin` has what is about topics, `group_admin` what is about
consumer groups, and `requests` sends each to a broker that can answer it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiokafka.protocol.admin import ApiVersionRequest
from aiokafka.protocol.metadata import MetadataRequest

from pipeline.kafka.cluster.group_admin import GroupAdmin
from pipeline.kafka.cluster.topic_admin import TopicAdmin
from pipeline.kafka.requests import PATIENCE_S, To, open_requests
from pipeline.settings import Settings


@asynccontextmanager
async def open_admin(
    settings: Settings, *, connect_within_s: float = 0.0, patience_s: float = PATIENCE_S
) -> AsyncIterator[Admin]:
    """A connected `Admin`, closed at the end.

    Args:
        settings: where the brokers are.
        connect_within_s: how long a broker may take that listens to nobody yet; a wrong password is reported at once.
        patience_s: how long a request is sent to one broker after the other until one answers.

    Raises:
        BrokerUnreachableError: no broker could be reached, or it refused us; later, no broker answered a request.
        SettingsError: the connection's settings cannot be used.
    """
    async with open_requests(settings, connect_within_s=connect_within_s, patience_s=patience_s) as requests:
        yield Admin(requests)


@asynccontextmanager
async def sharing(settings: Settings, admin: Admin | None, *, connect_within_s: float = 0.0) -> AsyncIterator[Admin]:
    """`admin`, which its owner closes; without one a connection of its own, as of `open_admin`."""
    if admin is not None:
        yield admin
        return
    async with open_admin(settings, connect_within_s=connect_within_s) as own:
        yield own


class Admin(TopicAdmin, GroupAdmin):
    """A connection for requests to the cluster; made by `open_admin`.

    Every method may raise `BrokerUnreachableError` when no broker answers for as long as is waited for one.
    """

    async def ready(self) -> None:
        """Return when the cluster has a controller and somebody answers: right after its start it has neither."""
        await self._requests.ask(MetadataRequest([]), lambda _: (), to=To.CONTROLLER)

    async def brokers(self) -> dict[int, dict[int, int]]:
        """By the id of each broker that the cluster has: the newest version of each request that it knows.

        Empty for one that does not answer.
        """
        await self.ready()
        found: dict[int, dict[int, int]] = {}
        for node in self._requests.brokers:
            answer = await self._requests.ask_one(node, ApiVersionRequest())
            found[node] = {} if answer is None else {key: newest for key, _oldest, newest in answer.api_versions}
        return found
