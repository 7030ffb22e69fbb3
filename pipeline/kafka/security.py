"""How every client of this project reaches the brokers: one translation of the settings, used by all alike."""

from __future__ import annotations

import re
import ssl
from pathlib import Path
from typing import Any

from yarl import URL

from pipeline.errors import SettingsError
from pipeline.settings import PREFIX, Settings

DEFAULT_PORT = 9092
SERVER = re.compile(r"(?P<host>[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::(?P<port>\d{1,5}))?")
"""host, host:port, [IPv6]:port; no scheme, no path, no credentials."""


def client_options(settings: Settings) -> dict[str, Any]:
    """Keyword arguments for AIOKafkaProducer, AIOKafkaConsumer and AIOKafkaAdminClient.

    Raises:
        SettingsError: naming the variable that is malformed, unreadable, or given without effect.
    """
    options: dict[str, Any] = {
        "bootstrap_servers": [f"{host}:{port}" for host, port in servers(settings)],
        "security_protocol": settings.kafka_security_protocol,
        "ssl_context": tls_context(settings),
    }
    if _uses_sasl(settings):
        options |= {
            "sasl_mechanism": settings.kafka_sasl_mechanism,
            "sasl_plain_username": settings.kafka_sasl_username,
            "sasl_plain_password": _password(settings),
        }
    return options


def faust_broker(settings: Settings) -> tuple[list[URL], Any]:
    """`broker` and `broker_credentials` of a `faust.App`, equal in effect to `client_options`.

    Raises:
        SettingsError: as `client_options`.
    """
    from faust.auth import SASLCredentials, SSLCredentials  # the other clients do not need Faust's import time

    urls = [URL.build(scheme="kafka", host=host.strip("[]"), port=port) for host, port in servers(settings)]
    context = tls_context(settings)
    if _uses_sasl(settings):
        return urls, SASLCredentials(
            username=settings.kafka_sasl_username,
            password=_password(settings),
            mechanism=settings.kafka_sasl_mechanism,
            ssl_context=context,
        )
    return urls, SSLCredentials(context) if context else None


def servers(settings: Settings) -> list[tuple[str, int]]:
    """The bootstrap servers as (host, port).

    Raises:
        SettingsError: one of them is not host or host:port.
    """
    found = []
    for part in settings.kafka_bootstrap_servers.split(","):
        match = SERVER.fullmatch(part.strip())
        port = int(match["port"] or DEFAULT_PORT) if match else 0
        if not match or not 0 < port < 65536:  # noqa: PLR2004 - the range of TCP ports
            raise SettingsError(
                f"{PREFIX}KAFKA_BOOTSTRAP_SERVERS must be host:port, several separated by commas, without a scheme: "
                "kafka-1.example.com:9092,kafka-2.example.com:9092"
            )
        found.append((match["host"], port))
    return found


def tls_context(settings: Settings) -> ssl.SSLContext | None:
    """The TLS context, host names checked; None without TLS.

    Raises:
        SettingsError: a file is missing, unreadable, not PEM or encrypted, or the protocol does not use it.
    """
    _refuse_unused(settings)
    if not _uses_tls(settings):
        return None
    try:
        context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=settings.kafka_ssl_cafile)
    except OSError as error:  # ssl.SSLError is one
        raise _unusable("KAFKA_SSL_CAFILE", settings.kafka_ssl_cafile, "PEM certificates of the CA", error) from None
    certificate, key = settings.kafka_ssl_certfile, settings.kafka_ssl_keyfile
    if key and not certificate:
        raise SettingsError(f"{PREFIX}KAFKA_SSL_KEYFILE needs {PREFIX}KAFKA_SSL_CERTFILE beside it")
    if certificate:
        try:
            # Without a password OpenSSL would ask for one on the terminal, and a worker would stand there for ever.
            context.load_cert_chain(certificate, key, password=lambda: "")
        except OSError as error:
            at_fault = "KAFKA_SSL_KEYFILE" if key and _is_readable(certificate) else "KAFKA_SSL_CERTFILE"
            path = key if at_fault == "KAFKA_SSL_KEYFILE" else certificate
            what = "a client certificate and its unencrypted private key, both PEM"
            raise _unusable(at_fault, path, what, error) from None
    return context


def _refuse_unused(settings: Settings) -> None:
    """A credential that the protocol ignores is a mistake: somebody believes that the connection is protected."""
    protocol = settings.kafka_security_protocol
    names = []
    if not _uses_tls(settings):
        names += ["kafka_ssl_cafile", "kafka_ssl_certfile", "kafka_ssl_keyfile"]
    if not _uses_sasl(settings):
        names += ["kafka_sasl_username", "kafka_sasl_password"]
    for name in names:
        if getattr(settings, name) is not None:
            raise SettingsError(
                f"{PREFIX}{name.upper()} is set but {PREFIX}KAFKA_SECURITY_PROTOCOL={protocol} does not use it: "
                f"set the protocol to {'SASL_SSL or SSL' if '_SSL_' in name.upper() else 'SASL_SSL'}, or unset it"
            )


def _unusable(variable: str, path: Path | None, what: str, error: OSError) -> SettingsError:
    reason = "holds something else" if isinstance(error, ssl.SSLError) else (error.strerror or type(error).__name__)
    return SettingsError(f"{PREFIX}{variable}: {path} must hold {what} ({reason})")


def _is_readable(path: Path) -> bool:
    try:
        path.read_bytes()
    except OSError:
        return False
    return True


def _uses_tls(settings: Settings) -> bool:
    return settings.kafka_security_protocol.endswith("SSL")


def _uses_sasl(settings: Settings) -> bool:
    return settings.kafka_security_protocol.startswith("SASL_")


def _password(settings: Settings) -> str:
    return settings.kafka_sasl_password.get_secret_value() if settings.kafka_sasl_password else ""
