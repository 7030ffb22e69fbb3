"""Between the question whether a record may leave and its bytes nothing awaits."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import NodeNotReadyError
from aiokafka.protocol.metadata import MetadataRequest
from aiokafka.protocol.produce import ProduceRequest

from pipeline.kafka.producer.write_gate import WriteGate
from pipeline.kafka.reconnect import steady

NODE = 1
PRODUCE = ProduceRequest(required_acks=-1, timeout=1000, topics=[], transactional_id=None)


class Connection:
    """Up, and answers at once; notes what was true when a request was written."""

    def __init__(self, frozen: list[bool]) -> None:
        self.frozen = frozen
        self.wrote_while_frozen: list[bool] = []

    def connected(self) -> bool:
        """Always."""
        return True

    def send(self, _request: Any, **_: Any) -> asyncio.Future[str]:
        """Written now."""
        self.wrote_while_frozen.append(self.frozen[0])
        answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        answer.set_result("stored")
        return answer


def client_with(connection: Connection) -> Any:
    """The real client, as every producer of ours has it, with one connection."""
    client = steady(AIOKafkaClient(bootstrap_servers="127.0.0.1:1"))
    client._conns[NODE, 0] = connection
    return client


async def test_no_turn_of_the_loop_lies_between_question_and_bytes() -> None:
    """A process that is replaced in the next turn has written its record before, not after."""
    frozen = [False]
    connection = Connection(frozen)
    client = client_with(connection)

    def may_write() -> bool:
        asyncio.get_running_loop().call_soon(frozen.__setitem__, 0, True)
        return True

    WriteGate(SimpleNamespace(client=client), may_write)
    assert await client.send(NODE, PRODUCE) == "stored"
    await asyncio.sleep(0)
    assert (connection.wrote_while_frozen, frozen) == ([False], [True])


async def test_only_records_wait() -> None:
    """Metadata and the like are asked for as ever; a record that waits leaves when it may, and never after a cut."""
    connection = Connection([False])
    client = client_with(connection)
    gate = WriteGate(SimpleNamespace(client=client), lambda: False)
    assert await client.send(NODE, MetadataRequest([])) == "stored"
    waiting = asyncio.ensure_future(client.send(NODE, PRODUCE))
    await asyncio.sleep(0)
    assert not waiting.done()
    gate.cut()
    with pytest.raises(NodeNotReadyError, match="given up"):
        await waiting
    assert len(connection.wrote_while_frozen) == 1
