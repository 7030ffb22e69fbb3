"""Connections for the HTTP pool: what arrives, what leaves, and how each way to end is told."""

from __future__ import annotations

import asyncio
import datetime as dt
import ipaddress
import socket
import ssl
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

import httpcore
import httpx
import pytest
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from pipeline import sockets
from pipeline.customerio.client import TrackClient
from pipeline.kafka.local.ports import free_port
from pipeline.sockets import Backend
from tests.listening import Handler, listening

Runner = Callable[[Coroutine[Any, Any, None]], None]
LOOPS = pytest.mark.parametrize("run", [uvloop.run, asyncio.run], ids=["uvloop", "asyncio"])
HOST = "127.0.0.1"


async def connected(port: int) -> httpcore.AsyncNetworkStream:
    """A connection to the server at `port`."""
    return await Backend().connect_tcp(HOST, port, timeout=30)


def serving(handler: Handler, use: Callable[[int], Awaitable[None]]) -> Coroutine[Any, Any, None]:
    """`use`, with the port of a server whose connections `handler` serves."""

    async def both() -> None:
        async with listening(handler) as port:
            await use(port)

    return both()


class Recording(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Note it."""
        self.written.append(bytes(data))

    def is_closing(self) -> bool:
        """Never."""
        return False


async def test_a_request_is_one_write() -> None:
    """Head and body leave together, once httpcore says that nothing follows or wants to read."""
    transport = Recording()
    stream = sockets.Stream(sockets._Wire(), transport)
    await stream.write(b"head ")
    await stream.write(b"body")
    assert transport.written == []
    await stream.write(b"")
    assert transport.written == [b"head body"]
    await stream.write(b"another")
    with pytest.raises(httpcore.ReadTimeout):
        await stream.read(10, timeout=0)
    assert transport.written == [b"head body", b"another"]


async def test_much_does_not_wait() -> None:
    """What is larger than any request of ours leaves although more may follow."""
    transport = Recording()
    stream = sockets.Stream(sockets._Wire(), transport)
    await stream.write(b"x" * sockets.HELD_BYTES)
    assert [len(one) for one in transport.written] == [sockets.HELD_BYTES]


@LOOPS
def test_bytes_travel_both_ways(run: Runner) -> None:
    """More than any buffer holds comes back as it was sent, in pieces no larger than asked for."""
    sent = bytes(range(256)) * 8_000

    async def mirror(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()

    async def use(port: int) -> None:
        stream = await connected(port)
        writing = asyncio.ensure_future(stream.write(sent, timeout=30))
        came = b""
        while len(came) < len(sent):
            part = await stream.read(40_000, timeout=30)
            assert 0 < len(part) <= 40_000
            came += part
        await writing
        assert came == sent
        await stream.aclose()

    run(serving(mirror, use))


@LOOPS
def test_a_server_that_does_not_read_times_the_write_out(run: Runner) -> None:
    """The time is that of one write, whatever the loop still holds."""

    async def deaf(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        await asyncio.Event().wait()

    async def use(port: int) -> None:
        stream = await connected(port)
        with pytest.raises(httpcore.WriteTimeout):
            await stream.write(b"x" * 64 * sockets.HELD_BYTES, timeout=0.05)
        await stream.aclose()

    run(serving(deaf, use))


@LOOPS
def test_the_server_s_end_is_the_end(run: Runner) -> None:
    """What came before is read first; then nothing comes, and nothing can be written."""

    async def say_goodbye(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(1)
        writer.write(b"goodbye")

    async def use(port: int) -> None:
        stream = await connected(port)
        await stream.write(b"?")
        came = b""
        while part := await stream.read(3, timeout=30):
            came += part
        assert came == b"goodbye"
        assert stream.get_extra_info("is_readable")
        with pytest.raises(httpcore.WriteError):
            await stream.write(b"x" * sockets.HELD_BYTES, timeout=30)
        await stream.aclose()

    run(serving(say_goodbye, use))


@LOOPS
def test_a_broken_connection_is_an_error(run: Runner) -> None:
    """A reset is no end of an answer."""

    async def break_off(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(1)
        one = writer.get_extra_info("socket")
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        writer.transport.abort()

    async def use(port: int) -> None:
        stream = await connected(port)
        await stream.write(b"?")
        with pytest.raises(httpcore.ReadError):
            await stream.read(10, timeout=30)
        await stream.aclose()

    run(serving(break_off, use))


@LOOPS
def test_an_idle_connection_tells_that_its_server_left(run: Runner) -> None:
    """Before the loop has heard of it: the pool asks ahead of a request, in the same turn."""

    async def leave(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.readexactly(1)

    async def use(port: int) -> None:
        stream = await connected(port)
        assert not stream.get_extra_info("is_readable")
        await stream.write(b"?")
        await stream.write(b"")
        while not stream.get_extra_info("is_readable"):  # noqa: ASYNC110 - it is what is tested
            await asyncio.sleep(0)
        await stream.aclose()

    run(serving(leave, use))


@LOOPS
def test_nobody_there_is_a_connect_error(run: Runner) -> None:
    """Which the client takes for: nothing was sent."""

    async def use() -> None:
        with pytest.raises(httpcore.ConnectError):
            await Backend().connect_tcp(HOST, free_port(), timeout=30)
        with pytest.raises(httpcore.ConnectError):
            await Backend().connect_tcp("nobody.invalid", 443, timeout=30)

    run(use())


@LOOPS
def test_a_connection_that_takes_too_long_times_out(run: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    """As httpcore tells it."""

    async def hang(*_: object) -> socket.socket:
        never: asyncio.Future[socket.socket] = asyncio.get_running_loop().create_future()
        return await never

    monkeypatch.setattr(sockets, "dialed", hang)

    async def use() -> None:
        with pytest.raises(httpcore.ConnectTimeout):
            await Backend().connect_tcp(HOST, 1, timeout=0.02)

    run(use())


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for this host, signed by itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "example.com")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1)).not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(HOST))]), critical=False)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    pem = tmp_path_factory.mktemp("tls") / "server.pem"
    pem.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + made.public_bytes(serialization.Encoding.PEM)
    )
    return pem


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Every request with how long its body was."""
    while True:
        head = await reader.readuntil(b"\r\n\r\n")
        fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:] if b": " in line)
        body = b"%d" % len(await reader.readexactly(int(fields.get(b"content-length", b"0"))))
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))


@LOOPS
def test_tls(run: Runner, certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server whose certificate is trusted is spoken to, again and again on one connection; another is not."""
    theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    theirs.load_cert_chain(certificate)
    seen: list[asyncio.StreamWriter] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(writer)
        await _answer(reader, writer)

    async def use() -> None:
        server = await asyncio.start_server(answer, HOST, 0, ssl=theirs)
        url = f"https://{HOST}:{server.sockets[0].getsockname()[1]}"
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        async with TrackClient(url, "site", "key") as client:
            for size in (10, 400_000, 1):
                assert (await client.send_batch(b"x" * size)).body == b"%d" % size
        assert len(seen) == 1
        monkeypatch.delenv("SSL_CERT_FILE")
        async with httpcore.AsyncConnectionPool(
            network_backend=Backend(), ssl_context=httpx.create_ssl_context()
        ) as pool:
            with pytest.raises(httpcore.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
                await pool.request("GET", url)
        server.close()

    run(use())
