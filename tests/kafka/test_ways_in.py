"""Every way into a company's Kafka: tokens, certificates, passwords that change; and what is said when one is shut."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.errors import TopicAuthorizationFailedError
from aiokafka.structs import TopicPartition
from faust.transport.drivers.aiokafka import credentials_to_aiokafka_auth
from structlog.testing import capture_logs

from pipeline.doctor.examination import examine
from pipeline.errors import BrokerUnreachableError, SettingsError
from pipeline.kafka import tokens
from pipeline.kafka.cluster.admin import open_admin
from pipeline.kafka.cluster.lag import ConsumedTopic
from pipeline.kafka.cluster.lag_reader import read_lag
from pipeline.kafka.cluster.topics import check_topics
from pipeline.kafka.local import class_archive, distribution
from pipeline.kafka.local.broker import LocalKafka
from pipeline.kafka.local.config import LocalSecurity
from pipeline.kafka.local.node import java_command
from pipeline.kafka.local.ports import Ports, free_port
from pipeline.kafka.readers import new_reader
from pipeline.kafka.reconnect import steady
from pipeline.kafka.security import client_options, faust_broker
from pipeline.kafka.throttling import Throttling
from pipeline.kafka.worker.options import faust_options
from pipeline.settings import Settings
from tests.kafka.conftest import ADMIN, PIPELINE, Authority, SecureKafka, allow_pipeline
from tests.kafka.issuer import AUDIENCE, CLIENT, NAME, SCOPE, SECRET, Issuer, issuing

WITHIN_S = 60.0
LISTENERS = {
    "CLIENTS": "SASL_SSL",
    "OAUTH": "SASL_SSL",
    "PLAIN": "SASL_SSL",
    "MUTUAL": "SSL",
    "CONTROLLER": "PLAINTEXT",
}
HANDLER = "org.apache.kafka.common.security.oauthbearer.OAuthBearerValidatorCallbackHandler"
MODULES = "org.apache.kafka.common.security"


@dataclass(frozen=True)
class House:
    """One broker with a door for each way in; whoever comes in is the user `pipeline`."""

    secure: SecureKafka
    authority: Authority
    issuer: Issuer
    ports: dict[str, int]

    def by_token(self, **overrides: Any) -> Settings:
        """Settings for OAUTHBEARER by client credentials."""
        given = {
            "kafka_bootstrap_servers": f"127.0.0.1:{self.ports['OAUTH']}",
            "kafka_security_protocol": "SASL_SSL",
            "kafka_sasl_mechanism": "OAUTHBEARER",
            "kafka_ssl_cafile": self.authority.cafile,
            "kafka_oauth_token_url": self.issuer.url,
            "kafka_oauth_client_id": CLIENT,
            "kafka_oauth_client_secret": SECRET,
            "kafka_oauth_scope": SCOPE,
            "kafka_oauth_cafile": self.authority.cafile,
        }
        return Settings.load(**(given | overrides))

    def by_certificate(self, pem: Path, **overrides: Any) -> Settings:
        """Settings for mutual TLS alone."""
        given = {
            "kafka_bootstrap_servers": f"127.0.0.1:{self.ports['MUTUAL']}",
            "kafka_security_protocol": "SSL",
            "kafka_ssl_cafile": self.authority.cafile,
            "kafka_ssl_certfile": pem,
        }
        return Settings.load(**(given | overrides))

    def by_password(self, **overrides: Any) -> Settings:
        """Settings for PLAIN over TLS."""
        servers = f"127.0.0.1:{self.ports['PLAIN']}"
        return self.secure.pipeline(kafka_bootstrap_servers=servers, kafka_sasl_mechanism="PLAIN", **overrides)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """The broker, for all of this file."""
    directory = tmp_path_factory.mktemp("house")
    authority = Authority(directory)
    ports: dict[str, int] = {}
    jwks = directory / "jwks.json"

    def properties(own: Ports) -> dict[str, str]:
        others = {name: free_port() for name in LISTENERS}
        ports.update(others | {"CLIENTS": own.clients, "CONTROLLER": own.controller})
        return doors(ports, jwks)

    with issuing(authority.issue("issuer").pem) as issuer:
        issuer.write_jwks(jwks)
        security = LocalSecurity(
            keystore=authority.issue("broker").pem,
            truststore=authority.cafile,
            admin=ADMIN,
            users=dict([PIPELINE]),
            acls=True,
        )
        with LocalKafka.start(
            directory / "kafka",
            heap_mb=256,
            security=security,
            jvm_options=[
                *class_archive.options(distribution.libraries()),
                f"-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls={jwks.as_uri()}",
            ],
            properties=properties,
        ) as broker:
            secure = SecureKafka(broker, authority)
            asyncio.run(allow_pipeline(secure.admin()))
            yield House(secure, authority, issuer, ports)


def doors(ports: dict[str, int], jwks: Path) -> dict[str, str]:
    """The broker's configuration beyond that of its SCRAM listener."""
    at = {name: f"{name}://127.0.0.1:{port}" for name, port in ports.items()}
    oauth, plain = "listener.name.oauth", "listener.name.plain"
    return {
        "listeners": ",".join(at.values()),
        "advertised.listeners": ",".join(text for name, text in at.items() if name != "CONTROLLER"),
        "listener.security.protocol.map": ",".join(f"{name}:{protocol}" for name, protocol in LISTENERS.items()),
        f"{oauth}.sasl.enabled.mechanisms": "OAUTHBEARER",
        f"{oauth}.oauthbearer.sasl.server.callback.handler.class": HANDLER,
        f"{oauth}.oauthbearer.sasl.jaas.config": f"{MODULES}.oauthbearer.OAuthBearerLoginModule required;",
        f"{oauth}.oauthbearer.connections.max.reauth.ms": "3600000",
        f"{oauth}.sasl.oauthbearer.jwks.endpoint.url": jwks.as_uri(),
        f"{oauth}.sasl.oauthbearer.expected.audience": AUDIENCE,
        f"{oauth}.sasl.oauthbearer.expected.issuer": NAME,
        f"{oauth}.sasl.oauthbearer.clock.skew.seconds": "0",
        f"{plain}.sasl.enabled.mechanisms": "PLAIN",
        f"{plain}.plain.sasl.jaas.config": (
            f'{MODULES}.plain.PlainLoginModule required user_{PIPELINE[0]}="{PIPELINE[1]}";'
        ),
        "listener.name.mutual.ssl.client.auth": "required",
        "listener.name.mutual.ssl.principal.mapping.rules": "RULE:^CN=([a-z]+).*$/$1/",
    }


@pytest.fixture
async def _connections_end() -> AsyncIterator[None]:
    """End refused connections before the loop ends: their TLS good-bye may take 30 s, and aiokafka waits for none."""
    yield
    for transport in list(cast("Any", asyncio.get_running_loop())._transports.values()):
        transport.abort()
    await asyncio.sleep(0)


@pytest.fixture
def issuer(house: House) -> Iterator[Issuer]:
    """The issuer, as at first; nobody has a token yet."""
    kept = dict(vars(house.issuer))
    tokens._by_client_credentials.cache_clear()
    yield house.issuer
    vars(house.issuer).update(kept)
    tokens._by_client_credentials.cache_clear()


async def topic_of(house: House) -> str:
    """A new topic that the pipeline's user may use."""
    topic = f"app.{uuid.uuid4().hex[:8]}"
    async with open_admin(house.secure.admin()) as admin:
        await admin.create(topic, 1, -1, {})
    return topic


async def there_and_back(settings: Settings, topic: str) -> None:
    """Producer, consumer in a group, reader, admin and lag: every client that the stages and commands have."""
    assert await check_topics(settings, [topic]) == {topic: 1}
    async with AIOKafkaProducer(**client_options(settings), enable_idempotence=True) as producer:
        for value in (b"1", b"2"):
            await producer.send_and_wait(topic, value)
    async with AIOKafkaConsumer(
        topic, **client_options(settings), group_id=topic, enable_auto_commit=False, auto_offset_reset="earliest"
    ) as consumer:
        assert (await consumer.getone()).value == b"1"
        await consumer.commit()
    reader = new_reader(settings)
    try:
        await reader.start()
        assert await ends_of(reader, topic) == 2
    finally:
        await reader.stop()
    assert [row.records for row in await read_lag(settings, [ConsumedTopic(topic, topic)])] == [1]


async def refusal(settings: Settings) -> str:
    """What is said to somebody who is not let in."""
    with pytest.raises(BrokerUnreachableError) as caught:
        await check_topics(settings, ["app.x"])
    return str(caught.value)


@pytest.mark.kafka
async def test_every_client_by_token(house: House, issuer: Issuer) -> None:
    """All clients come in by OAUTHBEARER, and one token is enough for all of them."""
    await there_and_back(house.by_token(), await topic_of(house))
    assert [asked["grant_type"] for asked in issuer.asked] == [["client_credentials"]]


@pytest.mark.kafka
async def test_a_connection_outlives_its_tokens(house: House, issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A producer under traffic logs in again before each token ends: the same connection goes on, and all arrives."""
    # A quarter of a short life would be too little for a machine that stands still for a moment.
    monkeypatch.setattr("pipeline.kafka.connection.AGAIN_AT", 0.3)
    monkeypatch.setattr(tokens, "RENEWED_AT", 0.25)
    topic = await topic_of(house)
    issuer.life_s = 10
    issuer.asked.clear()
    sent = 0
    async with AIOKafkaProducer(**client_options(house.by_token()), enable_idempotence=True) as producer:
        await producer.send_and_wait(topic, b"first")
        before = list(producer.client._conns.values())
        async with asyncio.timeout(WITHIN_S):
            while len(issuer.asked) < 6:  # the sixth is asked for when the first two have run out
                await producer.send_and_wait(topic, str(sent).encode())
                sent += 1
        await producer.send_and_wait(topic, b"last")
        assert [one for one in before if one in producer.client._conns.values()] == before
        assert all(one.connected() for one in before)
    reader = new_reader(house.secure.pipeline())
    await reader.start()
    try:
        assert await ends_of(reader, topic) == sent + 2
    finally:
        await reader.stop()


async def ends_of(reader: AIOKafkaConsumer, topic: str) -> int:
    """Where the log of its only partition ends."""
    return sum((await reader.end_offsets([TopicPartition(topic, 0)])).values())


@pytest.mark.kafka
async def test_an_issuer_that_is_away_for_a_while(house: House, issuer: Issuer) -> None:
    """With the issuer away a session ends; once it is back a producer of records that wait goes on, none is lost."""
    topic = await topic_of(house)
    issuer.life_s = 4
    producer = AIOKafkaProducer(**client_options(house.by_token()), enable_idempotence=True)
    steady(producer.client)
    await producer.start()
    try:
        await producer.send_and_wait(topic, b"1")
        issuer.status = 503
        issuer.asked.clear()
        waiting: list[asyncio.Future[Any]] = []
        async with asyncio.timeout(WITHIN_S):
            # The first question is of the login that is due, the second of a connection to take the place of its own.
            while len(issuer.asked) < 3:
                waiting.append(await producer.send(topic, str(len(waiting)).encode()))
                await asyncio.sleep(0.05)  # traffic, not a wait
            issuer.status = 200
            await asyncio.gather(*waiting)
        reader = new_reader(house.secure.pipeline())
        await reader.start()
        try:
            assert await ends_of(reader, topic) == 1 + len(waiting)
        finally:
            await reader.stop()
    finally:
        await producer.stop()


ISSUER_FAULTS: dict[str, tuple[dict[str, Any], dict[str, Any], list[str]]] = {
    "a wrong secret": (
        {},
        {"kafka_oauth_client_secret": "wrong-4711"},
        ["refused to give a token", "invalid_client", "PIPELINE_KAFKA_OAUTH_CLIENT_SECRET"],
    ),
    "a scope that the issuer does not know": (
        {},
        {"kafka_oauth_scope": "other"},
        ["invalid_scope", "PIPELINE_KAFKA_OAUTH_SCOPE"],
    ),
    "an issuer that nobody can reach": (
        {},
        {"kafka_oauth_token_url": "https://127.0.0.1:1/token"},
        ["could not be reached", "PIPELINE_KAFKA_OAUTH_TOKEN_URL"],
    ),
    "an issuer in trouble": ({"status": 500}, {}, ["answered 500", "PIPELINE_KAFKA_OAUTH_TOKEN_URL"]),
    "an issuer that is not trusted": (
        {},
        {"kafka_oauth_cafile": None},
        ["not trusted", "PIPELINE_KAFKA_OAUTH_CAFILE"],
    ),
    "a token that has run out": (
        {"starts_s": -7200},
        {},
        ["brokers refused the token", "clock", "PIPELINE_KAFKA_OAUTH_TOKEN_URL"],
    ),
    "a token for somebody else": (
        {"audience": "other"},
        {},
        ["brokers refused the token", "audience", "PIPELINE_KAFKA_OAUTH_SCOPE"],
    ),
}


@pytest.mark.usefixtures("_connections_end")
@pytest.mark.kafka
@pytest.mark.parametrize("fault", ISSUER_FAULTS)
async def test_a_token_s_fault_names_its_setting(house: House, issuer: Issuer, fault: str) -> None:
    """Without a good token it is said what the issuer or broker said, and what to check; never the secret."""
    switches, overrides, expected = ISSUER_FAULTS[fault]
    vars(issuer).update(switches)
    settings = house.by_token(**overrides)
    said = await refusal(settings)
    for text in expected:
        assert text in said
    assert settings.kafka_oauth_client_secret is not None
    assert settings.kafka_oauth_client_secret.get_secret_value() not in said


@pytest.mark.usefixtures("_connections_end")
@pytest.mark.kafka
async def test_a_token_that_the_brokers_refuse_is_not_kept(
    house: House, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is good for an hour by its own word: as soon as the issuer gives another one, the same process comes in."""
    monkeypatch.setattr(tokens, "AGAIN_S", 0.0)
    topic, settings = await topic_of(house), house.by_token()
    issuer.audience = "other"
    assert "brokers refused the token" in await refusal(settings)
    issuer.audience = AUDIENCE
    assert await check_topics(settings, [topic]) == {topic: 1}


async def test_when_a_token_is_asked_for_anew() -> None:
    """At three fifths of its life, or once it was refused, but no sooner than five seconds after the last one."""
    now, asked = 100.0, 0

    def ask() -> tokens.Token:
        nonlocal asked
        asked += 1
        return tokens.Token(str(asked), 600.0)

    provider = tokens.Tokens(ask, lambda: now)
    told = []
    for wait_s, is_refused in ((0, False), (359, False), (2, False), (1, True), (3, False), (2, False), (300, False)):
        now += wait_s
        if is_refused:
            provider.refused()
        told.append(await provider.token())
    assert told == ["1", "1", "2", "2", "2", "3", "3"]


@pytest.mark.skipif(not hasattr(time, "CLOCK_BOOTTIME"), reason="this system has no clock that sees a suspension")
async def test_a_token_ages_while_the_host_is_suspended(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its issuer and the brokers were awake: one that has run out is not offered to them."""
    slept_s = 0.0
    read = time.clock_gettime

    def boot_time(clock: int) -> float:
        return read(clock) + (slept_s if clock == time.CLOCK_BOOTTIME else 0.0)

    monkeypatch.setattr(time, "clock_gettime", boot_time)
    given = iter(("before", "after"))
    provider = tokens.Tokens(lambda: tokens.Token(next(given), 3600.0))
    assert [await provider.token() for _ in range(2)] == ["before", "before"]
    slept_s = 4000.0
    assert await provider.token() == "after"


@pytest.mark.usefixtures("_connections_end")
@pytest.mark.kafka
async def test_doctor_says_it_too(house: House, issuer: Issuer) -> None:  # noqa: ARG001 - forgets tokens
    """Bad credentials are one fault, and what nobody could look at is unknown."""
    settings = house.by_token(kafka_oauth_client_secret="wrong-4711")
    found = [finding async for finding in examine(settings, ["brokers", "topics", "groups"])]
    assert [(one.check, one.verdict) for one in found] == [
        ("brokers", "fault"),
        ("topics", "unknown"),
        ("groups", "unknown"),
    ]
    assert "PIPELINE_KAFKA_OAUTH_CLIENT_SECRET" in found[0].text


@pytest.mark.kafka
async def test_every_client_by_certificate_alone(house: House) -> None:
    """All clients come in by mutual TLS, without a password."""
    pem = house.authority.issue("pipeline").pem
    await there_and_back(house.by_certificate(pem), await topic_of(house))


@pytest.mark.kafka
async def test_every_client_by_plain(house: House) -> None:
    """All clients come in by PLAIN over TLS."""
    await there_and_back(house.by_password(), await topic_of(house))


@pytest.mark.usefixtures("_connections_end")
@pytest.mark.kafka
async def test_a_wrong_plain_password(house: House) -> None:
    """PLAIN's refusal names the password, as SCRAM's does."""
    assert "PIPELINE_KAFKA_SASL_PASSWORD" in await refusal(house.by_password(kafka_sasl_password="wrong"))


@pytest.mark.kafka
async def test_a_password_is_changed_under_traffic(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SCRAM's password is changed at the brokers and in its file: connections stand, and new ones take the new one."""
    topic, file = await topic_of(house), tmp_path / "password"
    file.write_text(PIPELINE[1])
    monkeypatch.setenv("PIPELINE_KAFKA_SASL_PASSWORD_FILE", str(file))
    given = house.secure.pipeline().model_dump(exclude_unset=True, exclude={"kafka_sasl_password"})
    settings = Settings.load(**given)
    producer = AIOKafkaProducer(**client_options(settings), enable_idempotence=True)
    steady(producer.client)
    await producer.start()
    try:
        await producer.send_and_wait(topic, b"1")
        await asyncio.to_thread(change_password, house, "a-new, password")
        await producer.send_and_wait(topic, b"2")
        file.write_text("a-new, password\n")
        for connection in list(producer.client._conns.values()):
            connection.close()
        async with asyncio.timeout(WITHIN_S):
            await producer.send_and_wait(topic, b"3")
        await there_and_back(settings, await topic_of(house))
    finally:
        await producer.stop()
        await asyncio.to_thread(change_password, house, PIPELINE[1])


@pytest.mark.kafka
async def test_a_certificate_is_renewed_under_traffic(house: House, tmp_path: Path) -> None:
    """The connection that stands goes on; each new one comes in by the certificate that is in the file by then."""
    topic, certificate = await topic_of(house), tmp_path / "tls.pem"
    certificate.write_bytes(house.authority.issue("pipeline").pem.read_bytes())
    producer = AIOKafkaProducer(**client_options(house.by_certificate(certificate)), enable_idempotence=True)
    steady(producer.client)
    await producer.start()
    try:
        await producer.send_and_wait(topic, b"1")
        for name, value in (("pipeline", b"2"), ("nobody", b"3")):
            certificate.write_bytes(house.authority.issue(name).pem.read_bytes())
            await producer.send_and_wait(topic, value)
            for connection in list(producer.client._conns.values()):
                connection.close()
            async with asyncio.timeout(WITHIN_S):
                if name == "pipeline":
                    await producer.send_and_wait(topic, value)
                else:  # the brokers know nobody by his certificate, and he has no rights
                    with pytest.raises(TopicAuthorizationFailedError):
                        await producer.send_and_wait(topic, value)
    finally:
        await producer.stop()


@pytest.mark.kafka
async def test_doctor_says_when_the_certificate_ends(house: House) -> None:
    """Two days are too few: that is a warning with what to do."""
    settings = house.by_certificate(house.authority.issue("pipeline").pem)
    found = [finding async for finding in examine(settings, ["brokers"]) if finding.subject == "certificate"]
    assert [one.verdict for one in found] == ["warning"]
    assert "in 1 days" in found[0].text
    assert "PIPELINE_KAFKA_SSL_CERTFILE" in (found[0].remedy or "")


@pytest.mark.kafka
async def test_a_quota_is_seen(house: House) -> None:
    """What the brokers hold a client back for is counted by request, and said once with its client id."""
    topic, client_id = await topic_of(house), f"throttled-{uuid.uuid4().hex[:8]}"
    await asyncio.to_thread(
        alter, house, "producer_byte_rate=20000", "--entity-type", "clients", "--entity-name", client_id
    )
    quotas = Throttling()
    options = client_options(house.by_password(kafka_client_id=client_id))
    producer = AIOKafkaProducer(**options, enable_idempotence=True)
    steady(producer.client, quotas=quotas)
    with capture_logs() as said:
        async with producer, asyncio.timeout(WITHIN_S):
            while not quotas.seconds["produce"]:
                await producer.send_and_wait(topic, b"x" * 100_000)
    told = [one for one in said if "throttle this client" in one["event"]]
    assert [one["client_id"] for one in told] == [client_id]


def change_password(house: House, password: str) -> None:
    """Give the pipeline's user another password."""
    config = f"SCRAM-SHA-512=[iterations=4096,password={password}]"
    alter(house, config, "--entity-type", "users", "--entity-name", PIPELINE[0])


def alter(house: House, config: str, *whose: str) -> None:
    """Change what the broker has for a user or a client, by Kafka's own tool."""
    broker, name = house.secure.broker, house.authority.directory / "tool.properties"
    text = ADMIN[1].replace("\\", "\\\\").replace('"', '\\"').replace("\\", "\\\\")
    name.write_text(
        "security.protocol=SASL_SSL\nsasl.mechanism=SCRAM-SHA-512\nssl.truststore.type=PEM\n"
        f"ssl.truststore.location={house.authority.cafile}\nsasl.jaas.config={MODULES}.scram.ScramLoginModule required "
        f'username="{ADMIN[0]}" password="{text}";\n'
    )
    arguments = ["--bootstrap-server", broker.bootstrap_servers, "--command-config", str(name), "--alter"]
    change = ["--add-config", config]
    java = java_command(broker.directory, distribution.libraries(), 128)
    subprocess.run(
        [*java, "org.apache.kafka.tools.ConfigCommand", *arguments, *change, *whose],
        check=True,
        stdout=subprocess.DEVNULL,
    )


class Signer:
    """A stand-in for the vendor's: it signs with nothing, and tells when that ends."""

    asked: list[str]

    def __init__(self) -> None:
        self.asked = []
        self.error: Exception | None = None

    def generate_auth_token(self, region: str) -> tuple[str, int]:
        """A token and its end, in unix milliseconds."""
        self.asked.append(region)
        if self.error is not None:
            raise self.error
        return "signed", int((time.time() + 900) * 1000)


@pytest.fixture
def signer(monkeypatch: pytest.MonkeyPatch) -> Iterator[Signer]:
    """The extra is installed, as far as we can tell."""
    one = Signer()
    monkeypatch.setitem(sys.modules, "aws_msk_iam_sasl_signer", cast("Any", SimpleNamespace(MSKAuthTokenProvider=one)))
    tokens._by_aws.cache_clear()
    yield one
    tokens._by_aws.cache_clear()


MSK = {"kafka_security_protocol": "SASL_SSL", "kafka_sasl_mechanism": "AWS_MSK_IAM", "kafka_msk_region": "eu-central-1"}


async def test_a_token_of_the_aws_signer(signer: Signer) -> None:
    """With AWS_MSK_IAM every client says OAUTHBEARER, with a token that the vendor's signer made for the region."""
    settings = Settings.load(**MSK)
    options = client_options(settings)
    assert options["sasl_mechanism"] == "OAUTHBEARER"
    assert await options["sasl_oauth_token_provider"].token() == "signed"
    told = dict(credentials_to_aiokafka_auth(faust_broker(settings)[1], None))
    assert await told["sasl_oauth_token_provider"].token() == "signed"
    assert signer.asked == ["eu-central-1"]


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (RuntimeError("The profile is unknown"), "The profile is unknown"),
        (AttributeError("'NoneType' object has no attribute 'access_key'"), "this machine has no AWS credentials"),
    ],
)
async def test_the_aws_signer_gives_no_token(signer: Signer, error: Exception, says: str) -> None:
    """What the signer says is the reason that is told; version 1.0.2 says it thus when there are no credentials."""
    signer.error = error
    with pytest.raises(tokens.TokenError, match=f"the AWS signer gave no token: {says}"):
        await client_options(Settings.load(**MSK))["sasl_oauth_token_provider"].token()


def test_the_aws_signer_is_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it the settings are at fault, and what to install is said."""
    monkeypatch.setitem(sys.modules, "aws_msk_iam_sasl_signer", cast("Any", None))
    tokens._by_aws.cache_clear()
    with pytest.raises(SettingsError, match=r"PIPELINE_KAFKA_SASL_MECHANISM: .*dodo-customerio\[msk\]"):
        client_options(Settings.load(**MSK))


def test_every_client_has_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client id that quotas go by is that of our own clients and of Faust's."""
    monkeypatch.setenv("PIPELINE_KAFKA_CLIENT_ID", "webhooks-eu")
    settings = Settings.load()
    assert client_options(settings)["client_id"] == "webhooks-eu"
    assert faust_options(settings)["broker_client_id"] == "webhooks-eu"


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        ({"kafka_oauth_client_secret": None}, "needs .*PIPELINE_KAFKA_OAUTH_CLIENT_SECRET"),
        ({"kafka_sasl_username": "u"}, "PIPELINE_KAFKA_SASL_USERNAME is set but PIPELINE_KAFKA_SASL_MECHANISM"),
        ({"kafka_oauth_cafile": "/nowhere"}, "PIPELINE_KAFKA_OAUTH_CAFILE: /nowhere must hold PEM"),
        ({"kafka_security_protocol": "SSL"}, "PIPELINE_KAFKA_OAUTH_TOKEN_URL is set but"),
        ({"kafka_oauth_token_url": "issuer"}, "PIPELINE_KAFKA_OAUTH_TOKEN_URL: "),
    ],
)
def test_settings_that_cannot_be_meant(overrides: dict[str, Any], says: str) -> None:
    """Half a way in, or one that the mechanism ignores, is refused by the names of its settings."""
    given = {
        "kafka_security_protocol": "SASL_SSL",
        "kafka_sasl_mechanism": "OAUTHBEARER",
        "kafka_oauth_token_url": "https://issuer.example.com/token",
        "kafka_oauth_client_id": "c",
        "kafka_oauth_client_secret": "s",
    }
    with pytest.raises(SettingsError, match=says):
        client_options(Settings.load(**(given | overrides)))
