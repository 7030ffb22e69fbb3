"""The webhook path: every request gets the right answer, and nothing an attacker sends becomes a 5xx."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.dodo import samples
from pipeline.dodo.signature import sign
from pipeline.http.body import (
    BodyError,
    BodyIncompleteError,
    BodyTooLargeError,
    BodyTooSlowError,
    OverloadedError,
)
from pipeline.ingest import PATH
from pipeline.ingest.app import create_app
from pipeline.ingest.events import RequestEnded
from pipeline.ingest.records import MAX_BODY_BYTES
from pipeline.ingest.store import NotStored
from pipeline.settings import Settings

LIVE = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
TEST = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
BODY = samples.load("payment.succeeded--krw")

Signed = Callable[..., dict[str, str]]


@pytest.mark.parametrize("name", samples.names())
async def test_every_sample_is_accepted_as_it_is(name: str, edge: Any, ask: Any, signed: Signed) -> None:
    """Every known body, and the unknown type, is stored byte for byte and answered `200 {}`."""
    body = samples.load(name)
    answer = await ask(edge.app, signed(body), body)
    assert (answer.status, answer.body) == (200, b"{}")
    [(topic, record)] = edge.store.records
    assert (topic, record.value) == ("w", body)


async def test_an_observer_that_raises_changes_no_answer(edge: Any, ask: Any, signed: Signed) -> None:
    """What is stored is answered 200 whoever fails to hear of it: Dodo would send it again."""

    def broken(event: object) -> None:
        raise ZeroDivisionError(event)

    edge.endpoint.observers = [broken, edge.events.append]
    answer = await ask(edge.app, signed(BODY), BODY)
    assert answer.status == 200
    assert [event.outcome for event in edge.events if isinstance(event, RequestEnded)] == ["accepted"]


@pytest.mark.parametrize(("secret", "mode"), [(LIVE, b"live"), (TEST, b"test")])
async def test_the_secret_says_the_mode(secret: str, mode: bytes, edge: Any, ask: Any, signed: Signed) -> None:
    """Which secret fits is written into the record."""
    await ask(edge.app, signed(BODY, secret=secret), BODY)
    [(_, record)] = edge.store.records
    assert dict(record.headers)["dodo-mode"] == mode


async def test_the_time_of_reception_is_written(edge: Any, ask: Any, signed: Signed) -> None:
    """The header `received-at` is our clock in milliseconds."""
    before = time.time() * 1000
    await ask(edge.app, signed(BODY), BODY)
    [(_, record)] = edge.store.records
    assert before - 1 <= int(dict(record.headers)["received-at"]) <= time.time() * 1000


async def test_a_body_in_parts_is_one_body(edge: Any, ask: Any, signed: Signed) -> None:
    """How the bytes arrive makes no difference."""
    answer = await ask(edge.app, signed(BODY), *[BODY[n : n + 7] for n in range(0, len(BODY), 7)])
    assert answer.status == 200
    assert edge.store.records[0][1].value == BODY


async def test_a_reserialised_body_is_refused(edge: Any, ask: Any, signed: Signed) -> None:
    """A relay that parses and writes the JSON anew changes bytes, and the signature no longer fits."""
    answer = await ask(edge.app, signed(BODY), json.dumps(json.loads(BODY)).encode())
    assert answer.status == 401
    assert edge.store.records == []


@pytest.mark.parametrize(
    "change",
    [
        {"webhook-signature": "v1,AAAA"},
        {"webhook-signature": ""},
        {"webhook-timestamp": "1"},
        {"webhook-timestamp": "4102444800"},
        {"webhook-timestamp": "now"},
        {"webhook-id": "msg_2"},
    ],
)
async def test_what_is_forged_or_stale_is_401(change: dict[str, str], edge: Any, ask: Any, signed: Signed) -> None:
    """The answer says what is wrong, and nothing is stored."""
    answer = await ask(edge.app, signed(BODY) | change, BODY)
    assert answer.status == 401
    assert json.loads(answer.body)["error"]
    assert edge.store.records == []


@pytest.mark.parametrize("body", [b"", b"not json", b"[]", b"\xff\xfe", b'{"type":"a"}', b"{" * 5000])
async def test_genuine_but_unreadable_is_kept(body: bytes, edge: Any, ask: Any, signed: Signed) -> None:
    """A retry would not help, so it is accepted, as a dead letter."""
    answer = await ask(edge.app, signed(body), body)
    assert (answer.status, answer.body) == (200, b"{}")
    [(topic, record)] = edge.store.records
    assert (topic, record.value) == ("d", body)
    assert dict(record.headers)["dlq-class"] == b"unreadable"


async def test_without_confirmation_it_is_503(edge: Any, ask: Any, signed: Signed) -> None:
    """When the record is not durable, Dodo is asked to come again."""
    edge.store.answer = NotStored("no confirmation within 7 s")
    answer = await ask(edge.app, signed(BODY), BODY)
    assert answer.status == 503
    assert int(answer.headers["retry-after"]) > 0


async def test_the_largest_body_is_accepted(edge: Any, ask: Any, signed: Signed) -> None:
    """Exactly the cap passes."""
    body = b'{"type":"a.b","data":{"x":"' + b"y" * (MAX_BODY_BYTES - 30) + b'"}}'
    body += b" " * (MAX_BODY_BYTES - len(body))
    assert (await ask(edge.app, signed(body), body)).status == 200


async def test_hanging_up_mid_body_leaves_nothing(edge: Any, ask: Any, signed: Signed) -> None:
    """A client that goes away gets no answer, stores nothing and holds no memory."""
    assert await ask(edge.app, signed(BODY), BODY[:100], None) is None
    assert edge.store.records == []
    [ended] = edge.events
    assert ended.outcome == "client-gone"


@pytest.mark.parametrize(
    ("error", "status", "outcome"),
    [
        (BodyTooLargeError("large"), 413, "too-large"),
        (BodyTooSlowError("slow"), 408, "too-slow"),
        (BodyIncompleteError("half"), 400, "incomplete"),
        (OverloadedError("much"), 503, "overloaded"),
    ],
)
async def test_a_body_that_does_not_come_is_answered(
    error: BodyError, status: int, outcome: str, edge: Any, signed: Signed
) -> None:
    """Why there is no body is the answer, never that no signature fits."""
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        raise error

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    raw = [(name.encode(), value.encode()) for name, value in signed(BODY).items()]
    await edge.endpoint({"type": "http", "method": "POST", "headers": raw}, receive, send)
    assert sent[0]["status"] == status
    assert dict(sent[0]["headers"])[b"connection"] == b"close"
    assert [event.outcome for event in edge.events] == [outcome]
    assert edge.store.records == []


@pytest.mark.parametrize("apart", [", ", ",", " , "])
async def test_signatures_in_two_fields_or_joined_by_a_proxy(apart: str, edge: Any, ask: Any, signed: Signed) -> None:
    """A list may stand in several fields, or be joined by a comma (RFC 9110 §5.3); one that fits is enough."""
    headers = signed(BODY)
    good = headers.pop("webhook-signature")
    others = [(name.encode(), value.encode()) for name, value in headers.items()]
    for fields in (["v1,AAAA", good], [good, "v1a,BBBB"], [f"v1,AAAA{apart}{good}"], [f"{good}{apart}v1,AAAA"]):
        raw = [*others, *((b"webhook-signature", field.encode()) for field in fields)]
        assert (await ask(edge.app, raw, BODY)).status == 200, fields


async def test_a_request_cancelled_by_the_stop_is_503(edge: Any, ask: Any, signed: Signed) -> None:
    """A stop that cannot wait any longer asks Dodo to come again instead of failing."""
    edge.store.gate = asyncio.Event()
    waiting = asyncio.create_task(ask(edge.app, signed(BODY), BODY))
    await asyncio.sleep(0)
    waiting.cancel()
    answer = await waiting
    assert answer.status == 503


async def test_each_request_is_told_once(edge: Any, ask: Any, signed: Signed) -> None:
    """Observers see one record a request, with how it ended."""
    await ask(edge.app, signed(BODY), BODY)
    await ask(edge.app, {}, BODY)
    accepted, forged = edge.events
    assert isinstance(accepted, RequestEnded)
    assert (accepted.outcome, accepted.status, accepted.type, accepted.mode) == (
        "accepted",
        200,
        "payment.succeeded",
        "live",
    )
    assert accepted.size_bytes == len(BODY)
    assert (forged.outcome, forged.status, forged.mode) == ("forged", 401, None)


async def test_the_dates_of_genuine_requests_are_told(edge: Any, ask: Any, signed: Signed) -> None:
    """Of those that are taken and of those that are refused for their time; a date that nobody signed is none."""
    now = signed(BODY)
    old = sign(LIVE, "msg_1", 1_000_000_000, BODY)
    for headers in (now, old, {**old, "webhook-timestamp": "1000000001"}):
        await ask(edge.app, headers, BODY)
    assert [(event.outcome, event.dated_s, event.skew_s is None) for event in edge.events] == [
        ("accepted", int(now["webhook-timestamp"]), True),
        ("forged", 1_000_000_000, False),
        ("forged", None, True),
    ]


@pytest.fixture
def whole_app() -> Any:
    """The complete application, not connected: a request that got to the store would be answered 503."""
    return create_app(Settings.load(dodo_webhook_secrets=LIVE))


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"])
async def test_other_methods_are_405(method: str, whole_app: Any, ask: Any) -> None:
    """The answer names the method that is allowed."""
    answer = await ask(whole_app, {}, b"", method=method)
    assert answer.status == 405
    assert answer.headers["allow"] == "POST"


@pytest.mark.parametrize(
    "path", ["/", "/webhooks", f"{PATH}/", f"{PATH}/x", "//webhooks/dodo", "/docs", "/Webhooks/Dodo"]
)
async def test_other_paths_are_404(path: str, whole_app: Any, ask: Any) -> None:
    """Nothing is redirected, since Dodo takes a redirect for a failure; the answer names the path."""
    answer = await ask(whole_app, {}, b"", path=path)
    assert answer.status == 404
    assert PATH in json.loads(answer.body)["error"]


@pytest.mark.parametrize("content_type", [None, "text/plain", "application/x-www-form-urlencoded", "é", "x" * 5000])
async def test_the_content_type_does_not_matter(content_type: str | None, edge: Any, ask: Any, signed: Signed) -> None:
    """What is signed is bytes."""
    headers = signed(BODY) | ({"content-type": content_type} if content_type else {})
    assert (await ask(edge.app, headers, BODY)).status == 200


header_names = st.sampled_from(
    [
        b"webhook-id",
        b"webhook-timestamp",
        b"webhook-signature",
        b"content-length",
        b"content-type",
        b"content-encoding",
        b"transfer-encoding",
        b"expect",
        b"traceparent",
        b"host",
        b"x",
    ]
)
header_values = st.binary(max_size=80) | st.sampled_from(
    [b"v1,", b"v1,a,b", b"v1", b"nan", b"1e999", b"-1", b"9" * 400, b"100-continue", b"\xff\xfe", b"v1,\xe9"]
)


@given(st.lists(st.tuples(header_names, header_values), max_size=12), st.lists(st.binary(max_size=200), max_size=4))
@settings(max_examples=300)
def test_no_request_makes_a_5xx(ask: Any, raw: list[tuple[bytes, bytes]], parts: list[bytes]) -> None:
    """Whatever headers and body an attacker sends, the answer is 4xx, without an exception."""
    app = create_app(Settings.load(dodo_webhook_secrets=LIVE, dodo_test_webhook_secrets=TEST))
    answer = asyncio.run(ask(app, raw, *parts))
    assert answer is not None
    assert 400 <= answer.status < 500


@given(
    st.binary(max_size=300)
    | st.text(max_size=100).map(str.encode)
    | st.dictionaries(st.text(), st.none()).map(json.dumps).map(str.encode)
)
@settings(max_examples=200)
def test_every_signed_body_is_kept(make_edge: Any, ask: Any, signed: Signed, body: bytes) -> None:
    """Whatever a genuine sender signs is stored byte for byte, as a webhook or as a dead letter."""
    edge = make_edge()
    answer = asyncio.run(ask(edge.app, signed(body), body))
    assert answer is not None
    assert answer.status == 200
    [(topic, record)] = edge.store.records
    assert topic in {"w", "d"}
    assert record.value == body
