"""Why no broker could be reached.

aiokafka raises "Unable to bootstrap" for a refused port, a wrong password and an untrusted certificate alike; the
cause is only in its log. `explaining` listens to that log while a client starts, and names the setting to look at.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from aiokafka.errors import KafkaConnectionError, KafkaError, KafkaTimeoutError

from pipeline.errors import BrokerUnreachableError
from pipeline.kafka import tokens
from pipeline.kafka.connection import REFUSED_TOKEN
from pipeline.settings import PREFIX, SASL_NEEDS, Settings

UNCONNECTED: Final = (KafkaConnectionError, KafkaTimeoutError, OSError)
"""What a client raises that does not get a connection; TimeoutError is an OSError."""

UNCONNECTED_LINE: Final = "Unable connect to node with id %s: %s"
"""What aiokafka logs of an attempt; the exception that follows has no reason."""

BOOTSTRAP_WITHIN_S: Final = 10.0
"""For a stage that starts while no broker answers: a single broker restarts in about 5 s, and a load balancer before
several forgets a dead one within about 10. A command at a terminal reports it at once."""

RETRY_S: Final = 0.25
LINES: Final = 200
"""A client that runs for long may log much; the first and last words of a failed start are far fewer."""

Row = tuple[tuple[str, ...], str, tuple[str, ...]]
"""Signs in aiokafka's and OpenSSL's messages, what they mean, which settings to check."""


@contextmanager
def explaining(settings: Settings) -> Iterator[None]:
    """Turns a client's failure to connect inside the block into a `BrokerUnreachableError` with its cause.

    Wrap `await client.start()` in it. Other exceptions pass.
    """
    with hearing() as heard:
        try:
            yield
        except UNCONNECTED as error:
            raise unreachable(settings, [*heard.lines, *_chain(error)]) from None


@contextmanager
def hearing() -> Iterator[Heard]:
    """What aiokafka's clients log inside the block, for the reasons that their exceptions do not have."""
    heard = Heard()
    logger = logging.getLogger("aiokafka")
    logger.addHandler(heard)
    try:
        yield heard
    finally:
        logger.removeHandler(heard)


async def connecting(settings: Settings, connect: Callable[[], Awaitable[None]], *, within_s: float) -> None:
    """Call `connect`, again for as long as it fails for a reason that may pass and `within_s` are not over.

    Raises:
        BrokerUnreachableError: with the cause, that of the last attempt.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + within_s
    while True:
        with hearing() as heard:
            try:
                return await connect()
            except UNCONNECTED as error:
                told = [*heard.lines, *_chain(error)]
        failure = unreachable(settings, told)
        if not failure.may_pass or loop.time() >= deadline:
            raise failure
        await asyncio.sleep(RETRY_S)


def is_passing(error: KafkaError) -> bool:
    """Whether the same request may succeed a little later; a time-out is not `retriable` by aiokafka's own word."""
    return bool(error.retriable) or isinstance(error, KafkaTimeoutError)


def unreachable(settings: Settings, told: list[str]) -> BrokerUnreachableError:
    """The error for a failed connection; `told` is what the client logged and raised, oldest first."""
    _, cause, names = _row(told)
    if names == REFUSED_LOGIN[2] and "kafka_sasl_password" not in SASL_NEEDS[settings.kafka_sasl_mechanism]:
        _, cause, names = REFUSED_TOKEN_ROW
    check = ", ".join(PREFIX + name for name in names)
    error = BrokerUnreachableError(
        f"no Kafka broker could be used at {settings.kafka_bootstrap_servers} ({settings.kafka_security_protocol}): "
        f"{cause}. Check {check}.\nThe client says: {told[0] if told else 'nothing'}"
    )
    error.may_pass = _may_pass(told)
    return error


def _row(told: list[str]) -> Row:
    text = "\n".join(told).lower()
    return next((row for row in CAUSES if any(sign.lower() in text for sign in row[0])), NO_SIGN)


def _may_pass(told: list[str]) -> bool:
    """Whether the brokers may just be starting; a wrong password does not get right by waiting."""
    return _row(told) in {NOBODY_LISTENS, NO_ISSUER, NO_SIGN}


TLS_ALERT_AS_SIZE = f"total of {0x15030300}"
"""The head of a TLS alert (type 21, version 3.3) read as the size of a Kafka answer."""

NO_SIGN: Row = ((), "it did not answer as a Kafka broker does", ("KAFKA_BOOTSTRAP_SERVERS", "KAFKA_SECURITY_PROTOCOL"))

NOBODY_LISTENS: Row = (
    ("Connect call failed", "Connection refused"),
    "nothing listens there",
    ("KAFKA_BOOTSTRAP_SERVERS",),
)

NO_ISSUER: Row = (
    (tokens.UNREACHED,),
    "the issuer of its tokens could not be reached",
    ("KAFKA_OAUTH_TOKEN_URL",),
)

REFUSED_LOGIN: Row = (
    ("SaslAuthenticationFailed", "AuthenticationFailed", "invalid credentials", "Authentication failed"),
    "the user name or password was refused",
    ("KAFKA_SASL_USERNAME", "KAFKA_SASL_PASSWORD", "KAFKA_SASL_MECHANISM"),
)

REFUSED_TOKEN_ROW: Row = (
    (REFUSED_TOKEN,),
    "the brokers refused the token (they check its issuer, audience, scope and times, by their own clock)",
    ("KAFKA_OAUTH_TOKEN_URL", "KAFKA_OAUTH_CLIENT_ID", "KAFKA_OAUTH_SCOPE"),
)

CAUSES: tuple[Row, ...] = (
    (
        (tokens.REFUSED,),
        "the issuer refused to give a token",
        ("KAFKA_OAUTH_CLIENT_ID", "KAFKA_OAUTH_CLIENT_SECRET", "KAFKA_OAUTH_SCOPE"),
    ),
    (
        (tokens.UNTRUSTED,),
        "the certificate of its tokens' issuer is not trusted, has run out, or is for another host name",
        ("KAFKA_OAUTH_CAFILE", "KAFKA_OAUTH_TOKEN_URL"),
    ),
    NO_ISSUER,
    (
        (tokens.SENSELESS,),
        "what should be a token endpoint gave no token that is good",
        ("KAFKA_OAUTH_TOKEN_URL",),
    ),
    (
        (tokens.UNSIGNED,),
        "the AWS signer found no credentials, or could not use them",
        ("KAFKA_MSK_REGION", "KAFKA_SASL_MECHANISM"),
    ),
    REFUSED_TOKEN_ROW,
    REFUSED_LOGIN,
    (
        ("UnsupportedSaslMechanism", "does not support"),
        "the broker does not offer this SASL mechanism",
        ("KAFKA_SASL_MECHANISM",),
    ),
    (
        ("certificate has expired",),
        "the broker's certificate has run out (or this machine's clock is wrong)",
        ("KAFKA_SSL_CAFILE", "KAFKA_BOOTSTRAP_SERVERS"),
    ),
    (
        ("ALERT_CERTIFICATE_EXPIRED", "alert certificate expired"),
        "our client certificate has run out: put a new one into its file and start again",
        ("KAFKA_SSL_CERTFILE", "KAFKA_SSL_KEYFILE"),
    ),
    (
        ("CERTIFICATE_VERIFY_FAILED", "certificate verify failed"),
        "the broker's certificate is not trusted, or is for another host name",
        ("KAFKA_SSL_CAFILE", "KAFKA_BOOTSTRAP_SERVERS"),
    ),
    (
        (
            "alert certificate",
            "alert bad certificate",
            "ALERT_CERTIFICATE",
            "ALERT_BAD_CERTIFICATE",
            "ALERT_UNKNOWN_CA",
        ),
        "the broker asks for a client certificate and did not accept ours",
        ("KAFKA_SSL_CERTFILE", "KAFKA_SSL_KEYFILE"),
    ),
    (
        ("WRONG_VERSION_NUMBER", "wrong version number", "record layer failure", TLS_ALERT_AS_SIZE),
        "TLS was spoken to a port that does not speak it, or the other way round",
        ("KAFKA_SECURITY_PROTOCOL", "KAFKA_BOOTSTRAP_SERVERS"),
    ),
    (
        ("Name or service not known", "nodename nor servname", "Temporary failure in name resolution", "getaddrinfo"),
        "the host name is unknown",
        ("KAFKA_BOOTSTRAP_SERVERS",),
    ),
    NOBODY_LISTENS,
)
"""The clearest sign first."""


class Heard(logging.Handler):
    """Keeps the text of warnings and errors, and of the causes of the exceptions in them, which no message shows."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: deque[str] = deque(maxlen=LINES)
        self._nodes: dict[Any, str] = {}

    def of_node(self, node: Any) -> str:
        """Why there was no connection to the broker of this id, empty when there was none to hear of."""
        return self._nodes.get(node, "")

    def emit(self, record: logging.LogRecord) -> None:
        """Take in one line."""
        self.lines.append(record.getMessage())
        if record.msg == UNCONNECTED_LINE and isinstance(record.args, tuple):
            node, error = record.args
            self._nodes[node] = str(error) or type(error).__name__
        for argument in record.args if isinstance(record.args, tuple) else ():
            if isinstance(argument, BaseException):
                self.lines += _chain(argument.__cause__)


def _chain(error: BaseException | None) -> list[str]:
    lines = []
    while error is not None:
        lines.append(str(error) if isinstance(error, KafkaError) else f"{type(error).__name__}: {error}")
        error = error.__cause__
    return lines
