"""Why no broker could be reached.

aiokafka raises "Unable to bootstrap" for a refused port, a wrong password and an untrusted certificate alike; the
cause is only in its log. `explaining` listens to that log while a client starts, and says which setting to look at.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from aiokafka.errors import KafkaConnectionError, KafkaError, KafkaTimeoutError

from pipeline.errors import BrokerUnreachableError
from pipeline.settings import PREFIX, Settings

Row = tuple[tuple[str, ...], str, tuple[str, ...]]
"""Signs in aiokafka's and OpenSSL's messages, what they mean, which settings to check."""


@contextmanager
def explaining(settings: Settings) -> Iterator[None]:
    """Turns a client's failure to connect inside the block into a `BrokerUnreachableError` with its cause.

    Wrap `await client.start()` in it. Other exceptions pass.
    """
    heard = _Listener()
    logger = logging.getLogger("aiokafka")
    logger.addHandler(heard)
    try:
        yield
    except (KafkaConnectionError, KafkaTimeoutError, OSError, TimeoutError) as error:
        raise unreachable(settings, [*heard.lines, *_chain(error)]) from None
    finally:
        logger.removeHandler(heard)


def unreachable(settings: Settings, told: list[str]) -> BrokerUnreachableError:
    """The error for a failed connection; `told` is what the client logged and raised, oldest first."""
    text = "\n".join(told).lower()
    found = (row for row in CAUSES if any(sign.lower() in text for sign in row[0]))
    _, cause, names = next(found, NO_SIGN)
    check = ", ".join(PREFIX + name for name in names)
    return BrokerUnreachableError(
        f"no Kafka broker could be used at {settings.kafka_bootstrap_servers} ({settings.kafka_security_protocol}): "
        f"{cause}. Check {check}.\nThe client says: {told[0] if told else 'nothing'}"
    )


TLS_ALERT_AS_SIZE = f"total of {0x15030300}"
"""The head of a TLS alert (type 21, version 3.3) read as the size of a Kafka answer."""

NO_SIGN: Row = ((), "it did not answer as a Kafka broker does", ("KAFKA_BOOTSTRAP_SERVERS", "KAFKA_SECURITY_PROTOCOL"))

CAUSES: tuple[Row, ...] = (
    (
        ("SaslAuthenticationFailed", "AuthenticationFailed", "invalid credentials", "Authentication failed"),
        "the user name or password was refused",
        ("KAFKA_SASL_USERNAME", "KAFKA_SASL_PASSWORD", "KAFKA_SASL_MECHANISM"),
    ),
    (
        ("UnsupportedSaslMechanism", "does not support"),
        "the broker does not offer this SASL mechanism",
        ("KAFKA_SASL_MECHANISM",),
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
    (
        ("Connect call failed", "Connection refused"),
        "nothing listens there",
        ("KAFKA_BOOTSTRAP_SERVERS",),
    ),
)
"""The most telling sign first."""


class _Listener(logging.Handler):
    """Keeps the text of warnings and errors, and of the causes of the exceptions in them, which no message shows."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())
        for argument in record.args if isinstance(record.args, tuple) else ():
            if isinstance(argument, BaseException):
                self.lines += _chain(argument.__cause__)


def _chain(error: BaseException | None) -> list[str]:
    lines = []
    while error is not None:
        lines.append(str(error) if isinstance(error, KafkaError) else f"{type(error).__name__}: {error}")
        error = error.__cause__
    return lines
