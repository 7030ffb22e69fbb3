"""Asking the other stages: only those that are named, within bounds, whatever they answer."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from pipeline.http.bind import bind
from pipeline.http.server import Server
from pipeline.kafka.local.broker import free_port
from pipeline.settings import Peer
from pipeline.watch.page.peers import DOCUMENT_BYTES, Heard, Peers
from pipeline.watch.server import LIMITS
from tests.watch.page.building import document

PATIENCE_S = 300.0

Answer = Callable[[Request], Awaitable[Response]]


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """How long a peer may take is no matter here, but where a test says so."""
    monkeypatch.setattr("pipeline.watch.page.peers.WITHIN_S", PATIENCE_S)


@asynccontextmanager
async def answering(answer: Answer) -> AsyncIterator[Peer]:
    """A peer that answers /stage.json so, as a sink."""
    listener = bind("127.0.0.1", 0)
    server = Server(Starlette(routes=[Route("/stage.json", answer)]), listener, LIMITS)
    server.start()
    try:
        yield Peer("sink", "127.0.0.1", listener.getsockname()[1])
    finally:
        await server.stop(0.0)


async def ask(peer: Peer) -> Heard:
    """What comes of asking it once."""
    (found,) = await Peers([peer]).heard()
    return found


async def well(_: Request) -> Response:
    """A sink that is well."""
    return Response(document("sink").model_dump_json(), media_type="application/json")


async def test_a_peer_tells_its_document() -> None:
    """And is asked as it is named, over plain HTTP."""
    hosts: list[str] = []

    async def answer(request: Request) -> Response:
        hosts.append(request.headers["host"])
        return await well(request)

    async with answering(answer) as peer:
        assert await ask(peer) == Heard(peer, (document("sink"),))
    assert hosts == [peer.address]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (PlainTextResponse("nothing here", 404), "answers 404: is it the port of its probes?"),
        (RedirectResponse("http://127.0.0.1:1/elsewhere"), "answers 307: is it the port of its probes?"),
        (PlainTextResponse("hello"), "answers with what is no status of a stage"),
        (JSONResponse({"stage": "sink"}), "answers with what is no status of a stage"),
        (PlainTextResponse("x" * (DOCUMENT_BYTES + 1)), "answers with more than 32,768 bytes: is it a stage?"),
        (Response(gzip.compress(b" " * 2**24), headers={"content-encoding": "gzip"}),
         "answers with what is no status of a stage"),
        (Response(document("transform").model_dump_json()), "is a transform, and PIPELINE_PEERS calls it sink"),
    ],
)  # fmt: skip
async def test_answers_of_somebody_else(answer: Response, said: str) -> None:
    """Whatever answers at the port, the page says what is wrong, follows nothing and unpacks nothing."""

    async def answered(_: Request) -> Response:
        return answer

    async with answering(answered) as peer:
        assert await ask(peer) == Heard(peer, fault=f"{peer.address} {said}")


async def test_nobody_listens() -> None:
    """A closed port and a name that nobody has are said as such."""
    closed = Peer("sink", "127.0.0.1", free_port())
    assert await ask(closed) == Heard(closed, fault=f"{closed.address} does not answer (ConnectError)")
    nameless = Peer("sink", "nobody.invalid", 8082)
    assert await ask(nameless) == Heard(
        nameless, fault="nobody.invalid:8082 does not answer: its name is not known here"
    )


async def test_a_peer_that_trickles(monkeypatch: pytest.MonkeyPatch) -> None:
    """A byte now and then does not hold the page: the bound is on the whole exchange."""
    monkeypatch.setattr("pipeline.watch.page.peers.WITHIN_S", 2.0)  # to connect may take a part of it
    over, ended = asyncio.Event(), asyncio.Event()

    async def trickle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
        while not over.is_set() and not writer.is_closing():
            writer.write(b" ")
            await asyncio.sleep(0.01)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
        ended.set()

    async with await asyncio.start_server(trickle, "127.0.0.1", 0) as server:
        peer = Peer("sink", "127.0.0.1", server.sockets[0].getsockname()[1])
        found = await ask(peer)
        over.set()
        await ended.wait()
    assert found == Heard(peer, fault=f"{peer.address} does not answer (ReadTimeout)")


async def test_one_round_at_a_time_and_none_too_soon() -> None:
    """Many open pages cost a peer one request in two seconds; nobody looks, nothing is asked."""
    asked, now = [0], [100.0]

    async def answer(request: Request) -> Response:
        asked[0] += 1
        return await well(request)

    async with answering(answer) as peer:
        peers = Peers([peer], clock=lambda: now[0])
        assert asked == [0]
        first, *others = await asyncio.gather(*(peers.heard() for _ in range(10)))
        assert others == [first] * 9
        assert asked == [1]
        now[0] += 1.9
        await peers.heard()
        assert asked == [1]
        now[0] += 0.1
        await peers.heard()
        assert asked == [2]


async def test_every_address_of_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind one name can be several processes, each of which is asked; one that does not answer hides no other."""
    async with answering(well) as peer:
        addresses = ["127.0.0.1", "127.0.0.2"]

        def resolved(_: str, port: int, **__: object) -> list[tuple[object, ...]]:
            return [(0, 0, 0, "", (address, port)) for address in addresses]

        monkeypatch.setattr("pipeline.watch.page.peers.socket.getaddrinfo", resolved)
        named = Peer("sink", "sinks.example.com", peer.port)
        assert await ask(named) == Heard(named, (document("sink"),))
        addresses.reverse()
        assert await ask(named) == Heard(named, (document("sink"),))


async def test_a_dns_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is said in time, and takes none of the threads in which the stage's own names are looked up."""
    monkeypatch.setattr("pipeline.watch.page.peers.WITHIN_S", 0.2)
    over, threads = threading.Event(), set[str]()

    def hang(*_: object, **__: object) -> list[object]:
        threads.add(threading.current_thread().name)
        over.wait(PATIENCE_S)
        raise socket.gaierror

    monkeypatch.setattr("pipeline.watch.page.peers.socket.getaddrinfo", hang)
    now = [0.0]
    peers = Peers([Peer("sink", f"sink-{number}.example.com", 8082) for number in range(8)], clock=lambda: now[0])
    try:
        for _ in range(3):
            now[0] += 10.0
            assert all(one.fault and one.fault.endswith("its name is not known here") for one in await peers.heard())
    finally:
        over.set()
    assert len(threads) == 2
    assert all(name.startswith("status-page-names") for name in threads)


async def test_proxies_are_not_for_peers(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the environment says of the way outside is not the way to a neighbour."""
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("NO_PROXY", "")
    async with answering(well) as peer:
        assert (await ask(peer)).documents
