"""Settings are read strictly, and their faults say what to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr, ValidationError

from pipeline.errors import SettingsError
from pipeline.settings import Peer, Settings
from tests.test_urls import MALFORMED


def fault(**values: Any) -> str:
    """The message that these values are refused with."""
    with pytest.raises(SettingsError) as caught:
        Settings.load(**values)
    return str(caught.value)


def test_everything_has_a_default() -> None:
    """A developer's machine needs no variable at all."""
    settings = Settings.load()
    assert settings.kafka_bootstrap_servers == "localhost:9092"
    assert settings.person_id_chain == ("customer_id",)


def test_environment_and_overrides(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command's flag wins over the environment, the environment over the default."""
    monkeypatch.setenv("PIPELINE_LANES", "3")
    monkeypatch.setenv("PIPELINE_PORT", "9999")
    settings = Settings.load(port=0)
    assert (settings.lanes, settings.port) == (3, 0)


def test_settings_cannot_change() -> None:
    """What was checked at the start stays as it was."""
    with pytest.raises(ValidationError):
        Settings.load().lanes = 9


@pytest.mark.parametrize(("stage", "port"), [("ingest", 8080), ("transform", 8081), ("sink", 8082)])
def test_ports(stage: Any, port: int) -> None:
    """Three stages on one machine do not collide; a given port is every stage's."""
    assert Settings.load().port_of(stage) == port
    assert Settings.load(port=0).port_of(stage) == 0


def test_empty_variables_count_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    """`${VAR:-}` of a Compose file leaves empty variables behind; they mean the default."""
    for name in ("PORT", "LANES", "CUSTOMERIO_API_KEY", "WEBHOOKS_TOPIC", "DODO_WEBHOOK_SECRETS", "PORT_FILE"):
        monkeypatch.setenv(f"PIPELINE_{name}", "")
    assert Settings.load() == Settings.load(
        port=None, lanes=8, customerio_api_key=None, webhooks_topic="dodo.webhooks", dodo_webhook_secrets=()
    )


def test_lists_of_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two secrets while one is rotated: spaces and empty items do not matter, the values stay hidden."""
    monkeypatch.setenv("PIPELINE_DODO_WEBHOOK_SECRETS", "whsec_a, whsec_b,,")
    settings = Settings.load()
    assert [secret.get_secret_value() for secret in settings.dodo_webhook_secrets] == ["whsec_a", "whsec_b"]
    assert "whsec_a" not in repr(settings)


@pytest.mark.parametrize(
    "name", ["CUSTOMERIO_SITE_ID", "DODO_WEBHOOK_SECRETS", "PERSON_ID", "CURRENCY_EXPONENTS", "PORT"]
)
def test_bytes_that_are_no_text(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """A variable in another encoding is named at the start, whatever kind of value it has."""
    monkeypatch.setenv(f"PIPELINE_{name}", "caf\udce9")
    with pytest.raises(SettingsError, match=f"^PIPELINE_{name}: is not UTF-8$"):
        Settings.load()


def test_paths_may_have_any_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """File systems take them."""
    monkeypatch.setenv("PIPELINE_RULES", "/etc/caf\udce9.yaml")
    monkeypatch.setenv("PIPELINE_DATA_DIR", "/var/caf\udce9")
    settings = Settings.load()
    assert (settings.rules, settings.data_dir) == (Path("/etc/caf\udce9.yaml"), Path("/var/caf\udce9"))


def test_file_variables(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A mounted secret is read without the line end that editors add."""
    path = tmp_path / "key"
    path.write_bytes(b"abc=\r\n")
    monkeypatch.setenv("PIPELINE_CUSTOMERIO_API_KEY_FILE", str(path))
    assert Settings.load().customerio_api_key == SecretStr("abc=")


@pytest.mark.parametrize(
    ("content", "also", "message"),
    [
        (None, "", r"PIPELINE_CUSTOMERIO_API_KEY: .*/key cannot be read \(FileNotFoundError\)"),
        (b"", "", r"PIPELINE_CUSTOMERIO_API_KEY: .*/key is empty"),
        (b"\xff\xfe", "", r"PIPELINE_CUSTOMERIO_API_KEY: .*/key cannot be read \(UnicodeDecodeError\)"),
        ("abc".encode("utf-16-le"), "", r"PIPELINE_CUSTOMERIO_API_KEY: has a NUL character in it, .*"),
        (b"abc", "def", r"PIPELINE_CUSTOMERIO_API_KEY: PIPELINE_CUSTOMERIO_API_KEY_FILE is set too: keep one of them"),
    ],
)
def test_file_faults(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes | None, also: str, message: str
) -> None:
    """A missing, empty or unreadable file, and a value given twice, are told apart by name."""
    path = tmp_path / "key"
    if content is not None:
        path.write_bytes(content)
    monkeypatch.setenv("PIPELINE_CUSTOMERIO_API_KEY_FILE", str(path))
    monkeypatch.setenv("PIPELINE_CUSTOMERIO_API_KEY", also)
    with pytest.raises(SettingsError, match=f"^{message}$"):
        Settings.load()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"port": "http"}, "PIPELINE_PORT: Input should be a valid integer"),
        ({"port": "tcp://10.0.0.1:80"}, "PIPELINE_PORT: was set by Kubernetes .* enableServiceLinks: false"),
        ({"port": 65536}, "PIPELINE_PORT: "),
        ({"customerio_region": "asia"}, "PIPELINE_CUSTOMERIO_REGION: Input should be 'us', 'eu' or 'auto'"),
        ({"customerio_url": "track.example.com"}, "PIPELINE_CUSTOMERIO_URL: "),
        ({"customerio_requests_per_second": "nan"}, "PIPELINE_CUSTOMERIO_REQUESTS_PER_SECOND: "),
        ({"customerio_requests_per_second": 0}, "PIPELINE_CUSTOMERIO_REQUESTS_PER_SECOND: "),
        ({"lanes": 0}, "PIPELINE_LANES: "),
        ({"group_instance_id": "pod 0"}, "PIPELINE_GROUP_INSTANCE_ID: "),
        ({"group_instance_id": "pod/0"}, "PIPELINE_GROUP_INSTANCE_ID: "),
        ({"group_instance_id": ".."}, "PIPELINE_GROUP_INSTANCE_ID: "),
        ({"group_instance_id": "x" * 250}, "PIPELINE_GROUP_INSTANCE_ID: "),
        ({"session_timeout_seconds": 5}, "PIPELINE_SESSION_TIMEOUT_SECONDS: "),
        ({"webhooks_topic": "dodo webhooks"}, "PIPELINE_WEBHOOKS_TOPIC: "),
        ({"kafka_bootstrap_servers": "kafka"}, "PIPELINE_KAFKA_BOOTSTRAP_SERVERS: must be host:port"),
        ({"kafka_bootstrap_servers": "kafka://kafka:9092"}, "PIPELINE_KAFKA_BOOTSTRAP_SERVERS: must be host:port"),
        ({"kafka_bootstrap_servers": "kafka:99999"}, "PIPELINE_KAFKA_BOOTSTRAP_SERVERS: must be host:port"),
        ({"kafka_bootstrap_servers": "kafka:0"}, "PIPELINE_KAFKA_BOOTSTRAP_SERVERS: must be host:port"),
        ({"kafka_bootstrap_servers": "[::1::]:9092"}, "PIPELINE_KAFKA_BOOTSTRAP_SERVERS: must be host:port"),
        ({"kafka_bootstrap_servers": "10.0.0.256:9092"}, "PIPELINE_KAFKA_BOOTSTRAP_SERVERS: must be host:port"),
        ({"kafka_bootstrap_servers": "kafka..example.com:9092"}, "PIPELINE_KAFKA_BOOTSTRAP_SERVERS: must be host:port"),
        ({"kafka_bootstrap_servers": " , "}, "PIPELINE_KAFKA_BOOTSTRAP_SERVERS: must be host:port"),
        ({"person_id": "nickname"}, "PIPELINE_PERSON_ID: must be a chain of"),
        ({"person_id": "metadata."}, "PIPELINE_PERSON_ID: must be a chain of"),
        ({"person_id": ","}, "PIPELINE_PERSON_ID: must name at least one"),
        ({"currency_exponents": "CLP"}, "PIPELINE_CURRENCY_EXPONENTS: must look like CLP=2"),
        ({"currency_exponents": "CLP=5"}, "PIPELINE_CURRENCY_EXPONENTS: must look like CLP=2"),
        ({"currency_exponents": "152=2"}, "PIPELINE_CURRENCY_EXPONENTS: must look like CLP=2"),
        (
            {"kafka_security_protocol": "SASL_SSL", "kafka_sasl_username": "u"},
            "PIPELINE_KAFKA_SECURITY_PROTOCOL=SASL_SSL needs PIPELINE_KAFKA_SASL_USERNAME and",
        ),
        (
            {"operations_topic": "dodo.webhooks"},
            "PIPELINE_WEBHOOKS_TOPIC and PIPELINE_OPERATIONS_TOPIC are the same topic",
        ),
        (
            {"shadow_topic": "dodo.webhooks"},
            "PIPELINE_WEBHOOKS_TOPIC and PIPELINE_SHADOW_TOPIC are the same topic",
        ),
        (
            {"sink_group": "dodo-customerio.transform"},
            "PIPELINE_TRANSFORM_GROUP and PIPELINE_SINK_GROUP are the same group",
        ),
    ],
)
def test_faults(values: dict[str, Any], message: str) -> None:
    """A value that cannot be meant is refused by the name of its variable, with what to write instead."""
    with pytest.raises(SettingsError, match=f"^{message}"):
        Settings.load(**values)


ADDRESSES = tuple(name for name in Settings.model_fields if name.endswith(("_url", "_endpoint")))


def test_the_settings_that_are_addresses() -> None:
    """Those that are known here; a new one is tested by its name."""
    assert set(ADDRESSES) >= {
        "dodo_api_url", "customerio_url", "kafka_oauth_token_url", "otlp_endpoint", "portal_url",
    }  # fmt: skip


@pytest.mark.parametrize("name", ADDRESSES)
@pytest.mark.parametrize("address", MALFORMED)
def test_malformed_addresses(name: str, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What no client can ask is refused by the name of its variable, and is not repeated: it may be a secret."""
    variable = f"PIPELINE_{name.upper()}"
    monkeypatch.setenv(variable, address)
    message = fault()
    assert message.startswith(f"{variable}: ")
    assert "\n" not in message
    assert address == "https://" or address not in message


@pytest.mark.parametrize("name", ADDRESSES)
@pytest.mark.parametrize("address", ["https://api.example.com", "https://[fd00::7]:8443/in", "https://10.0.0.7/"])
def test_addresses(name: str, address: str) -> None:
    """Names, both kinds of IP address, ports and paths, as they are written."""
    assert getattr(Settings.load(**{name: address}), name) == address


@pytest.mark.parametrize("name", ["dodo_api_url", "customerio_url", "otlp_endpoint"])
def test_paths_are_appended_to_an_address(name: str) -> None:
    """So it has no query; that of a token endpoint may have one (Azure B2C)."""
    address = "https://api.example.com/?p=b2c_1_signin"
    assert fault(**{name: address}).startswith(f"PIPELINE_{name.upper()}: must have no query")
    assert Settings.load(kafka_oauth_token_url=address).kafka_oauth_token_url == address


def test_all_faults_in_one_message() -> None:
    """Two faults are two lines, so that one start is enough to see them."""
    assert [line.partition(":")[0] for line in fault(port="x", lanes="y").splitlines()] == [
        "PIPELINE_LANES",
        "PIPELINE_PORT",
    ]


@given(st.text(min_size=4, max_size=40).filter(lambda text: text.strip() and not text.strip().isdigit()))
def test_values_are_never_repeated(value: str) -> None:
    """No message of a malformed value contains the value: it might be a secret in the wrong variable."""
    marked = f"~{value}~"
    for name in ("port", "customerio_region", "person_id", "webhooks_topic", "kafka_bootstrap_servers", "lanes"):
        assert marked not in fault(**{name: marked})


@pytest.mark.parametrize(
    ("given_value", "understood"),
    [
        ("kafka-1:9092, kafka-2:9093", "kafka-1:9092,kafka-2:9093"),
        ("[::1]:9092", "[::1]:9092"),
        ("127.0.0.1:9092,", "127.0.0.1:9092"),
    ],
)
def test_broker_lists(given_value: str, understood: str) -> None:
    """Several brokers, IPv6 and spaces are understood."""
    assert Settings.load(kafka_bootstrap_servers=given_value).kafka_bootstrap_servers == understood


def test_person_id_chain() -> None:
    """The identity policy is an ordered chain."""
    chain = Settings.load(person_id="metadata.user_id , email,customer_id").person_id_chain
    assert chain == ("metadata.user_id", "email", "customer_id")


def test_currency_exponents() -> None:
    """Overrides may be written in lower case."""
    assert Settings.load(currency_exponents="clp=2, UGX=0").currency_exponents == {"CLP": 2, "UGX": 0}


def test_all_secrets_are_known_to_the_log() -> None:
    """Every secret setting, alone or in a list, is handed to the redaction."""
    given = {
        name: f"secret-{name}" for name, field in Settings.model_fields.items() if "Secret" in str(field.annotation)
    }
    assert len(given) >= 5
    assert sorted(Settings.load(**given).secrets) == sorted(given.values())


def test_people_of_an_address_need_commands() -> None:
    """Shares are command records: switched off, a person would never have what several customers add."""
    with pytest.raises(SettingsError, match="PIPELINE_COMMANDS=false needs PIPELINE_PERSON_ID"):
        Settings.load(commands=False, person_id="email,customer_id")
    with pytest.raises(SettingsError, match="PIPELINE_PERSON_ID to begin with customer_id"):
        Settings.load(commands=False, person_id="metadata.user_id,customer_id")
    assert not Settings.load(commands=False, person_id="customer_id,email").commands
    assert not Settings.load(commands=False).commands
    assert not Settings.load(commands=False, state=False, person_id="email").commands


@pytest.mark.parametrize(
    "values",
    [{}, {"person_id": "customer_id,email"}, {"person_id": "metadata.user_id,customer_id", "state": False}],
)
def test_a_default_id_is_merged_into_a_better_one(values: dict[str, Any]) -> None:
    """Where nothing else names people, or nobody remembers what went where, the setting could do nothing."""
    with pytest.raises(SettingsError, match="PIPELINE_MERGE_DEFAULT_ID=true needs"):
        Settings.load(merge_default_id=True, **values)
    assert Settings.load(merge_default_id=True, person_id="metadata.user_id,customer_id").merge_default_id


@pytest.mark.parametrize(
    "template",
    [
        "https://customer.dodopayments.com/login/{business_id}",
        "https://shop.example.com/account",
        "https://shop.example.com/{customer_id}?plan={subscription_id}&of={business_id}",
    ],
)
def test_a_portal_template(template: str) -> None:
    """Any https address, with the three ids that a webhook tells."""
    assert Settings.load(portal_url=template).portal_url == template


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("http://shop.example.com/{customer_id}", "https"),
        ("shop.example.com", "https"),
        ("https://{business_id}.example.com/", "host without braces"),
        ("https://shop.example.com/{customer}", "{business_id}, {customer_id}, {subscription_id}"),
        ("https://shop.example.com/{customer_id!r}", "nothing else in braces"),
        ("https://shop.example.com/{customer_id:>9}", "nothing else in braces"),
        ("https://shop.example.com/{}", "nothing else in braces"),
        ("https://shop.example.com/{customer_id", "not closed"),
        ("https://shop.example.com/my account", "no spaces"),
        ("https://shop.example.com/" + "a" * 400, "400 characters"),
    ],
)
def test_a_portal_template_that_leads_nowhere(template: str, said: str) -> None:
    """Refused at the start, with what it may look like."""
    message = fault(portal_url=template)
    assert message.startswith("PIPELINE_PORTAL_URL")
    assert "must look like https://" in message
    assert said in message


def test_metadata_keys_stay_apart() -> None:
    """Two keys of which one would overwrite the other are refused by name; the same key twice is one."""
    message = fault(metadata_keys="seat-count,plan,seat.count")
    assert (
        message == "PIPELINE_METADATA_KEYS: seat-count and seat.count would both be the attribute metadata_seat_count"
    )
    assert Settings.load(metadata_keys="plan,plan").metadata_keys == ("plan", "plan")


def test_peers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each names its stage and the port of its probes; several may be of one stage, and IPv6 is written in brackets."""
    written = "ingest=ingest:9080,sink=10.0.0.7:8082,sink=[fd00::7]:8082"
    monkeypatch.setenv("PIPELINE_PEERS", f" {written.replace(',', ' , ')} ,")
    peers = Settings.load().peers
    assert peers == (Peer("ingest", "ingest", 9080), Peer("sink", "10.0.0.7", 8082), Peer("sink", "fd00::7", 8082))
    assert ",".join(map(str, peers)) == written


@pytest.mark.parametrize(
    "peers",
    ["sink", "sink:8082", "other=sink:8082", "sink=sink", "sink=http://sink:8082", "sink=sink:8082/metrics",
     "sink=a@b:8082", "sink=sink:0", "sink=sink:65536", "sink=:8082", "sink=[::1::]:8082", "sink=[10.0.0.7]:8082",
     "sink=10.0.0.256:8082"],
)  # fmt: skip
def test_malformed_peers(peers: str) -> None:
    """Nothing that could lead a request elsewhere is an address: no URL, path or user."""
    assert fault(peers=f"ingest=ingest:9080,{peers}").startswith("PIPELINE_PEERS: must be stage=host:port")


def test_too_many_peers() -> None:
    """A page is no load test."""
    assert fault(peers=",".join(["sink=sink:8082"] * 33)).startswith("PIPELINE_PEERS: ")
