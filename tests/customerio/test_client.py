"""The client sends once, never cancels, and says what may have happened."""

from __future__ import annotations

import asyncio
import base64
import gc
import gzip
import logging
import sys
from collections.abc import Awaitable, Callable

import httpx
import pytest
from pydantic import SecretStr

from pipeline.customerio.client import ANSWER_MAX_BYTES, TrackClient
from pipeline.customerio.timeouts import Timeouts
from pipeline.errors import RequestUnansweredError, SettingsError

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
RawServer = Callable[[Handler], Awaitable[str]]

KEY = "k-3f9a52d1c0"
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n{}\n"


def answering(
    handler: Callable[[httpx.Request], httpx.Response], url: str = "https://track.example.com"
) -> TrackClient:
    """A client whose network is `handler`."""
    return TrackClient(url, "site", KEY, transport=httpx.MockTransport(handler))


async def read_request(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """Head and body of one request."""
    head = await reader.readuntil(b"\r\n\r\n")
    fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:] if b": " in line)
    return head, await reader.readexactly(int(fields.get(b"content-length", b"0")))


async def test_the_request_is_exact() -> None:
    """The body travels byte for byte, to the batch path, as JSON, uncompressed, with standard Basic credentials."""
    seen: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(207, headers={"X-Any": "1"}, content=b'{"errors":[]}')

    body = b'{"batch":[ {"a":"\xc3\xa9"} ]}'
    async with answering(handler, "https://track.example.com/prefix/") as client:
        response = await client.send_batch(body)
    request = seen[0]
    assert (request.method, str(request.url)) == ("POST", "https://track.example.com/prefix/api/v2/batch")
    assert request.content == body
    assert request.headers["content-type"] == "application/json"
    assert request.headers["accept-encoding"] == "identity"
    assert "content-encoding" not in request.headers
    assert request.headers["user-agent"].startswith("dodo-customerio/")
    assert base64.standard_b64decode(request.headers["authorization"].removeprefix("Basic ")) == f"site:{KEY}".encode()
    assert (response.status, response.headers["x-any"], response.body) == (207, "1", b'{"errors":[]}')


async def test_credentials_are_standard_base64() -> None:
    """Bytes that the URL-safe alphabet writes differently come as the standard says."""
    seen: list[str] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers["authorization"])
        return httpx.Response(200)

    transport = httpx.MockTransport(handler)
    async with TrackClient("https://track.example.com", " s>>>", SecretStr("???\n"), transport=transport) as client:
        await client.ask_region()
    assert seen == ["Basic " + base64.b64encode(b"s>>>:???").decode()]
    assert set(seen[0]) & {"+", "/"}


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_redirects_are_not_followed(status: int) -> None:
    """The credentials never go where an answer points."""
    seen: list[str] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request.url.host)
        return httpx.Response(status, headers={"location": "https://track-eu.example.com/api/v2/batch"})

    async with answering(handler) as client:
        response = await client.send_batch(b"{}")
    assert response.status == status
    assert seen == ["track.example.com"]


async def test_a_refused_connection_was_not_sent(raw_server: RawServer) -> None:
    """Without a connection nothing can have arrived, and the error says so."""

    async def never(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        raise AssertionError("connected")

    free = await raw_server(never)
    port = int(free.rsplit(":", 1)[1])
    async with TrackClient(f"http://127.0.0.2:{port}", "site", KEY) as client:
        with pytest.raises(RequestUnansweredError) as caught:
            await client.send_batch(b"{}")
    assert caught.value.sent is False


@pytest.mark.parametrize(
    "answer",
    [b"", b"HTTP/1.1 200 OK\r\ncontent-le", b"HTTP/1.1 200 OK\r\ncontent-length: 30\r\n\r\n{", b"nonsense\r\n\r\n"],
    ids=["nothing", "half-headers", "half-body", "not-http"],
)
async def test_a_broken_answer_may_have_been_sent(raw_server: RawServer, answer: bytes) -> None:
    """A connection that ends before a whole answer leaves it open whether the batch was applied."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(answer)
        await writer.drain()

    async with TrackClient(await raw_server(handler), "site", KEY) as client:
        with pytest.raises(RequestUnansweredError) as caught:
            await client.send_batch(b"{}")
    assert caught.value.sent is True


async def test_after_the_deadline_the_request_goes_on(raw_server: RawServer) -> None:
    """The caller gets its error, the request is not cancelled, and closing waits for its end."""
    given_up = asyncio.Event()
    answered = asyncio.Event()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        await given_up.wait()
        writer.write(OK)
        await writer.drain()
        answered.set()
        assert await reader.read() == b""  # the client read it all, and closed its idle connection only afterwards

    client = TrackClient(await raw_server(handler), "site", KEY, timeouts=Timeouts(deadline_s=0.05))
    with pytest.raises(RequestUnansweredError, match=r"within 0\.05 s") as caught:
        await client.send_batch(b"{}")
    assert caught.value.sent is True
    assert client.in_flight == 1
    given_up.set()
    await client.aclose()
    assert client.in_flight == 0
    assert answered.is_set()


async def test_a_cancelled_caller_does_not_cancel_the_request(raw_server: RawServer) -> None:
    """A caller that goes away leaves the request running; its connection is reused afterwards."""
    arrived, gone = asyncio.Event(), asyncio.Event()
    connections = 0

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await read_request(reader)
        arrived.set()
        await gone.wait()
        writer.write(OK)
        await read_request(reader)
        writer.write(OK)
        await writer.drain()

    client = TrackClient(await raw_server(handler), "site", KEY)
    caller = asyncio.create_task(client.send_batch(b"{}"))
    await arrived.wait()
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert client.in_flight == 1
    gone.set()
    await client.drained()
    assert client.in_flight == 0
    assert (await client.send_batch(b"{}")).status == 200
    assert connections == 1
    await client.aclose()


async def test_an_answer_that_trickles_is_ended(raw_server: RawServer) -> None:
    """Bytes that keep coming cannot keep a request alive for ever."""
    client = TrackClient(await raw_server(trickling("body")), "site", KEY, timeouts=Timeouts(answer_s=0.1))
    with pytest.raises(RequestUnansweredError, match="did not end its answer") as caught:
        await client.send_batch(b"{}")
    assert caught.value.sent is True
    await client.aclose()


TRICKLES = {
    "headers": (b"HTTP/1.1 200 OK\r\nx: ", b"x"),
    "interim answers": (b"", b"HTTP/1.1 102 Processing\r\n\r\n"),
    "body": (b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n", b" "),
    "chunks": (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
}


def trickling(kind: str) -> Handler:
    """Begins an answer and never ends it."""
    head, drop = TRICKLES[kind]

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(head)
        while not writer.is_closing():
            writer.write(drop)
            await writer.drain()
            await asyncio.sleep(0.01)

    return handler


@pytest.mark.parametrize("kind", TRICKLES)
async def test_a_trickle_ends_and_frees_its_slot(raw_server: RawServer, kind: str) -> None:
    """Whatever trickles, every request of a full pool ends by itself at the answer's limit, its connection is closed,
    and as many others have room."""  # noqa: D205, D209 - one promise
    trickle, slots, closed = trickling(kind), 4, asyncio.Semaphore(0)
    well = False

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not well:
            try:
                await trickle(reader, writer)
            finally:
                closed.release()
        else:
            await read_request(reader)
            writer.write(OK)
            await writer.drain()
            await reader.read()

    timeouts = Timeouts(deadline_s=0.05, answer_s=2.0)
    client = TrackClient(await raw_server(handler), "site", KEY, lanes=1, timeouts=timeouts)
    sent = await asyncio.gather(*(client.send_batch(b"{}") for _ in range(slots)), return_exceptions=True)
    assert [(type(error), getattr(error, "sent", None)) for error in sent] == [(RequestUnansweredError, True)] * slots
    assert client.in_flight == slots
    await client.drained()
    assert client.in_flight == 0
    for _ in range(slots):
        await closed.acquire()
    well = True
    client._timeouts = Timeouts(deadline_s=60.0, answer_s=60.0)
    answers = await asyncio.gather(*(client.send_batch(b"{}") for _ in range(slots)))
    assert [answer.status for answer in answers] == [200] * slots
    await client.aclose()


async def test_a_trickle_through_a_proxy_ends_as_well(raw_server: RawServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy that the environment names is bounded like the host behind it."""
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", await raw_server(trickling("headers")))
    timeouts = Timeouts(answer_s=0.2)
    async with TrackClient("http://track.example.com", "site", KEY, lanes=1, timeouts=timeouts) as client:
        with pytest.raises(RequestUnansweredError, match=r"did not end its answer within 0\.2 s"):
            await client.send_batch(b"{}")


async def test_headers_that_trickle_cannot_hold_a_shutdown(raw_server: RawServer) -> None:
    """Closing waits, but not for ever."""
    timeouts = Timeouts(deadline_s=0.05, close_s=0.1)
    client = TrackClient(await raw_server(trickling("headers")), "site", KEY, timeouts=timeouts)
    with pytest.raises(RequestUnansweredError):
        await client.send_batch(b"{}")
    await client.aclose()
    assert client.in_flight == 0


async def test_an_endless_answer_is_cut() -> None:
    """Memory is bounded whatever the server sends."""
    async with answering(lambda _: httpx.Response(200, content=b" " * (ANSWER_MAX_BYTES + 1))) as client:
        with pytest.raises(RequestUnansweredError, match="more than 8,000,000 bytes"):
            await client.send_batch(b"{}")


async def test_a_compressed_answer_is_read_all_the_same() -> None:
    """A proxy that compresses unasked does not make the answer unreadable."""
    answer = httpx.Response(200, headers={"content-encoding": "gzip"}, content=gzip.compress(b"{}"))
    async with answering(lambda _: answer) as client:
        assert (await client.send_batch(b"{}")).body == b"{}"


async def test_a_full_pool_was_not_sent(raw_server: RawServer) -> None:
    """When no connection comes free the error says that nothing left."""
    released = asyncio.Event()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        await released.wait()
        writer.write(OK)
        await writer.drain()

    timeouts = Timeouts(deadline_s=60.0, pool_s=0.05)
    client = TrackClient(await raw_server(handler), "site", KEY, lanes=1, timeouts=timeouts)
    first = [asyncio.create_task(client.send_batch(b"{}")) for _ in range(4)]
    with pytest.raises(RequestUnansweredError, match="PoolTimeout") as caught:
        await asyncio.gather(*first, client.send_batch(b"{}"))
    assert caught.value.sent is False
    released.set()
    assert [(await task).status for task in first] == [200] * 4
    await client.aclose()


async def test_secrets_stay_inside(caplog: pytest.LogCaptureFixture) -> None:
    """The key is in no text that the client makes, whatever the log level."""
    caplog.set_level(logging.DEBUG)

    def handler(_: httpx.Request) -> httpx.Response:
        raise httpx.ReadError("reset")

    async with answering(handler) as client:
        with pytest.raises(RequestUnansweredError) as caught:
            await client.send_batch(b"{}")
        texts = [repr(client), str(client), repr(caught.value), repr(vars(client)), caplog.text]
    encoded = base64.b64encode(f"site:{KEY}".encode()).decode()
    assert all(KEY not in text and encoded not in text for text in texts)


@pytest.mark.parametrize(
    ("url", "site_id", "variable"),
    [
        ("track.customer.io", "site", "PIPELINE_CUSTOMERIO_URL"),
        ("https://", "site", "PIPELINE_CUSTOMERIO_URL"),
        ("ftp://track.customer.io", "site", "PIPELINE_CUSTOMERIO_URL"),
        ("https://track\x07.example.com", "site", "PIPELINE_CUSTOMERIO_URL"),
        ("https://site:secret-k@track.customer.io", "site", "PIPELINE_CUSTOMERIO_URL"),
        ("https://track.customer.io?key=secret-k", "site", "PIPELINE_CUSTOMERIO_URL"),
        ("https://track.customer.io", "site:secret-k", "PIPELINE_CUSTOMERIO_SITE_ID"),
    ],
)
def test_settings_that_cannot_work_are_named(url: str, site_id: str, variable: str) -> None:
    """A wrong address or id is refused by the name of its variable, without its value."""
    with pytest.raises(SettingsError, match=variable) as caught:
        TrackClient(url, site_id, KEY)
    assert "secret-k" not in str(caught.value)


def test_the_import_path_is_not_searched_for_every_request() -> None:
    """Python knows whether there is a `sniffio`, which httpcore asks for several times a request."""
    assert "sniffio" in sys.modules


async def test_a_body_is_free_once_its_answer_is_there(raw_server: RawServer) -> None:
    """No cycle keeps request and body in memory until a collection: the sink makes those rare."""

    def alive() -> int:
        return sum(isinstance(one, httpx.Request | httpx.ByteStream) for one in gc.get_objects())

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await read_request(reader)
            writer.write(OK)

    async with TrackClient(await raw_server(answer), "site", KEY) as client:
        await client.send_batch(b"{}")
        gc.collect()
        gc.disable()
        try:
            before = alive()
            for _ in range(5):
                await client.send_batch(b"{}")
            assert alive() == before
        finally:
            gc.enable()
