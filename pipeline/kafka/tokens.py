"""Tokens for OAUTHBEARER: asked for while a connection is made, kept for as long as they are good, renewed before.

All clients of a process share one provider, so a start with six connections is one question to the issuer. A token is
needed when a connection is made or logs in again, never for a record; the question itself runs in a thread, so neither
a slow issuer nor one that is away holds up records on connections that stand.
"""

from __future__ import annotations

import asyncio
import importlib
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from aiokafka.abc import AbstractTokenProvider
from aiokafka.errors import KafkaConnectionError

from pipeline import logs
from pipeline.errors import SettingsError
from pipeline.extras import MSK
from pipeline.plain_httpx import httpx
from pipeline.proxies import heeding
from pipeline.settings import PREFIX, Settings

WITHIN_S: Final = 10.0
"""For one question to the issuer, of which a client's own patience for a connection (30 s) holds several."""

RENEWED_AT: Final = 0.6
"""Part of a token's life after which whoever asks gets another one: before a session of it is renewed
(`connection.AGAIN_AT`), and with patience left for an issuer that is away."""

AGAIN_S: Final = 5.0
"""Between two questions in vain while the old token is good, or in place of one that the brokers refused."""

DEFAULT_LIFE_S: Final = 300.0
"""Of a token whose answer has no `expires_in`, which RFC 6749 §5.1 only recommends."""

REFUSED: Final = "the token endpoint refused"
UNREACHED: Final = "the token endpoint could not be reached"
UNTRUSTED: Final = "the token endpoint's certificate is not trusted"
SENSELESS: Final = "the token endpoint gave no token"
UNSIGNED: Final = "the AWS signer gave no token"
"""What `TokenError` begins with; `pipeline.kafka.reach` knows the settings to each."""

_CLOCK: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""A token's life goes on while the host is suspended; CLOCK_MONOTONIC does not, on Linux."""

log = logs.get(__name__)


def _since_boot() -> float:
    return time.clock_gettime(_CLOCK)


class TokenError(KafkaConnectionError):  # type: ignore[misc]  # untyped upstream
    """No token was to be had, so there is no connection; the client tries again as for a broker that is away."""

    def __str__(self) -> str:
        """The reason alone."""
        return str(self.args[0])


@dataclass(frozen=True, slots=True)
class Token:
    """A token; `life_s` is how long it is good, from when it was asked for."""

    text: str
    life_s: float

    def __repr__(self) -> str:
        """Without the token."""
        return f"Token(life_s={self.life_s})"


class Tokens(AbstractTokenProvider):  # type: ignore[misc]  # untyped upstream
    """aiokafka's provider, for clients of any thread and event loop.

    Args:
        ask: gets a new token; blocks, and raises `TokenError`.
        clock: seconds of an even clock, which goes on while the host is suspended.
    """

    def __init__(self, ask: Callable[[], Token], clock: Callable[[], float] = _since_boot) -> None:
        self._ask = ask
        self._clock = clock
        self._lock = threading.Lock()
        self._token: Token | None = None
        self._asked_at = 0.0
        self._is_refused = False
        self._failed_at = float("-inf")

    async def token(self) -> str:
        """A token that is good.

        Raises:
            TokenError: there is none, and the issuer gave none.
        """
        token = self._token
        if token is not None and self._is_fresh(token):
            return token.text
        return await asyncio.to_thread(self._renewed)

    def refused(self) -> None:
        """A broker has refused the token, long before its end perhaps (its key was changed, or it was revoked).

        Another one is asked for before it is used again, unless it is quite new.
        """
        self._is_refused = True

    def _is_fresh(self, token: Token) -> bool:
        return self._age() < (AGAIN_S if self._is_refused else RENEWED_AT * token.life_s)

    def _renewed(self) -> str:
        with self._lock:  # whoever waited for another's question uses the answer
            token = self._token
            if token is not None and self._is_fresh(token):
                return token.text
            good = token is not None and self._age() < token.life_s and not self._is_refused
            if token is not None and good and self._clock() - self._failed_at < AGAIN_S:
                return token.text
            asked_at = self._clock()
            try:
                token = self._ask()
            except TokenError as error:
                self._failed_at = self._clock()
                if token is None or not good:
                    raise
                left_s = round(token.life_s - self._age(), 1)
                log.warning("no new Kafka token, the old one is used while it lasts", seconds=left_s, error=str(error))
                return token.text
            self._token, self._asked_at, self._is_refused = token, asked_at, False
            return token.text

    def _age(self) -> float:
        return self._clock() - self._asked_at


def token_provider(settings: Settings) -> Tokens | None:
    """The provider of this process for these settings; None for a way in without tokens.

    Raises:
        SettingsError: the CA's file cannot be used, or the extra is not installed.
    """
    match settings.kafka_sasl_mechanism:
        case "OAUTHBEARER":
            secret = settings.kafka_oauth_client_secret
            cafile = settings.kafka_oauth_cafile
            return _by_client_credentials(
                settings.kafka_oauth_token_url or "",
                settings.kafka_oauth_client_id or "",
                secret.get_secret_value() if secret else "",
                settings.kafka_oauth_scope,
                str(cafile) if cafile else None,
            )
        case "AWS_MSK_IAM":
            return _by_aws(settings.kafka_msk_region or "")
        case _:
            return None


@lru_cache(maxsize=8)
def _by_client_credentials(url: str, client: str, secret: str, scope: str | None, cafile: str | None) -> Tokens:
    try:
        trust = ssl.create_default_context(cafile=cafile)
    except OSError as error:  # ssl.SSLError is one
        raise SettingsError(
            f"{PREFIX}KAFKA_OAUTH_CAFILE: {cafile} must hold PEM certificates of the token endpoint's CA ({error})"
        ) from None
    form = {"grant_type": "client_credentials", **({"scope": scope} if scope else {})}

    def ask() -> Token:
        try:
            with heeding(lambda: httpx.Client(verify=trust, timeout=WITHIN_S)) as http:
                answer = http.post(url, data=form, auth=(client, secret), headers={"accept": "application/json"})
        except httpx.HTTPError as error:
            what = UNTRUSTED if "CERTIFICATE_VERIFY_FAILED" in str(error) else UNREACHED
            raise TokenError(f"{what}: {url}: {str(error) or type(error).__name__}") from None
        return read_answer(url, answer)

    return Tokens(ask)


def read_answer(url: str, answer: httpx.Response) -> Token:
    """The token in an issuer's answer (RFC 6749 §5).

    Raises:
        TokenError: there is none in it; the message has the issuer's own.
    """
    try:
        said = answer.json()
    except ValueError:
        said = None
    fields: Mapping[str, Any] = said if isinstance(said, dict) else {}
    if answer.status_code >= httpx.codes.INTERNAL_SERVER_ERROR or answer.status_code == httpx.codes.TOO_MANY_REQUESTS:
        raise TokenError(f"{UNREACHED}: {url} answered {answer.status_code}")
    if answer.status_code != httpx.codes.OK:
        words = " ".join(str(fields[name]) for name in ("error", "error_description") if name in fields)
        raise TokenError(f"{REFUSED} us: {url} answered {answer.status_code} {words[:200]}".rstrip())
    text, life = fields.get("access_token"), fields.get("expires_in", DEFAULT_LIFE_S)
    try:
        life_s = float(life)
    except (TypeError, ValueError):
        life_s = DEFAULT_LIFE_S
    if not isinstance(text, str) or not text:
        raise TokenError(f"{SENSELESS}: {url} answered 200 without an access_token")
    if life_s <= 0:
        raise TokenError(f"{SENSELESS}: that of {url} has expired when it comes (expires_in={life_s:g})")
    return Token(text, life_s)


@lru_cache(maxsize=8)
def _by_aws(region: str) -> Tokens:
    try:
        signer = importlib.import_module("aws_msk_iam_sasl_signer").MSKAuthTokenProvider
    except ModuleNotFoundError:
        raise MSK.lacking() from None

    def ask() -> Token:
        try:
            text, ends_at_ms = signer.generate_auth_token(region)
        except AttributeError:  # what the signer raises when botocore found nothing
            raise TokenError(f"{UNSIGNED}: this machine has no AWS credentials") from None
        except Exception as error:  # botocore has no common ancestor of what it raises
            raise TokenError(f"{UNSIGNED}: {str(error) or type(error).__name__}") from error
        return Token(text, ends_at_ms / 1000 - time.time())

    return Tokens(ask)
