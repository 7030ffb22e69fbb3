"""A broken connection is Kafka's error, on whatever event loop and in whatever turn of it."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import uvloop
from aiokafka import conn
from aiokafka.errors import KafkaConnectionError
from aiokafka.protocol.metadata import MetadataRequest

from pipeline.ingest import server
from pipeline.kafka.connection import Connection, use_our_connections
from pipeline.kafka.worker.app import BatchApp
from pipeline.kafka.worker.process import BatchWorker
from pipeline.settings import Settings
from tests.listening import listening

METADATA = 3
RESET = struct.pack("ii", 1, 0)
"""SO_LINGER of 0 s: closing sends RST, as the kernel does for a killed process with unread bytes."""


@pytest.fixture
def theirs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections of aiokafka's own for one test."""
    monkeypatch.setattr(conn, "AIOKafkaConnection", Connection.__bases__[0])


@pytest.fixture
def ours(theirs: None) -> None:  # noqa: ARG001 - it puts back what was there
    """Our connections for one test."""
    use_our_connections()


@asynccontextmanager
async def dying_broker() -> AsyncIterator[int]:
    """The port of a broker that tells its versions and resets the connection at the next request."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        (size,) = struct.unpack(">i", await reader.readexactly(4))
        _, _, correlation_id = struct.unpack(">hhi", (await reader.readexactly(size))[:8])
        answer = struct.pack(">ihi", correlation_id, 0, 1) + struct.pack(">hhh", METADATA, 0, 5)
        writer.write(struct.pack(">i", len(answer)) + answer)
        if await reader.read(4):
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        writer.transport.abort()

    async with listening(serve) as port:
        yield port


async def send_until_it_breaks() -> list[BaseException]:
    """Every error of a client that sends in each turn of the loop while its broker dies."""
    async with dying_broker() as port:
        connection = await conn.create_conn("127.0.0.1", port)
        sent: list[asyncio.Future[object]] = []
        try:
            async with asyncio.timeout(30):
                while connection.connected():
                    sent.append(asyncio.ensure_future(connection.send(MetadataRequest([]))))
                    await asyncio.sleep(0)
        except (RuntimeError, KafkaConnectionError) as error:
            return [error]
        finally:
            connection.close()
            answers = await asyncio.gather(*sent, return_exceptions=True)
        return [answer for answer in answers if isinstance(answer, BaseException)]


@pytest.mark.usefixtures("ours")
@pytest.mark.parametrize("run", [uvloop.run, asyncio.run], ids=["uvloop", "asyncio"])
def test_a_request_into_a_broken_connection_is_kafka_s_error(run: Callable[..., list[BaseException]]) -> None:
    """Also in the one turn in which the connection is lost and aiokafka does not know it yet."""
    errors = run(send_until_it_breaks())
    assert errors
    assert {type(error) for error in errors} == {KafkaConnectionError}


@pytest.mark.usefixtures("theirs")
def test_the_fault_is_still_there() -> None:
    """The library's own connection lets uvloop's error through: when this fails, ours is not needed any more."""
    assert RuntimeError in {type(error) for error in uvloop.run(send_until_it_breaks())}


@pytest.mark.usefixtures("ours")
async def test_another_runtime_error_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug is not taken for a lost connection."""
    async with dying_broker() as port:
        connection = await conn.create_conn("127.0.0.1", port)
        assert isinstance(connection, Connection)

        def fail(*_: object) -> None:
            raise RuntimeError("a bug")

        monkeypatch.setattr(connection._writer, "write", fail)
        with pytest.raises(RuntimeError, match="a bug"):
            connection.send(MetadataRequest([]))
        await connection.close()


@pytest.mark.usefixtures("theirs")
def test_processes_on_uvloop_use_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Ingest before it connects, workers before their app does."""
    settings = Settings.load(data_dir=tmp_path)

    def run(serving: Coroutine[object, object, None]) -> None:
        serving.close()
        assert conn.AIOKafkaConnection is Connection

    monkeypatch.setattr(uvloop, "run", run)
    server.run(settings, lambda _: None)
    monkeypatch.setattr(conn, "AIOKafkaConnection", Connection.__bases__[0])
    app = BatchApp("group", settings=settings, batch_topics=["topic"], stage="transform")
    BatchWorker(app, loop=asyncio.new_event_loop()).loop.close()
    assert conn.AIOKafkaConnection is Connection
