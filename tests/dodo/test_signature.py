"""Signatures: genuine ones pass, everything else is a SignatureError."""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import hmac
import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks.webhooks import Webhook

from pipeline.dodo.signature import Verifier, sign
from pipeline.errors import SettingsError, SignatureError
from pipeline.settings import Settings

NOW = 1614265330
LIVE = "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
LIVE_NEXT = "whsec_" + base64.b64encode(b"n" * 32).decode()
TEST = "whsec_" + base64.b64encode(b"t" * 24).decode()
OTHER = "whsec_" + base64.b64encode(b"x" * 24).decode()
BODY = '{"name":"한지우"}'.encode()


def _verifier(live: Sequence[str] = (LIVE, LIVE_NEXT), test: Sequence[str] = (TEST,), now: float = NOW) -> Verifier:
    return Verifier(live, test, clock=lambda: now)


def _headers(signature: str, **others: str) -> dict[str, str]:
    return {"webhook-id": "msg_1", "webhook-timestamp": str(NOW), "webhook-signature": signature} | others


def _signature(secret: str = LIVE, body: bytes = BODY) -> str:
    return sign(secret, "msg_1", NOW, body)["webhook-signature"]


def test_the_published_vector_is_reproduced() -> None:
    """The test vector of the Standard Webhooks libraries comes out and goes in."""
    body = b'{"test": 2432232314}'
    signed = sign(LIVE, "msg_p5jXN8AQM9LWM0D4loKWxJek", NOW, body)
    assert signed["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    assert _verifier().verify(signed, body) == "live"


@given(
    key=st.binary(min_size=24, max_size=64),
    body=st.text(max_size=200),
    wid=st.from_regex(r"[!-~]{1,40}", fullmatch=True),
)
def test_signatures_equal_the_reference_librarys(key: bytes, body: str, wid: str) -> None:
    """For every key, id and text the reference library makes the same signature."""
    secret = f"whsec_{base64.b64encode(key).decode()}"
    at = dt.datetime.fromtimestamp(NOW, tz=dt.UTC)
    theirs = Webhook(secret).sign(wid, at, body)
    assert sign(secret, wid, NOW, body.encode())["webhook-signature"] == theirs


@given(st.binary(max_size=300))
def test_any_bytes_can_be_signed(body: bytes) -> None:
    """A body that is not text has a signature like any other, since what is signed is bytes."""
    assert _verifier().verify(sign(TEST, "msg_1", NOW, body), body) == "test"


@pytest.mark.parametrize(("secret", "mode"), [(LIVE, "live"), (LIVE_NEXT, "live"), (TEST, "test")])
def test_the_secret_tells_the_mode(secret: str, mode: str) -> None:
    """Each secret of both lists is tried, and the one that fits says live or test."""
    assert _verifier().verify(_headers(_signature(secret)), BODY) == mode


@pytest.mark.parametrize(
    "listed",
    [
        "v1,AAAA {good}",
        "{good} v1,AAAA",
        "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg== {good}",
        "garbage {good}",
        "v1 {good}",
        "v1,a,b {good}",
        "v1,=== {good}",
        "v1,é {good}",
        "  {good}  ",
        "v2,{good} {good}",
    ],
)
def test_one_good_item_is_enough(listed: str) -> None:
    """Nothing that stands beside a good v1 item can hide it."""
    assert _verifier().verify(_headers(listed.format(good=_signature())), BODY) == "live"


@pytest.mark.parametrize(
    "refused",
    [
        _headers(_signature(OTHER)),
        _headers(_signature(body=BODY + b" ")),
        _headers(_signature(body=json.dumps(json.loads(BODY)).encode())),
        _headers(_signature().replace("v1,", "v1a,")),
        _headers(_signature().removeprefix("v1,")),
        _headers(_signature()[:-4]),
        _headers("v1,"),
        _headers("v1"),
        _headers(","),
        _headers(" "),
        _headers("v1,é"),
        _headers(""),
        _headers(_signature(), **{"webhook-id": "msg_2"}),
        _headers(_signature(), **{"webhook-id": ""}),
        _headers(_signature(), **{"webhook-id": "msg_1\x00"}),
        _headers(_signature(), **{"webhook-id": "é"}),
        _headers(_signature(), **{"webhook-id": "m" * 256}),
        _headers(_signature(), **{"webhook-timestamp": str(NOW + 1)}),
        {},
        {"webhook-id": "msg_1", "webhook-timestamp": str(NOW)},
        {"webhook-id": "msg_1", "webhook-signature": _signature()},
        {"webhook-timestamp": str(NOW), "webhook-signature": _signature()},
    ],
)
def test_what_is_not_genuine_is_refused(refused: dict[str, str]) -> None:
    """A wrong secret, a changed or re-serialised body, another id, and malformed or missing headers are refused."""
    with pytest.raises(SignatureError):
        _verifier().verify(refused, BODY)


@pytest.mark.parametrize(
    "timestamp",
    [
        f"{NOW}.9",
        f"{NOW}.0",
        "1e9",
        "1_614_265_330",
        f" {NOW}",
        f"+{NOW}",
        "-1",
        "nan",
        "inf",
        "",
        "\uff11" * 10,
        "9" * 400,
        "0x1",
    ],
)
def test_only_whole_seconds_are_a_time(timestamp: str) -> None:
    """Whatever else Python would read as a number is refused, even when it is signed as sent."""
    key = base64.b64decode(LIVE)
    with pytest.raises(SignatureError):
        _verifier().verify(_signed_with_text_time(key, timestamp), BODY)


def _signed_with_text_time(key: bytes, timestamp: str) -> dict[str, str]:
    signed = b"msg_1." + timestamp.encode() + b"." + BODY
    mac = base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
    return _headers(f"v1,{mac}", **{"webhook-timestamp": timestamp})


@pytest.mark.parametrize(
    ("skew_s", "accepted"), [(0, True), (300, True), (-300, True), (301, False), (-301, False), (10**8, False)]
)
def test_five_minutes_are_tolerated_each_way(skew_s: int, accepted: bool) -> None:
    """300 s early or late is genuine, a second more is stale."""
    checked = _verifier(now=NOW + skew_s)
    if accepted:
        assert checked.verify(_headers(_signature()), BODY) == "live"
    else:
        with pytest.raises(SignatureError, match="clock"):
            checked.verify(_headers(_signature()), BODY)


def test_header_names_have_any_case() -> None:
    """HTTP header names are case-insensitive."""
    assert _verifier().verify({name.title(): value for name, value in _headers(_signature()).items()}, BODY) == "live"


@given(
    st.dictionaries(st.sampled_from(["webhook-id", "webhook-timestamp", "webhook-signature"]), st.text(max_size=60)),
    st.binary(max_size=50),
)
def test_no_headers_raise_anything_else(sent: dict[str, str], body: bytes) -> None:
    """Any text in any header is a SignatureError, never another exception."""
    with pytest.raises(SignatureError):
        _verifier().verify(sent, body)


@given(st.text(max_size=120))
def test_no_signature_text_raises_anything_else(listed: str) -> None:
    """With good id and time, any signature text is a SignatureError."""
    with pytest.raises(SignatureError):
        _verifier().verify(_headers(listed), BODY)


@pytest.mark.parametrize(
    ("secret", "hint"),
    [
        ("v1,whsec_" + LIVE, "v1,"),
        ("v1", "v1,"),
        (f" {LIVE}", "white space"),
        (f"whsec_{LIVE[:10]} {LIVE[10:]}", "white space"),
        (f"whsec_{LIVE}\n", "white space"),
        (f'"whsec_{LIVE}"', "quotes"),
        ("whsec_" + LIVE[:-2] + "-_", "URL-safe"),
        ("whsec_short", "too short"),
        ("", "too short"),
        ("whsec_", "too short"),
        ("whsec_" + "A" * 101, "too long"),
        ("whsec_" + "A" * 33, "not base64"),
        ("whsec_" + "=" * 40, "no secret has"),
        ("whsec_" + "한" * 40, "no secret has"),
        ("whpk_" + LIVE, "asymmetric"),
    ],
)
@pytest.mark.parametrize("place", ["live", "test"])
def test_a_malformed_secret_refuses_to_start(secret: str, hint: str, place: str) -> None:
    """The message names variable and item, says what is wrong and the right form, and never repeats the secret."""
    lists: dict[str, Any] = {"live": [LIVE], "test": [TEST]}
    lists[place] = [OTHER, secret]
    with pytest.raises(SettingsError, match=hint) as caught:
        Verifier(**lists)
    message = str(caught.value)
    assert {"live": "PIPELINE_DODO_WEBHOOK_SECRETS", "test": "PIPELINE_DODO_TEST_WEBHOOK_SECRETS"}[place] in message
    assert "item 2" in message
    assert "whsec_ followed by" in message
    assert LIVE[4:20] not in message


@pytest.mark.parametrize(
    "secret", [LIVE, f"whsec_{LIVE}", TEST, TEST.rstrip("="), "whsec_" + base64.b64encode(b"k" * 64).decode()]
)
def test_every_legal_form_is_taken(secret: str) -> None:
    """With and without the prefix or padding, 24 to 64 bytes."""
    assert Verifier([secret], clock=lambda: NOW).verify(_headers(_signature(secret)), BODY) == "live"


def test_no_secret_at_all_refuses_to_start() -> None:
    """Without a secret everything would be forged; the message says which variable to set."""
    with pytest.raises(SettingsError, match="PIPELINE_DODO_WEBHOOK_SECRETS is not set"):
        Verifier([], [])


def test_a_secret_in_both_lists_refuses_to_start() -> None:
    """The same key, however written, cannot mean live and test."""
    with pytest.raises(SettingsError, match="the same secret"):
        Verifier([LIVE], [f"whsec_{LIVE}"])


def test_a_repeated_secret_in_one_list_is_harmless() -> None:
    """A secret written twice while rotating changes nothing."""
    assert Verifier([LIVE, f"whsec_{LIVE}"], clock=lambda: NOW).verify(_headers(_signature()), BODY) == "live"


def test_headers_of_another_spelling() -> None:
    """A plain dict of headers is searched whatever the case of its names."""
    spelt = {name.title(): value for name, value in sign(LIVE, "msg_1", NOW, BODY).items()}
    assert _verifier().verify(spelt, BODY) == "live"


def test_the_settings_secrets() -> None:
    """Of both lists of this process."""
    settings = Settings.load(dodo_webhook_secrets=LIVE, dodo_test_webhook_secrets=TEST)
    verifier = Verifier.of(settings, lambda: float(NOW))
    assert [verifier.verify(sign(one, "msg_1", NOW, BODY), BODY) for one in (LIVE, TEST)] == ["live", "test"]
