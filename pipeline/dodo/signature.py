"""Standard Webhooks signatures over raw bytes.

Signed is `webhook-id.webhook-timestamp.body` with HMAC-SHA256 under the base64-decoded secret; the header
`webhook-signature` lists `v1,<base64>` items, one per valid secret while rotating
(https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md). The rules are those of
the reference library `standardwebhooks`, against which the tests compare, without its faults for a receiver: 1.1.0
raises ValueError, binascii.Error and UnicodeDecodeError on an attacker's headers and bodies (a 500, which means
"retry"), lets one malformed item hide a good one, reads its own clock, and cannot check a body that is not UTF-8.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Literal, Self

from pydantic import SecretStr

from pipeline.errors import SettingsError, SignatureError, StaleError
from pipeline.settings import PREFIX, Settings

Mode = Literal["live", "test"]
"""A webhook does not contain its mode; only the endpoint, and so the secret that signed it, shows which it is."""

TOLERANCE_S: Final = 300
"""How far an attempt's time may differ from ours, either way: the figure of every Standard Webhooks library.

A captured request can be replayed only within it; a retry has a new time, so nothing genuine is refused for its age.
"""

MAX_ID_CHARS: Final = 255
"""Svix ids have 31. The id becomes a record header and must not push a record over the topic's size limit."""

PREFIX_OF_SECRETS: Final = "whsec_"
KEY_TEXT: Final = re.compile(r"[A-Za-z0-9+/]{32,100}={0,2}", re.ASCII)
"""Svix's own rule for endpoint secrets (`^(whsec_)?[a-zA-Z0-9+/=]{32,100}$`), padding only at the end."""

RIGHT_FORM: Final = "whsec_ followed by 32 or more letters, digits, + or / (as Dodo's dashboard shows it)"

VARIABLES: Final[Mapping[Mode, str]] = {
    "live": f"{PREFIX}DODO_WEBHOOK_SECRETS",
    "test": f"{PREFIX}DODO_TEST_WEBHOOK_SECRETS",
}

SIGNATURE_HEADERS: Final = ("webhook-id", "webhook-timestamp", "webhook-signature")

TIMESTAMP: Final = re.compile(r"[0-9]{1,12}", re.ASCII)
"""Whole seconds. `float()` would also take `1e9`, `1_0`, `nan` and other digits than ASCII's."""

V1_ITEM: Final = re.compile(r"(?:^|[\s,])v1,([^\s,]+)", re.ASCII)
"""An item of the list. Blanks separate items; a proxy that joins two fields puts a comma there (RFC 9110 §5.3)."""

ID: Final = re.compile(rf"[!-~]{{1,{MAX_ID_CHARS}}}", re.ASCII)
"""Any visible ASCII."""


class Verifier:
    """Checks that a webhook is genuine, and finds out whether it is live or test.

    Args:
        live: signing secrets of the live endpoint, `whsec_…`; several while one is rotated.
        test: the same of the test-mode endpoint.
        clock: seconds since the epoch.

    Raises:
        SettingsError: there is no secret, a malformed one, or one that is in both lists.
    """

    def __init__(self, live: Sequence[str], test: Sequence[str] = (), clock: Callable[[], float] = time.time) -> None:
        if not live and not test:
            raise SettingsError(
                f"{VARIABLES['live']} is not set: without a signing secret no webhook can be told from a forged one.\n"
                f"Set it to the endpoint's secret, {RIGHT_FORM}; {VARIABLES['test']} for an endpoint of test mode."
            )
        self._clock = clock
        keys: dict[bytes, Mode] = {}
        lists: tuple[tuple[Mode, Sequence[str]], ...] = (("live", live), ("test", test))
        for mode, secrets in lists:
            for position, secret in enumerate(secrets, start=1):
                key = decode_secret(secret, f"{VARIABLES[mode]}, item {position}")
                if keys.setdefault(key, mode) != mode:
                    raise SettingsError(
                        f"{VARIABLES['live']} and {VARIABLES['test']} hold the same secret: live and test webhooks "
                        "could not be told apart. Each endpoint has a secret of its own; keep it in one list."
                    )
        self._keys = tuple(keys.items())

    @classmethod
    def of(cls, settings: Settings, clock: Callable[[], float] = time.time) -> Self:
        """The verifier of this process's settings."""
        return cls(_plain(settings.dodo_webhook_secrets), _plain(settings.dodo_test_webhook_secrets), clock)

    def verify(self, headers: Mapping[str, str], body: bytes) -> Mode:
        """The mode of the endpoint whose secret signed `body`.

        Args:
            headers: the request's; names in any case.
            body: the raw bytes, never re-serialised.

        Raises:
            StaleError: it is genuine, and its time is out of tolerance.
            SignatureError: missing or malformed headers, or no signature that fits.
        """
        webhook_id = _header(headers, "webhook-id")
        timestamp = _header(headers, "webhook-timestamp")
        signatures = _header(headers, "webhook-signature")
        if not (webhook_id and timestamp and signatures):
            raise SignatureError(f"one of the headers {', '.join(SIGNATURE_HEADERS)} is missing")
        if not ID.fullmatch(webhook_id):
            raise SignatureError(f"webhook-id is not 1 to {MAX_ID_CHARS} visible ASCII characters")
        if not TIMESTAMP.fullmatch(timestamp):
            raise SignatureError("webhook-timestamp is not a whole number of seconds")
        skew_s = int(timestamp) - self._clock()
        untimely = _untimely(skew_s) if abs(skew_s) > TOLERANCE_S else None
        offered = [item.rstrip("=").encode() for item in V1_ITEM.findall(signatures)]
        if not offered:
            raise SignatureError(untimely or "webhook-signature has no v1 item")
        for key, mode in self._keys:
            expected = _signature(key, webhook_id, timestamp, body).rstrip(b"=")
            for item in offered:
                if hmac.compare_digest(expected, item):
                    if untimely is not None:
                        raise StaleError(untimely, skew_s=skew_s)
                    return mode
        raise SignatureError(
            untimely
            or "no signature fits a configured secret; if genuine webhooks are refused so, the secret is another "
            "endpoint's, or something on the way changes the body"
        )


def _untimely(skew_s: float) -> str:
    side = "behind" if skew_s < 0 else "ahead of"
    return (
        f"webhook-timestamp is {abs(skew_s):.0f} s {side} our clock, more than {TOLERANCE_S}; "
        "if genuine webhooks are refused so, this machine's clock is wrong"
    )


def sign(secret: str, webhook_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """The three headers that Dodo would send with `body` at `timestamp` (seconds).

    Raises:
        SettingsError: the secret is malformed.
    """
    signature = _signature(decode_secret(secret, "the signing secret"), webhook_id, str(timestamp), body)
    return dict(zip(SIGNATURE_HEADERS, (webhook_id, str(timestamp), f"v1,{signature.decode()}"), strict=True))


def decode_secret(secret: str, where: str) -> bytes:
    """The HMAC key of a secret in text form.

    Raises:
        SettingsError: it is malformed; the message has `where` it is, what is wrong and the right form, not the secret.
    """
    text = secret.removeprefix(PREFIX_OF_SECRETS)
    if not KEY_TEXT.fullmatch(text):
        raise SettingsError(f"{where}: {_fault(secret, text)}. The right form: {RIGHT_FORM}.")
    unpadded = text.rstrip("=")
    try:
        return base64.b64decode(unpadded + "=" * (-len(unpadded) % 4), validate=True)
    except binascii.Error:
        raise SettingsError(f"{where}: not base64; is a part missing? The right form: {RIGHT_FORM}.") from None


def _fault(secret: str, text: str) -> str:
    if secret == "v1" or secret.startswith("v1,"):  # noqa: S105 - a signature's version, split off at its comma
        return "begins with v1, as a signature does, which a secret does not: remove it and its comma"
    if any(character.isspace() for character in secret):
        return "contains white space"
    if secret.startswith(('"', "'")):
        return "stands in quotes"
    if secret.startswith(("whpk_", "whsk_")):
        return "is a key of asymmetric signatures (v1a), which Dodo does not use"
    if "-" in text or "_" in text:
        return "contains - or _: URL-safe base64, or a secret of something else"
    if len(text) < 32:  # noqa: PLR2004 - KEY_TEXT's own figure
        return "too short; is a part missing?"
    return "has characters that no secret has, or is too long"


def _signature(key: bytes, webhook_id: str, timestamp: str, body: bytes) -> bytes:
    signed = b"%s.%s.%s" % (webhook_id.encode(), timestamp.encode(), body)
    return base64.b64encode(hmac.digest(key, signed, hashlib.sha256))


def _header(headers: Mapping[str, str], name: str) -> str | None:
    """The header of a lower-case name, as servers spell them; a plain dict is searched for other spellings."""
    value = headers.get(name)
    return next((v for k, v in headers.items() if k.lower() == name), None) if value is None else value


def _plain(secrets: Sequence[SecretStr]) -> list[str]:
    return [secret.get_secret_value() for secret in secrets]
