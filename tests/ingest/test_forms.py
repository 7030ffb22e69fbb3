"""HTTP as it is spoken: each odd form of a request, the RFC section that it is about, and the answer."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import pytest

from pipeline.dodo import samples
from pipeline.ingest import PATH

BODY: Final = samples.load("payment.succeeded")
LENGTH: Final = f"content-length: {len(BODY)}"
CLOSE: Final = "connection: close"

Signed = Callable[..., dict[str, str]]


class Form(NamedTuple):
    """One row: what is unusual, where that is written, the request (`$` stands for its signed fields), the answers."""

    what: str
    section: str
    lines: tuple[str, ...]
    statuses: tuple[int, ...]
    body: bytes = BODY
    says: str = ""


def chunked(body: bytes, size: int = 100, extension: bytes = b"", trailer: bytes = b"") -> bytes:
    """The same body in chunks."""
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%X%s\r\n%s\r\n" % (len(part), extension, part) for part in parts) + b"0\r\n" + trailer + b"\r\n"


POST: Final = f"POST {PATH} HTTP/1.1"
HOST: Final = "host: x"
CHUNKED: Final = "transfer-encoding: chunked"
UPGRADE: Final = "connection: Upgrade, HTTP2-Settings"

FORMS: Final = (
    # Taken as any other webhook.
    Form("as a client writes it", "RFC 9112 §2.1", (POST, HOST, "$", LENGTH, CLOSE), (200,)),
    Form("HTTP/1.0", "RFC 9112 §2.3", (f"POST {PATH} HTTP/1.0", "$", LENGTH), (200,)),
    Form(
        "HTTP/1.0 that asks to stay",
        "RFC 9112 §9.3",
        (f"POST {PATH} HTTP/1.0", "$", LENGTH, "connection: keep-alive"),
        (200,),
    ),
    Form(
        "absolute form",
        "RFC 9112 §3.2.2",
        (f"POST http://shop.example.com{PATH} HTTP/1.1", HOST, "$", LENGTH, CLOSE),
        (200,),
    ),
    Form("a query", "RFC 9112 §3.2.1", (f"POST {PATH}?a=b%20c HTTP/1.1", HOST, "$", LENGTH, CLOSE), (200,)),
    Form(
        "a path with escapes", "RFC 3986 §6.2.2.2", ("POST /%77ebhooks/dodo HTTP/1.1", HOST, "$", LENGTH, CLOSE), (200,)
    ),
    Form("upper-case names", "RFC 9110 §5.1", (POST, "HOST: x", "$UPPER", LENGTH.upper(), CLOSE), (200,)),
    Form(
        "blanks around values",
        "RFC 9110 §5.5",
        (POST, HOST, "$BLANKS", f"content-length:\t {len(BODY)} \t", CLOSE),
        (200,),
    ),
    Form(
        "no blank before a value",
        "RFC 9112 §5",
        (POST, "host:x", "$TIGHT", f"content-length:{len(BODY)}", CLOSE),
        (200,),
    ),
    Form("blank lines before the request", "RFC 9112 §2.2", ("", "", POST, HOST, "$", LENGTH, CLOSE), (200,)),
    Form("chunked", "RFC 9112 §7.1", (POST, HOST, "$", CHUNKED, CLOSE), (200,), chunked(BODY)),
    Form(
        "chunked, coding in capitals",
        "RFC 9112 §7",
        (POST, HOST, "$", "transfer-encoding: Chunked", CLOSE),
        (200,),
        chunked(BODY),
    ),
    Form(
        "chunk extensions", "RFC 9112 §7.1.1", (POST, HOST, "$", CHUNKED, CLOSE), (200,), chunked(BODY, 500, b";a=b;c")
    ),
    Form("a trailer", "RFC 9112 §7.1.2", (POST, HOST, "$", CHUNKED, CLOSE), (200,), chunked(BODY, trailer=b"x: y\r\n")),
    Form(
        "upgrade to h2c",
        "RFC 9110 §7.8",
        (POST, HOST, "$", LENGTH, UPGRADE, "upgrade: h2c", "http2-settings: AAMAAABkAAQCAAAA"),
        (200,),
    ),
    Form(
        "upgrade to a WebSocket",
        "RFC 9110 §7.8",
        (POST, HOST, "$", LENGTH, "connection: upgrade", "upgrade: websocket"),
        (200,),
    ),
    Form(
        "upgrade, chunked", "RFC 9110 §7.8", (POST, HOST, "$", CHUNKED, UPGRADE, "upgrade: h2c"), (200,), chunked(BODY)
    ),
    Form(
        "expectation of 100", "RFC 9110 §10.1.1", (POST, HOST, "$", LENGTH, "Expect: 100-Continue", CLOSE), (100, 200)
    ),
    Form(
        "two signature fields, the second fits",
        "RFC 9110 §5.3",
        (POST, HOST, "webhook-signature: v1,AAAA", "$", LENGTH, CLOSE),
        (200,),
    ),
    Form("joined signatures, blank", "RFC 9110 §5.3", (POST, HOST, "$JOINED, ", LENGTH, CLOSE), (200,)),
    Form("joined signatures, no blank", "RFC 9110 §5.3", (POST, HOST, "$JOINED,", LENGTH, CLOSE), (200,)),
    Form("two requests behind each other", "RFC 9112 §9.3.2", (POST, HOST, "$", LENGTH), (200, 200), BODY + b"$AGAIN"),
    Form("two chunked ones", "RFC 9112 §9.3.2", (POST, HOST, "$", CHUNKED), (200, 200), chunked(BODY) + b"$AGAIN"),
    # Other methods and paths.
    Form("GET on the webhook path", "RFC 9110 §15.5.6", (f"GET {PATH} HTTP/1.1", HOST, CLOSE), (405,), b""),
    Form("HEAD on a probe", "RFC 9110 §9.3.2", ("HEAD /probe HTTP/1.1", HOST, CLOSE), (200,), b""),
    Form("GET on a probe", "RFC 9110 §9.3.1", ("GET /probe HTTP/1.1", HOST, CLOSE), (200,), b"", "here"),
    Form("GET with a body", "RFC 9110 §9.3.1", ("GET /probe HTTP/1.1", HOST, LENGTH, CLOSE), (200,), BODY, "here"),
    Form("OPTIONS of the server", "RFC 9110 §9.3.7", ("OPTIONS * HTTP/1.1", HOST, CLOSE), (404,), b""),
    Form("authority form", "RFC 9112 §3.2.3", ("CONNECT shop.example.com:443 HTTP/1.1", HOST, CLOSE), (400,), b""),
    # Refused, with the reason.
    Form(
        "fewer bytes than declared",
        "RFC 9112 §8",
        (POST, HOST, "$", f"content-length: {len(BODY) + 1}"),
        (400,),
        BODY,
        "ended before",
    ),
    Form(
        "chunks that end early", "RFC 9112 §8", (POST, HOST, "$", CHUNKED), (400,), chunked(BODY)[:-5], "ended before"
    ),
    Form("a head that ends early", "RFC 9112 §8", (POST, HOST, "$", "x"), (400,), b"", "head"),
    Form("length and coding", "RFC 9112 §6.1", (POST, HOST, "$", LENGTH, CHUNKED), (400,), chunked(BODY)),
    Form("two lengths", "RFC 9112 §6.3", (POST, HOST, "$", LENGTH, "content-length: 1"), (400,)),
    Form("a list of lengths", "RFC 9112 §6.3", (POST, HOST, "$", f"{LENGTH}, {len(BODY)}"), (400,)),
    Form("a length with a sign", "RFC 9110 §8.6", (POST, HOST, "$", f"content-length: +{len(BODY)}"), (400,)),
    Form(
        "another coding",
        "RFC 9112 §6.1",
        (POST, HOST, "$", "transfer-encoding: gzip, chunked"),
        (400,),
        chunked(BODY),
        "coding",
    ),
    Form(
        "coding in HTTP/1.0", "RFC 9112 §6.1", (f"POST {PATH} HTTP/1.0", "$", CHUNKED), (400,), chunked(BODY), "coding"
    ),
    Form("a chunk without a size", "RFC 9112 §7.1", (POST, HOST, "$", CHUNKED), (400,), b"zz\r\n"),
    Form("a folded field", "RFC 9112 §5.2", (POST, HOST, "$", "x: y\r\n z", LENGTH), (400,)),
    Form("a blank before the colon", "RFC 9112 §5.1", (POST, HOST, "$", f"content-length : {len(BODY)}"), (400,)),
    Form("bare line feeds", "RFC 9112 §2.2", (f"{POST}\nhost: x\n",), (400,), b""),
    Form("HTTP/2 without asking", "RFC 9113 §3.3", ("PRI * HTTP/2.0", "", "SM"), (400,), b""),
    Form("HTTP/0.9", "RFC 9112 §2.3", (f"GET {PATH}",), (400,), b""),
    Form("TLS", "RFC 8446 §4.1.2", ("\x16\x03\x01\x02",), (400,), b""),
    Form(
        "signature in a trailer",
        "RFC 9110 §6.5.1",
        (POST, HOST, "$UNSIGNED", CHUNKED, CLOSE),
        (401,),
        b"$TRAILER",
        "missing",
    ),
)


def written(form: Form, signed: Signed) -> bytes:
    """The request's bytes."""
    fields = signed(BODY)
    signature = fields["webhook-signature"]
    spelt = {
        "$": lambda name, value: f"{name}: {value}",
        "$UPPER": lambda name, value: f"{name.upper()}: {value}",
        "$BLANKS": lambda name, value: f"{name}:  \t{value} \t ",
        "$TIGHT": lambda name, value: f"{name}:{value}",
        "$UNSIGNED": lambda name, value: f"{name}: {value}" if name != "webhook-signature" else "x: y",
    }
    lines = []
    for line in form.lines:
        if line.startswith("$JOINED"):
            apart = line.removeprefix("$JOINED")
            fields["webhook-signature"] = f"v1,AAAA{apart}{signature}"
            line = "$"  # noqa: PLW2901 - the joined ones are written as the others
        lines += [spelt[line](*field) for field in fields.items()] if line in spelt else [line]
    body = form.body.replace(b"$TRAILER", chunked(BODY, trailer=f"webhook-signature: {signature}\r\n".encode()))
    request = "\r\n".join([*lines, "", ""]).encode("latin-1") + body
    first, again, _ = request.partition(b"$AGAIN")
    return first + first if again else request


@pytest.mark.parametrize("form", FORMS, ids=lambda form: f"{form.what}: {form.section}")
@pytest.mark.parametrize("size", [2**20, 3], ids=["at once", "in threes"])
async def test_a_form(form: Form, size: int, served: Any, signed: Signed) -> None:
    """The answer is the same however the bytes arrive, and a stored body is byte for byte what was signed."""
    request = written(form, signed)
    reader, writer = await asyncio.open_connection(*served.address)
    with contextlib.suppress(ConnectionError):  # what is refused early is not read to its end
        for at in range(0, len(request), size):
            writer.write(request[at : at + size])
            await asyncio.sleep(0)
        writer.write_eof()
    answer = await reader.read()
    writer.close()
    assert tuple(int(found) for found in re.findall(rb"HTTP/1\.1 (\d{3})", answer)) == form.statuses
    assert form.says.encode() in answer
    stored = 0 if "/probe" in form.lines[0] else form.statuses.count(200)
    assert [record.value for _, record in served.store.records] == [BODY] * stored
