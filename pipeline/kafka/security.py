"""Translates the settings into the options of Kafka clients, in one place for all of them."""

from __future__ import annotations

import ssl
from typing import Any

from yarl import URL

from pipeline.errors import SettingsError
from pipeline.kafka.certificates import TlsFiles, context_of
from pipeline.kafka.connection import use_our_connections
from pipeline.kafka.passwords import password
from pipeline.kafka.tokens import token_provider
from pipeline.settings import PREFIX, SASL_MAY_HAVE, Settings

SASL_SETTINGS = tuple(dict.fromkeys(name for names in SASL_MAY_HAVE.values() for name in names))


def client_options(settings: Settings) -> dict[str, Any]:
    """Keyword arguments for AIOKafkaProducer, AIOKafkaConsumer and AIOKafkaAdminClient.

    Raises:
        SettingsError: naming the variable that is malformed, unreadable, or given without effect.
    """
    options: dict[str, Any] = {
        "bootstrap_servers": [f"{host}:{port}" for host, port in servers(settings)],
        "client_id": settings.kafka_client_id,
        "security_protocol": settings.kafka_security_protocol,
        "ssl_context": tls_context(settings),
    }
    if _uses_sasl(settings):
        use_our_connections()  # they hear a token's refusal, and log in again before a session ends
        if (tokens := token_provider(settings)) is not None:
            options |= {"sasl_mechanism": "OAUTHBEARER", "sasl_oauth_token_provider": tokens}
        else:
            options |= {
                "sasl_mechanism": settings.kafka_sasl_mechanism,
                "sasl_plain_username": settings.kafka_sasl_username,
                "sasl_plain_password": password(settings),
            }
    return options


def faust_broker(settings: Settings) -> tuple[list[URL], Any]:
    """`broker` and `broker_credentials` of a `faust.App`, equal in effect to `client_options`.

    Raises:
        SettingsError: as `client_options`.
    """
    from faust.auth import (
        OAuthCredentials,
        SASLCredentials,
        SSLCredentials,
    )  # the other clients do not need Faust's import time

    urls = [URL.build(scheme="kafka", host=host.strip("[]"), port=port) for host, port in servers(settings)]
    context = tls_context(settings)
    if _uses_sasl(settings):
        use_our_connections()
        if (tokens := token_provider(settings)) is not None:
            return urls, OAuthCredentials(oauth_cb=tokens, ssl_context=context)
        return urls, SASLCredentials(
            username=settings.kafka_sasl_username,
            password=password(settings),
            mechanism=settings.kafka_sasl_mechanism,
            ssl_context=context,
        )
    return urls, SSLCredentials(context) if context else None


def servers(settings: Settings) -> list[tuple[str, int]]:
    """The bootstrap servers as (host, port); an IPv6 address keeps its brackets."""
    parted = (server.rpartition(":") for server in settings.kafka_bootstrap_servers.split(","))
    return [(host, int(port)) for host, _, port in parted]


def tls_context(settings: Settings) -> ssl.SSLContext | None:
    """The TLS context, host names checked, of the files that the settings name (`certificates`); None without TLS.

    Raises:
        SettingsError: a file is missing, unreadable, not PEM or encrypted, or the protocol does not use it.
    """
    _refuse_unused(settings)
    if not _uses_tls(settings):
        return None
    return context_of(TlsFiles(settings.kafka_ssl_cafile, settings.kafka_ssl_certfile, settings.kafka_ssl_keyfile))


def _refuse_unused(settings: Settings) -> None:
    """A credential that the protocol ignores is a mistake: somebody believes that the connection is protected."""
    protocol = settings.kafka_security_protocol
    names = []
    if not _uses_tls(settings):
        names += ["kafka_ssl_cafile", "kafka_ssl_certfile", "kafka_ssl_keyfile"]
    if not _uses_sasl(settings):
        names += SASL_SETTINGS
    for name in names:
        if getattr(settings, name) is not None:
            raise SettingsError(
                f"{PREFIX}{name.upper()} is set but {PREFIX}KAFKA_SECURITY_PROTOCOL={protocol} does not use it: "
                f"set the protocol to {'SASL_SSL or SSL' if '_SSL_' in name.upper() else 'SASL_SSL'}, or unset it"
            )
    if _uses_sasl(settings):
        for name in SASL_SETTINGS:
            if getattr(settings, name) is not None and name not in SASL_MAY_HAVE[settings.kafka_sasl_mechanism]:
                fitting = " or ".join(mechanism for mechanism, names in SASL_MAY_HAVE.items() if name in names)
                raise SettingsError(
                    f"{PREFIX}{name.upper()} is set but {PREFIX}KAFKA_SASL_MECHANISM={settings.kafka_sasl_mechanism} "
                    f"does not use it: set the mechanism to {fitting}, or unset it"
                )


def _uses_tls(settings: Settings) -> bool:
    return settings.kafka_security_protocol.endswith("SSL")


def _uses_sasl(settings: Settings) -> bool:
    return settings.kafka_security_protocol.startswith("SASL_")
