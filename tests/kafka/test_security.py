"""Every client reaches a secured broker with the same settings, and a fault names the setting."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, cast

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from faust.transport.drivers.aiokafka import credentials_to_aiokafka_auth, server_list
from structlog.testing import capture_logs

from pipeline.errors import BrokerUnreachableError, SettingsError, TopicError
from pipeline.ingest import producer as ingest
from pipeline.ingest.producer import DurableProducer
from pipeline.ingest.store import NotStored, Stored
from pipeline.kafka.cluster.admin import open_admin
from pipeline.kafka.cluster.lag import ConsumedTopic
from pipeline.kafka.cluster.lag_reader import read_lag
from pipeline.kafka.cluster.topics import TopicSpec, actual_topics, apply, check_topics, plan
from pipeline.kafka.reach import explaining
from pipeline.kafka.records import OutRecord
from pipeline.kafka.security import client_options, faust_broker
from pipeline.settings import Settings
from pipeline.watch.pulse import PATIENCE_S
from tests.admin import admin_client
from tests.kafka.shared import SharedKafka

SASL = {"kafka_sasl_username": "u", "kafka_sasl_password": "p-4711"}


def test_plaintext() -> None:
    """Without security, nothing but the addresses is told to a client."""
    assert client_options(Settings.load(kafka_bootstrap_servers="a:1, b:9092 ,[::1]:3")) == {
        "bootstrap_servers": ["a:1", "b:9092", "[::1]:3"],
        "client_id": "dodo-cio",
        "security_protocol": "PLAINTEXT",
        "ssl_context": None,
    }


@pytest.mark.parametrize(
    "overrides",
    [
        {},
        {"kafka_bootstrap_servers": "kafka-1.example.com:9093,[::1]:9092"},
        {"kafka_security_protocol": "SSL"},
        {"kafka_security_protocol": "SASL_SSL", **SASL},
        {"kafka_security_protocol": "SASL_SSL", "kafka_sasl_mechanism": "PLAIN", **SASL},
        {"kafka_security_protocol": "SASL_PLAINTEXT", "kafka_sasl_mechanism": "SCRAM-SHA-256", **SASL},
    ],
)
def test_faust_is_told_the_same(overrides: dict[str, Any]) -> None:
    """What Faust hands to its aiokafka clients equals what our own clients get, for every protocol."""
    settings = Settings.load(**overrides)
    own = client_options(settings)
    urls, credentials = faust_broker(settings)
    told = dict(credentials_to_aiokafka_auth(credentials, None))
    assert server_list(urls, 9092) == own["bootstrap_servers"]
    assert (told.pop("ssl_context", None) is None) == (own["ssl_context"] is None)
    assert told == {
        name: value for name, value in own.items() if name not in {"bootstrap_servers", "client_id", "ssl_context"}
    }


def test_tls_checks_the_host_name() -> None:
    """The broker's certificate must be valid and for the host that was asked for."""
    context = client_options(Settings.load(kafka_security_protocol="SSL"))["ssl_context"]
    assert context.check_hostname
    assert context.verify_mode is ssl.CERT_REQUIRED


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        ({"kafka_ssl_cafile": "/nowhere/ca.pem"}, "PIPELINE_KAFKA_SSL_CAFILE: /nowhere/ca.pem .*No such file"),
        ({"kafka_ssl_cafile": "{junk}"}, "PIPELINE_KAFKA_SSL_CAFILE: .*junk.pem .*holds something else"),
        ({"kafka_ssl_certfile": "/nowhere/c.pem"}, "PIPELINE_KAFKA_SSL_CERTFILE: /nowhere/c.pem .*No such file"),
        ({"kafka_ssl_certfile": "{junk}"}, "PIPELINE_KAFKA_SSL_CERTFILE: .*junk.pem .*holds something else"),
        (
            {"kafka_ssl_certfile": "{junk}", "kafka_ssl_keyfile": "/nowhere/k.pem"},
            "PIPELINE_KAFKA_SSL_KEYFILE: /nowhere/k.pem .*No such file",
        ),
        ({"kafka_ssl_keyfile": "{junk}"}, "PIPELINE_KAFKA_SSL_KEYFILE needs PIPELINE_KAFKA_SSL_CERTFILE"),
    ],
)
def test_unusable_files(tmp_path: Path, overrides: dict[str, str], says: str) -> None:
    """A missing, unreadable or foreign file is refused with its variable and path."""
    junk = tmp_path / "junk.pem"
    junk.write_text("not a certificate")
    values = {name: value.format(junk=junk) for name, value in overrides.items()}
    with pytest.raises(SettingsError, match=says):
        client_options(Settings.load(kafka_security_protocol="SSL", **values))


def test_an_encrypted_key_asks_nobody(tmp_path: Path) -> None:
    """A key with a password is refused; OpenSSL's question on the terminal would hang a worker for ever."""
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-subj", "/CN=x"),
            *("-passout", "pass:secret", "-keyout", str(key), "-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
    )
    settings = Settings.load(
        kafka_security_protocol="SSL",
        kafka_ssl_certfile=certificate,
        kafka_ssl_keyfile=key,
        kafka_ssl_cafile=certificate,
    )
    with pytest.raises(SettingsError, match=r"CERTFILE.*key without a password in PIPELINE_KAFKA_SSL_KEYFILE"):
        client_options(settings)


@pytest.mark.parametrize(
    ("overrides", "variable"),
    [
        ({"kafka_ssl_cafile": "/ca.pem"}, "PIPELINE_KAFKA_SSL_CAFILE"),
        (SASL, "PIPELINE_KAFKA_SASL_USERNAME"),
        ({"kafka_security_protocol": "SSL", **SASL}, "PIPELINE_KAFKA_SASL_USERNAME"),
        (
            {"kafka_security_protocol": "SASL_PLAINTEXT", "kafka_ssl_certfile": "/c.pem", **SASL},
            "PIPELINE_KAFKA_SSL_CERTFILE",
        ),
    ],
)
def test_a_credential_without_effect(overrides: dict[str, str], variable: str) -> None:
    """A credential that the protocol ignores is refused: somebody believes that the connection is protected."""
    with pytest.raises(SettingsError, match=f"{variable} is set but PIPELINE_KAFKA_SECURITY_PROTOCOL"):
        client_options(Settings.load(**overrides))


def own_names() -> ConsumedTopic:
    """A group and a topic within the pipeline's ACLs."""
    return ConsumedTopic(f"app.{uuid.uuid4().hex[:8]}", f"app.{uuid.uuid4().hex[:8]}")


@pytest.mark.kafka
async def test_every_client_with_the_same_settings(secure_kafka: Any) -> None:
    """Topics, producer, consumer in a group, and lag work for an ordinary user over SCRAM-SHA-512 and TLS with ACLs."""
    settings, flow = secure_kafka.pipeline(), own_names()
    specs = [TopicSpec(flow.topic, 2, {"retention.ms": "3600000"})]
    await apply(settings, plan(specs, await actual_topics(settings, specs)))
    assert await check_topics(settings, [flow.topic]) == {flow.topic: 2}

    async with AIOKafkaProducer(**client_options(settings), enable_idempotence=True) as producer:
        for value in (b"1", b"2", b"3"):
            await producer.send_and_wait(flow.topic, value, partition=0)
    async with AIOKafkaConsumer(
        flow.topic,
        **client_options(settings),
        group_id=flow.group,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
    ) as consumer:
        record = await consumer.getone()
        await consumer.commit()
    assert record.value == b"1"
    assert [row.records for row in await read_lag(settings, [flow])] == [2, 0]


@pytest.mark.usefixtures("_connections_end")
@pytest.mark.kafka
async def test_a_client_certificate(secure_kafka: Any) -> None:
    """With a certificate of the right authority the broker lets us in; with a foreign one the files are named."""
    pem = secure_kafka.authority.issue("client").pem
    await check_topics(secure_kafka.admin(kafka_ssl_certfile=pem), [])
    foreign = type(secure_kafka.authority)(pem.parent / "foreign").issue("foreign").pem
    with pytest.raises(BrokerUnreachableError, match="PIPELINE_KAFKA_SSL_CERTFILE"):
        await check_topics(secure_kafka.admin(kafka_ssl_certfile=foreign), [])


@pytest.fixture
async def _connections_end() -> AsyncIterator[None]:
    """End refused connections before the loop ends: their TLS good-bye may take 30 s, and aiokafka waits for none."""
    yield
    for transport in list(cast("Any", asyncio.get_running_loop())._transports.values()):
        transport.abort()
    await asyncio.sleep(0)


FAULTS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "a wrong password": (
        {"kafka_sasl_password": "s3cret-but-wrong"},
        ["user name or password was refused", "PIPELINE_KAFKA_SASL_PASSWORD", "PIPELINE_KAFKA_SASL_USERNAME"],
    ),
    "an unknown user": ({"kafka_sasl_username": "nobody"}, ["PIPELINE_KAFKA_SASL_USERNAME"]),
    "a mechanism that is not offered": (
        {"kafka_sasl_mechanism": "SCRAM-SHA-256"},
        ["PIPELINE_KAFKA_SASL_MECHANISM"],
    ),
    "an authority that is not the broker's": (
        {"kafka_ssl_cafile": None},
        ["not trusted", "PIPELINE_KAFKA_SSL_CAFILE"],
    ),
    "no TLS where TLS is spoken": (
        {"kafka_security_protocol": "SASL_PLAINTEXT", "kafka_ssl_cafile": None},
        ["PIPELINE_KAFKA_SECURITY_PROTOCOL"],
    ),
}


@pytest.mark.usefixtures("_connections_end")
@pytest.mark.kafka
@pytest.mark.parametrize("fault", FAULTS)
async def test_a_fault_names_its_setting(secure_kafka: Any, fault: str) -> None:
    """A client that is not let in says why, names the settings to check, and never repeats the password."""
    overrides, expected = FAULTS[fault]
    settings = secure_kafka.pipeline(**overrides)
    with pytest.raises(BrokerUnreachableError) as caught:
        await check_topics(settings, ["app.x"])
    for text in expected:
        assert text in str(caught.value)
    assert settings.kafka_sasl_password.get_secret_value() not in str(caught.value)


@pytest.mark.usefixtures("_connections_end")
@pytest.mark.kafka
async def test_tls_where_none_is_spoken(kafka: SharedKafka) -> None:
    """TLS to a plaintext listener names the protocol."""
    settings = Settings.load(kafka_bootstrap_servers=kafka.bootstrap_servers, kafka_security_protocol="SSL")
    with pytest.raises(BrokerUnreachableError, match="PIPELINE_KAFKA_SECURITY_PROTOCOL"):
        await check_topics(settings, ["x"])


@pytest.mark.usefixtures("_connections_end")
@pytest.mark.kafka
@pytest.mark.parametrize("client", [AIOKafkaProducer, AIOKafkaConsumer])
async def test_any_client_s_start_is_explained(secure_kafka: Any, client: Callable[..., Any]) -> None:
    """A producer's or consumer's failed start gives the same error as ours."""
    settings = secure_kafka.pipeline(kafka_sasl_password="wrong")
    started = client(**client_options(settings))
    try:
        with pytest.raises(BrokerUnreachableError, match="PIPELINE_KAFKA_SASL_PASSWORD"), explaining(settings):
            await started.start()
    finally:
        await started.stop()


@pytest.mark.kafka
async def test_an_ingest_outlives_a_ca_file_that_is_away(
    secure_kafka: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A producer that breaks meanwhile is replaced once the file is back; `/ready` has the reason, and `/live` ends.

    Not at once: what comes back within five minutes costs no restart.
    """
    cafile = tmp_path / "ca.pem"
    cafile.write_bytes(secure_kafka.authority.cafile.read_bytes())
    topic = own_names().topic
    async with open_admin(secure_kafka.admin()) as admin:
        await admin.create(topic, 1, -1, {})
    monkeypatch.setattr(ingest, "BACKOFF_S", (0.02,))
    clock = 0.0
    durable = DurableProducer(secure_kafka.pipeline(kafka_ssl_cafile=cafile), clock=lambda: clock, within_s=30.0)
    await durable.start()
    try:
        assert isinstance(await stored(durable, topic, OutRecord(b"k", b"1")), Stored)
        away = cafile.rename(tmp_path / "away")
        broken = durable._producer
        assert broken is not None
        with capture_logs() as told:
            durable._break(broken, RuntimeError("the sequence is broken"))
            await until(lambda: "KAFKA_SSL_CAFILE" in (durable.trouble or ""))
            assert isinstance(await stored(durable, topic, OutRecord(b"k", b"2")), NotStored)
            assert durable.live().ok
            clock += 5.0
            await attempted_at(clock, durable)
            assert durable.live().ok
            while durable.live().ok:
                clock += 10.0
                await attempted_at(clock, durable)
            assert clock > PATIENCE_S
            assert "KAFKA_SSL_CAFILE" in durable.live().reason
        assert [line["event"] for line in told] == ["producer broken, replacing it", "no new producer yet"]
        away.rename(cafile)
        await until(lambda: durable.trouble is None)
        assert durable.live().ok
        assert isinstance(await stored(durable, topic, OutRecord(b"k", b"3")), Stored)
    finally:
        await durable.stop()


async def stored(durable: DurableProducer, topic: str, record: OutRecord) -> Stored | NotStored:
    """What becomes of a record."""
    told: asyncio.Future[Stored | NotStored] = asyncio.get_running_loop().create_future()
    durable.put(topic, record, told.set_result)
    return await told


async def attempted_at(clock: float, durable: DurableProducer) -> None:
    """Wait for an attempt at this time of the test's clock."""
    await until(lambda: durable._standing.at == clock)


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what other tasks do."""
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - no seam only for tests
            await asyncio.sleep(0.02)


@pytest.mark.kafka
async def test_a_user_without_acls(secure_kafka: Any) -> None:
    """Who may not see a topic is told which permission is missing; it does not look like an empty cluster."""
    flow = own_names()
    async with open_admin(secure_kafka.admin()) as admin:
        await admin.create(flow.topic, 1, -1, {})
    with pytest.raises(TopicError, match="ACL DESCRIBE"):
        await check_topics(secure_kafka.stranger(), [flow.topic])
    with pytest.raises(TopicError, match="was not created"):
        await apply(secure_kafka.stranger(), plan([TopicSpec("other", 1, {})], {}))


@pytest.mark.kafka
async def test_lag_of_a_hidden_group_is_unknown(secure_kafka: Any) -> None:
    """A group that we may not look at has an unknown lag with the reason, never 0."""
    flow = ConsumedTopic("hidden", own_names().topic)
    async with open_admin(secure_kafka.admin()) as admin:
        await admin.create(flow.topic, 1, -1, {})
    (row,) = await read_lag(secure_kafka.pipeline(), [flow])
    assert (row.records, row.seconds) == (None, None)
    assert row.note
    assert "DESCRIBE on the group" in row.note


@pytest.mark.kafka
async def test_looking_creates_no_topic(secure_kafka: Any) -> None:
    """On a cluster that creates topics by itself, neither a check, a plan nor a lag makes one that is missing."""
    settings, flow = secure_kafka.admin(), own_names()
    with pytest.raises(TopicError, match="does not exist"):
        await check_topics(settings, [flow.topic])
    assert await actual_topics(settings, [TopicSpec(flow.topic, 1, {})]) == {}
    with pytest.raises(TopicError, match="does not exist"):
        await read_lag(settings, [flow])
    async with open_admin(settings) as admin, admin_client(settings) as client:
        assert await admin.partitions([flow.topic]) == {}
        assert await admin.partitions_everywhere(flow.topic) == 0
        assert flow.topic not in await client.list_topics()
