"""A broker as a company runs it: TLS, users, ACLs, and topics that create themselves."""

from __future__ import annotations

import asyncio
import datetime as dt
import ipaddress
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.protocol.admin import CreateAclsRequest, DeleteAclsRequest, DescribeAclsRequest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from pipeline.kafka.cluster.rights import Right
from pipeline.kafka.local.broker import LocalKafka
from pipeline.kafka.local.config import LocalSecurity
from pipeline.settings import Settings
from tests.admin import admin_client
from tests.sharing import SHARED

ADMIN = ("admin", 'super, "secret" [1]\\')
PIPELINE = ("pipeline", "pa=ss,word")
STRANGER = ("stranger", "stranger-password")
EACH = {name: f"{name}-password" for name in ("ingest", "transform", "sink", "operator", "blind")}
"""A user for each stage and one for the commands, who may do what a test allows them; `blind` is a transform's."""

TOPIC, GROUP, LITERAL, PREFIXED, ALL, ALLOW = 2, 3, 3, 4, 2, 3
"""Codes of the CreateAcls request: org.apache.kafka.common.resource and common.acl."""

PATIENCE_S = 300.0
POLL_S = 0.05

Acl = tuple[int, str, int, str, str, int, int]
"""Resource type, resource name, pattern type, principal, host, operation and permission, as the requests take them."""


@dataclass(frozen=True)
class Certificate:
    """A certificate with its key, and the file that holds both as PEM."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey
    pem: Path


class Authority:
    """Issues throw-away certificates."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(exist_ok=True)
        self.directory = directory
        self.root = self._issue("ca", None)

    @property
    def cafile(self) -> Path:
        """The authority's certificate alone."""
        path = self.directory / "cafile.pem"
        path.write_bytes(self.root.certificate.public_bytes(serialization.Encoding.PEM))
        return path

    def issue(self, name: str, *, lasts: dt.timedelta = dt.timedelta(days=2)) -> Certificate:
        """A certificate for 127.0.0.1, as a server and as a client."""
        return self._issue(name, self.root, lasts)

    def _issue(self, name: str, issuer: Certificate | None, lasts: dt.timedelta = dt.timedelta(days=2)) -> Certificate:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        now = dt.datetime.now(dt.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer.certificate.subject if issuer else subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(hours=1))
            .not_valid_after(now + lasts)
            .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        )
        if issuer:
            address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
            builder = builder.add_extension(x509.SubjectAlternativeName([address]), critical=False)
        certificate = builder.sign(issuer.key if issuer else key, hashes.SHA256())
        pem = self.directory / f"{name}.pem"
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        pem.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
        return Certificate(certificate, key, pem)


@dataclass(frozen=True)
class SecureKafka:
    """The broker, and settings for each of its users."""

    broker: LocalKafka
    authority: Authority

    def admin(self, **overrides: Any) -> Settings:
        """Settings of the super user."""
        return self._settings(ADMIN, overrides)

    def pipeline(self, **overrides: Any) -> Settings:
        """Settings of a user who may do what this project needs on topics and groups that start with `app.`."""
        return self._settings(PIPELINE, overrides)

    def user(self, name: str, **overrides: Any) -> Settings:
        """Settings of one of `EACH`."""
        return self._settings((name, EACH[name]), overrides)

    async def allow(self, name: str, rights: Iterable[Right]) -> None:
        """Let the user do exactly this, besides what he may already; returns when the broker knows."""
        rights = list(rights)
        async with admin_client(self.admin()) as admin:
            for right in rights:
                kind = TOPIC if right.kind == "topic" else GROUP
                await create(admin, (kind, right.name, LITERAL, f"User:{name}", "*", right.operation, ALLOW))

    async def forbid(self, name: str, right: Right) -> None:
        """Take one right away again; returns when the broker knows."""
        async with admin_client(self.admin()) as admin:
            kind = TOPIC if right.kind == "topic" else GROUP
            acl = (kind, right.name, LITERAL, f"User:{name}", "*", right.operation, ALLOW)
            await admin._send_to_controller(DeleteAclsRequest(*acl))
            await known(admin, acl, there=False)

    def stranger(self, **overrides: Any) -> Settings:
        """Settings of a user who may connect, and nothing else."""
        return self._settings(STRANGER, overrides)

    def _settings(self, user: tuple[str, str], overrides: dict[str, Any]) -> Settings:
        return Settings.load(
            **{
                "kafka_bootstrap_servers": self.broker.bootstrap_servers,
                "kafka_security_protocol": "SASL_SSL",
                "kafka_sasl_username": user[0],
                "kafka_sasl_password": user[1],
                "kafka_ssl_cafile": self.authority.cafile,
                **overrides,
            }
        )


@pytest.fixture
def secure_kafka(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> SecureKafka:
    """SCRAM-SHA-512 over TLS with ACLs, for some files one after the other (`tests.sharing`): idle for the rest of a
    run it would cost more than it takes to start. It would create any topic that a client names, as Kafka does by
    default."""  # noqa: D205, D209
    return pytestconfig.stash[SHARED].get("secure_kafka", lambda: _secure(tmp_path_factory))


@contextmanager
def _secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureKafka]:
    directory = tmp_path_factory.mktemp("secure")
    authority = Authority(directory)
    security = LocalSecurity(
        keystore=authority.issue("broker").pem,
        truststore=authority.cafile,
        admin=ADMIN,
        users={**dict([PIPELINE, STRANGER]), **EACH},
        acls=True,
        client_certificates="requested",
    )
    properties = {"auto.create.topics.enable": "true"}
    with LocalKafka.start(directory / "kafka", heap_mb=256, security=security, properties=properties) as broker:
        secure = SecureKafka(broker, authority)
        asyncio.run(allow_pipeline(secure.admin()))
        yield secure


async def allow_pipeline(settings: Settings) -> None:
    """The ACLs of the pipeline's user: the topics and groups of its prefix, all operations."""
    async with admin_client(settings) as admin:
        for resource in (TOPIC, GROUP):
            await create(admin, (resource, "app.", PREFIXED, f"User:{PIPELINE[0]}", "*", ALL, ALLOW))


async def create(admin: AIOKafkaAdminClient, acl: Acl) -> None:
    """Create one ACL; returns when the broker knows."""
    answer = await admin._send_to_controller(CreateAclsRequest(*acl))
    assert [code for code, _ in answer.creation_responses] == [0]
    await known(admin, acl, there=True)


async def known(admin: AIOKafkaAdminClient, acl: Acl, *, there: bool) -> None:
    """Wait until the broker goes by it: a change is answered when the controller has it, which may be a little before.

    The broker describes what it asks itself for each request.
    """
    async with asyncio.timeout(PATIENCE_S):
        while True:
            answer = await admin._send_request(DescribeAclsRequest(*acl))
            assert not answer.error_code, answer
            if bool(answer.resources) is there:
                return
            await asyncio.sleep(POLL_S)
