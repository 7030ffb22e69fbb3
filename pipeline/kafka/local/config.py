"""The files of a local broker: its properties file, log configuration, and who may connect.

Pure text from values. Figures that differ from Kafka's defaults are those of one small broker for one developer;
everything that decides semantics (acks, ordering, group protocol, size limits) is left as Kafka ships it.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

SCRAM_ITERATIONS = 4096
"""Kafka's minimum (ScramMechanism); throw-away users need no more."""

LOG4J = """\
status = error
appender.out.type = Console
appender.out.name = out
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d{ISO8601} %p %m (%c{1})%n
rootLogger.level = info
rootLogger.appenderRef.out.ref = out
"""
"""Everything at INFO into one file: small, and the whole story when a start fails."""


@dataclass(frozen=True, slots=True)
class LocalSecurity:
    """SCRAM-SHA-512 over TLS, with one super user and any ordinary users.

    `keystore` is a PEM file with the broker's PKCS#8 key and its certificate chain, valid for 127.0.0.1;
    `truststore` the PEM of the CA of client certificates; `client_certificates` is Kafka's ssl.client.auth. With
    `acls` Kafka's StandardAuthorizer refuses ordinary users whatever no ACL allows.
    """

    keystore: Path
    truststore: Path
    admin: tuple[str, str]
    users: Mapping[str, str] = field(default_factory=dict)
    acls: bool = False
    client_certificates: Literal["none", "requested", "required"] = "none"

    def __repr__(self) -> str:
        """Without the passwords."""
        return f"LocalSecurity(admin={self.admin[0]!r}, users={sorted(self.users)!r}, acls={self.acls})"


def properties(
    *, data: Path, port: int, controller_port: int, security: LocalSecurity | None, extra: Mapping[str, str]
) -> str:
    """The text of `server.properties` for one combined broker and controller on loopback; `extra` wins."""
    listener = "SASL_SSL" if security else "PLAINTEXT"
    values = {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.bootstrap.servers": f"127.0.0.1:{controller_port}",
        "controller.listener.names": "CONTROLLER",
        "listeners": f"CLIENTS://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}",
        "advertised.listeners": f"CLIENTS://127.0.0.1:{port}",
        "listener.security.protocol.map": f"CLIENTS:{listener},CONTROLLER:PLAINTEXT",
        "inter.broker.listener.name": "CLIENTS",
        "log.dirs": str(data),
        # A typing error in a topic's name must fail here as it does on a production cluster.
        "auto.create.topics.enable": "false",
        "group.initial.rebalance.delay.ms": "0",
        # One broker can hold one replica.
        "offsets.topic.replication.factor": "1",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "share.coordinator.state.topic.replication.factor": "1",
        "share.coordinator.state.topic.min.isr": "1",
        # 50 partitions each would cost seconds at the first group and at each restart.
        "offsets.topic.num.partitions": "4",
        "transaction.state.log.num.partitions": "4",
        "share.coordinator.state.topic.num.partitions": "4",
        # After a SIGKILL the controller keeps the old registration for a session: 9 s by default.
        "broker.session.timeout.ms": "3000",
        "broker.heartbeat.interval.ms": "500",
        # Without work the controller would write a record twice a second, for the brokers of a cluster to see that it
        # lives: a quarter of what an idle broker takes of the processor.
        "metadata.max.idle.interval.ms": "5000",
        # The default of 128 MB is a quarter of this broker's heap.
        "log.cleaner.dedupe.buffer.size": "8388608",
    }
    if security:
        values |= _security(security)
    return "".join(f"{name}={_escape(value)}\n" for name, value in (values | dict(extra)).items())


def scram_arguments(security: LocalSecurity) -> list[str]:
    """Arguments of `kafka-storage format` that create the users; salted, so that no password is in a process list."""
    arguments = []
    for name, password in {**security.users, security.admin[0]: security.admin[1]}.items():
        salt = secrets.token_bytes(16)
        salted = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, SCRAM_ITERATIONS)
        fields = (
            f'name="{name}",iterations={SCRAM_ITERATIONS},'
            f'salt="{base64.b64encode(salt).decode()}",saltedpassword="{base64.b64encode(salted).decode()}"'
        )
        arguments += ["--add-scram", f"SCRAM-SHA-512=[{fields}]"]
    return arguments


def _security(security: LocalSecurity) -> dict[str, str]:
    user, password = security.admin
    values = {
        "sasl.enabled.mechanisms": "SCRAM-SHA-512",
        "sasl.mechanism.inter.broker.protocol": "SCRAM-SHA-512",
        "listener.name.clients.scram-sha-512.sasl.jaas.config": (
            "org.apache.kafka.common.security.scram.ScramLoginModule required "
            f'username="{_quoted(user)}" password="{_quoted(password)}";'
        ),
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(security.keystore),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(security.truststore),
        # Kafka ignores the unprefixed name on a SASL_SSL listener (KIP-684).
        "listener.name.clients.ssl.client.auth": security.client_certificates,
    }
    if security.acls:
        values |= {
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            # ANONYMOUS is the broker itself on its plaintext controller listener: without it the process lives and
            # never listens.
            "super.users": f"User:{user};User:ANONYMOUS",
        }
    return values


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def _escape(value: str) -> str:
    """`value` as java.util.Properties reads it: Latin-1, backslash escapes, UTF-16 units."""
    units = value.encode("utf-16-be")
    codes = [int.from_bytes(units[i : i + 2]) for i in range(0, len(units), 2)]
    return "".join(chr(code) if 0x20 < code < 0x7F and code != 0x5C else f"\\u{code:04x}" for code in codes)  # noqa: PLR2004 - printable ASCII but the backslash
