"""Every setting, typed, in one place.

Read from environment variables with the prefix `PIPELINE_`; an empty one counts as unset, as Compose files leave them.
`PIPELINE_<NAME>_FILE` names a file that holds the value instead (mounted secrets); giving both is an error.
`dodo-cio settings` prints this table. A malformed value raises `SettingsError`, which names the variable and never
repeats the value. It is one class in one module by contract: whoever looks for a setting has one place to look, and
several validators compare settings of different groups.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from string import Formatter
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import (
    AfterValidator,
    Field,
    PrivateAttr,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from pipeline.errors import SettingsError
from pipeline.urls import base_address, check_host, is_port, web_address

PREFIX = "PIPELINE_"

SecurityProtocol = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]
SaslMechanism = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER", "AWS_MSK_IAM"]
Region = Literal["us", "eu", "auto"]
EventNameStyle = Literal["snake", "title"]
LogFormat = Literal["console", "json"]
Stage = Literal["ingest", "transform", "sink"]

DEFAULT_PORTS: Mapping[Stage, int] = {"ingest": 8080, "transform": 8081, "sink": 8082}

TopicName = Annotated[str, Field(min_length=1, max_length=249, pattern=r"^[a-zA-Z0-9._-]+$")]
"""Kafka's own rule for topic names (org.apache.kafka.common.internals.Topic)."""

GroupInstanceId = Annotated[str, Field(min_length=1, max_length=249, pattern=r"^\.*[a-zA-Z0-9_-][a-zA-Z0-9._-]*$")]
"""Kafka's rule for names of static members (JoinGroupRequest.validateGroupInstanceId): that of topics, which may not be
dots alone."""

WebAddress = Annotated[str, AfterValidator(web_address)]
BaseAddress = Annotated[str, AfterValidator(base_address)]

CURRENCY = re.compile(r"[A-Z]{3}")
"""ISO 4217 alphabetic codes have three letters."""

BROKER = re.compile(r"(?:\[(?P<ipv6>[0-9A-Fa-f]*:[0-9A-Fa-f:.]+)\]|(?P<host>[A-Za-z0-9._-]+)):(?P<port>[0-9]{1,5})")

PEER = re.compile(
    r"(?P<stage>ingest|transform|sink)=(?:\[(?P<ipv6>[0-9A-Fa-f]*:[0-9A-Fa-f:.]+)\]|(?P<host>[A-Za-z0-9._-]+)):(?P<port>[0-9]{1,5})"
)

MAX_PEERS = 32
"""Each is asked whenever somebody looks at the status page."""

WEBHOOK_PATH = re.compile(r"/[A-Za-z0-9._~!$&'()*+;=:@/-]*")
"""RFC 3986 §3.3, without percent-encoding and commas."""

TAKEN_PATHS = frozenset({"/live", "/ready", "/status", "/metrics", "/openapi.json"})

PERSON_ID_POLICIES = ("customer_id", "email")

_PASSWORD = ("kafka_sasl_username", "kafka_sasl_password")

SASL_NEEDS: Mapping[SaslMechanism, tuple[str, ...]] = {
    "PLAIN": _PASSWORD,
    "SCRAM-SHA-256": _PASSWORD,
    "SCRAM-SHA-512": _PASSWORD,
    "OAUTHBEARER": ("kafka_oauth_token_url", "kafka_oauth_client_id", "kafka_oauth_client_secret"),
    "AWS_MSK_IAM": ("kafka_msk_region",),
}
"""The settings without which a mechanism cannot authenticate."""

SASL_MAY_HAVE: Mapping[SaslMechanism, tuple[str, ...]] = {
    **SASL_NEEDS,
    "OAUTHBEARER": (*SASL_NEEDS["OAUTHBEARER"], "kafka_oauth_scope", "kafka_oauth_cafile"),
}
"""All that a mechanism makes use of."""

PORTAL_PLACEHOLDERS = ("business_id", "customer_id", "subscription_id")
"""What `PIPELINE_PORTAL_URL` may ask for."""

MAX_PORTAL_URL = 400
"""With three ids of Dodo's in it, it stays below Customer.io's 1000 bytes, above which a link would be left out."""


def _split(value: Any) -> Any:
    """`a, b` → (`a`, `b`); anything that is not text is left to pydantic."""
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


def _is_address(found: re.Match[str] | None) -> bool:
    """Whether it is a host and a port that can be asked, not only written like one."""
    if found is None or not is_port(found["port"]):
        return False
    try:
        check_host(found["ipv6"] or found["host"])
    except ValueError:
        return False
    return True


SURROGATE = re.compile(r"[\ud800-\udfff]")
"""What Python has of a variable's bytes that are not UTF-8: no client can send it on. Paths may have such bytes."""

_NOT_A_NAME = re.compile(r"[^A-Za-z0-9_]")

_BRACES_AND_PART = re.compile(r"[{}#]")
"""What a template has that an address has not: a browser may be led to a part of a page."""


@dataclass(frozen=True, slots=True)
class Peer:
    """Where another stage answers probes; written `stage=host:port`."""

    stage: Stage
    host: str
    port: int

    @property
    def address(self) -> str:
        """`host:port`, an IPv6 address in brackets."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def __str__(self) -> str:
        """As it is written."""
        return f"{self.stage}={self.address}"


class Settings(BaseSettings):
    """The settings of one process."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_ignore_empty=True, frozen=True, extra="ignore", hide_input_in_errors=True
    )

    _files: Mapping[str, Path] = PrivateAttr(default_factory=dict)

    kafka_bootstrap_servers: str = Field(
        "localhost:9092", description="host:port of one or more brokers, comma-separated."
    )
    kafka_security_protocol: SecurityProtocol = Field("PLAINTEXT", description="How to talk to the brokers.")
    kafka_sasl_mechanism: SaslMechanism = Field("SCRAM-SHA-512", description="Only with a SASL_* protocol.")
    kafka_sasl_username: str | None = Field(None, description="Only with a SASL_* protocol.")
    kafka_sasl_password: SecretStr | None = Field(None, description="Only with a SASL_* protocol.")
    kafka_oauth_token_url: WebAddress | None = Field(
        None, description="With OAUTHBEARER: the issuer's token endpoint (client credentials)."
    )
    kafka_oauth_client_id: str | None = Field(None, description="With OAUTHBEARER: the client that asks for tokens.")
    kafka_oauth_client_secret: SecretStr | None = Field(None, description="With OAUTHBEARER: that client's secret.")
    kafka_oauth_scope: str | None = Field(
        None, description="With OAUTHBEARER: scopes to ask for, separated by blanks. Unset: none is asked for."
    )
    kafka_oauth_cafile: Path | None = Field(
        None, description="With OAUTHBEARER: PEM of the token endpoint's CA; unset: the system's CAs."
    )
    kafka_msk_region: str | None = Field(
        None,
        pattern=r"^[a-z0-9-]+$",
        description="With AWS_MSK_IAM: region of the cluster, e.g. eu-central-1. Needs the extra msk.",
    )
    kafka_ssl_cafile: Path | None = Field(None, description="PEM of the brokers' CA; unset: the system's CAs.")
    kafka_ssl_certfile: Path | None = Field(None, description="PEM of the client certificate (mutual TLS).")
    kafka_ssl_keyfile: Path | None = Field(None, description="PEM of the client key (mutual TLS).")
    kafka_client_id: str = Field(
        "dodo-cio",
        min_length=1,
        max_length=249,
        pattern=r"^[\x21-\x7e]+$",
        description="What the brokers call this client in their logs, metrics and quotas.",
    )
    kafka_client_rack: str | None = Field(
        None,
        min_length=1,
        max_length=249,
        description="Where this process runs, as the brokers' broker.rack names it (availability zone): consumers read "
        "from replicas there, if the brokers have a rack-aware replica.selector.class. Unset: from leaders.",
    )

    webhooks_topic: TopicName = Field("dodo.webhooks", description="Raw webhooks.")
    operations_topic: TopicName = Field("customerio.operations", description="Customer.io entity operations.")
    dead_letters_topic: TopicName = Field("dodo-customerio.dead-letters", description="What could not go on, and why.")
    customers_topic: TopicName = Field("dodo.customers", description="Compacted facts per customer.")
    transform_group: TopicName = Field("dodo-customerio.transform", description="Consumer group of the transform.")
    sink_group: TopicName = Field("dodo-customerio.sink", description="Consumer group of the sink.")
    group_instance_id: GroupInstanceId | None = Field(
        None,
        description="Name of this process in its group (static membership): a restart then moves no partitions. "
        "Each process of a stage needs another one; of a StatefulSet, the pod's.",
    )
    session_timeout_seconds: float = Field(
        10.0,
        ge=6,
        le=1800,
        description="Silence after which a worker's partitions go to others. With a group instance id: longer than a "
        "restart takes, e.g. 60.",
    )

    dodo_webhook_secrets: Annotated[tuple[SecretStr, ...], NoDecode] = Field(
        (), description="Signing secrets of the live endpoint, comma-separated (two while rotating): whsec_…"
    )
    dodo_test_webhook_secrets: Annotated[tuple[SecretStr, ...], NoDecode] = Field(
        (), description="The same of the test-mode endpoint; which secret matched decides the record's mode."
    )
    forward_test_mode: bool = Field(False, description="Send test-mode webhooks on, as people prefixed test_.")
    dodo_api_key: SecretStr | None = Field(
        None,
        description="Live-mode key of Dodo's API (reading is enough): look-ups of customers, names of products, "
        "backfill.",
    )
    dodo_api_url: BaseAddress = Field("https://live.dodopayments.com", description="Dodo's API, without a path.")

    customerio_site_id: str | None = Field(None, description="Site ID of the workspace's Track API credentials.")
    customerio_api_key: SecretStr | None = Field(None, description="Track API key (not an App API key).")
    customerio_region: Region = Field("auto", description="Where the workspace lives; auto asks Customer.io once.")
    customerio_url: BaseAddress | None = Field(None, description="Overrides the region's host, e.g. the sandbox.")
    customerio_requests_per_second: float = Field(
        100.0,
        gt=0,
        le=1000,
        description="Budget of the whole workspace, shared by all sinks. 100 is the lowest figure still published.",
    )
    budget_lending: bool = Field(
        True,
        description="Idle sinks lend their part of that budget to busy ones. false: each keeps to its own part.",
    )
    lanes: int = Field(8, ge=1, le=256, description="Batches in flight per sink, at most; a customer is never in two.")
    undeliverable_after_seconds: float = Field(
        300.0,
        gt=0,
        description="How long one record must fail while others are accepted, before it may become a dead letter.",
    )

    state: bool = Field(
        True, description="Know customers: totals, sticky ids, each fact told once. false: each webhook by itself."
    )
    commands: bool = Field(
        True,
        description="Carry out command records (backfill, forget, untold) in the webhooks topic. false: each is a dead "
        "letter, and the sink writes none; for a topic that others may write too. Must be true where several "
        "customers can be one person.",
    )
    state_erase_after_seconds: float = Field(
        1200.0,
        ge=0,
        le=1500,
        description="After a customer was forgotten: until the mirror's file is written anew without what was deleted. "
        "All requests of that time are done together. This and the next setting together are at most an hour.",
    )
    state_keep_unowned_seconds: float = Field(
        1800.0,
        ge=0,
        le=1800,
        description="How long the mirror of a partition that moved to another worker stays on the disk: a rolling "
        "restart brings it back within minutes, and then it saves a restore.",
    )
    state_loss_accepted: bool = Field(
        False,
        description="true: start with what the topic has, and lose what only the local mirrors have. false: refuse to "
        "start, so that `dodo-cio state restore-topic` can write it back.",
    )
    person_id: str = Field(
        "customer_id",
        description="Who a person is: chain of customer_id, email, metadata.<key>; first hit wins. "
        "Customers whom it names alike are one person (the transform then writes to the webhooks topic).",
    )
    merge_on_email_change: bool = Field(
        False,
        description="With the policy email: merge a person into the one of the changed address. Cannot be undone.",
    )
    merge_default_id: bool = Field(
        False,
        description="Once the policy names the person, merge what went to the customer's own id (cus_…) before into "
        "that person. Cannot be undone.",
    )
    event_name_style: EventNameStyle = Field("snake", description="payment_completed, or title: Payment Completed.")
    currency_exponents: Annotated[dict[str, int], NoDecode] = Field(
        default_factory=dict, description="Overrides of ISO 4217 decimals, e.g. CLP=2,UGX=2."
    )
    metadata_keys: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="Metadata keys that may go on, as metadata_<key>."
    )
    emit_first_renewal: bool = Field(False, description="subscription_renewed for the first period too.")
    emit_trial_events: bool = Field(
        False, description="trial_started beside subscription_started, trial_converted beside the first charge."
    )
    emit_credit_deducted: bool = Field(False, description="credit_deducted events (one a usage: high volume).")
    forward_card_hints: bool = Field(False, description="card_last_four, card_exp_month, card_exp_year on events.")
    first_names: bool = Field(
        False, description="first_name beside name, where the first word of a name is plainly a given one."
    )
    set_created_at: bool = Field(
        False,
        description="created_at (unix seconds) for people first seen here, which the segment Signed up needs. Leave it "
        "off where your app sets its own.",
    )
    portal_url: str | None = Field(
        None,
        description="Template of manage_subscription_url on profiles and events, with {business_id}, {customer_id}, "
        "{subscription_id}: https://customer.dodopayments.com/login/{business_id}.",
    )
    javascript: Path | None = Field(
        None,
        description="Folder of the dashboard's recipes, files with function handler(webhook), or one file "
        "(docs/javascript.md). Needs the extra javascript.",
    )
    rules: Path | None = Field(
        None,
        description="YAML file of rules that rename, drop, add and compute what is sent (docs/rules.md). A change "
        "of the file is taken while the transform runs.",
    )
    shadow_rules: Path | None = Field(
        None,
        description="YAML file of rules that run beside what is live, in place of PIPELINE_RULES, on every record: "
        "only what they would change is told, as metrics (docs/rules.md). Costs about as much as mapping once more.",
    )
    shadow_topic: TopicName | None = Field(
        None,
        description="Topic to which each difference of PIPELINE_SHADOW_RULES is written as well, personal data masked. "
        "Create it with a short retention; nothing waits for it.",
    )
    transform: str | None = Field(
        None,
        description="package.module:function of your own Python that shapes what is sent (docs/python.md).",
    )
    transform_budget_seconds: float = Field(
        0.05,
        gt=0,
        description="A longer call of that function is counted (dodo_cio_transform_slow_calls_total): it runs where "
        "all webhooks are mapped, and probes expect an answer within a second.",
    )
    product_names: Path | None = Field(
        None, description="YAML file of product id: name; it wins over the names that Dodo's API tells."
    )
    product_name_wait_seconds: float = Field(
        1.0,
        ge=0,
        le=5,
        description="Longest wait of a record for the name of a product that is new here (needs the API key). 0: none.",
    )
    product_names_refresh_seconds: int = Field(
        3600,
        ge=0,
        description="Seconds between two readings of all products' names (needs the API key), so that a renamed one "
        "needs no restart; no record waits for them. 0: once at the start.",
    )

    host: str = Field("0.0.0.0", description="Address that a stage's HTTP port listens on.")  # noqa: S104 - a container's port must be reachable; PIPELINE_HOST narrows it
    port: int | None = Field(
        None, ge=0, le=65535, description="Unset: ingest 8080, transform 8081, sink 8082. 0: any free."
    )
    admin_port: int | None = Field(
        None,
        ge=0,
        le=65535,
        description="Ingest's port for probes, metrics, the status page and its OpenAPI document: its public one then "
        "has the webhook paths and nothing else. Unset: all on one port, without the page. 0: any free.",
    )
    peers: Annotated[tuple[Peer, ...], NoDecode] = Field(
        (),
        max_length=MAX_PEERS,
        description="Other stages that the status page shows, stage=host:port of their probes, comma-separated: "
        "ingest=ingest:9080,transform=transform:8081,sink=sink:8082. Of a name every address is asked. "
        "All stages may be given the same list (docs/status.md).",
    )
    webhook_paths: Annotated[tuple[str, ...], NoDecode] = Field(
        ("/webhooks/dodo",),
        description="Where ingest takes webhooks, comma-separated; with the prefix that an ingress does not strip.",
    )
    keep_alive_seconds: float = Field(
        620.0,
        gt=0,
        le=7200,
        description="How long ingest keeps an idle connection. Longer than the balancer in front does (Google Cloud "
        "600 s, Azure 240 s, AWS 60 s), else it sends webhooks into connections that are just being closed.",
    )
    max_connections: int = Field(
        1000,
        ge=10,
        le=100_000,
        description="Connections open at ingest's port at once, 60 kB each at most before a head is complete. At the "
        "limit, one that asked for nothing yet makes room, then the one idle for longest.",
    )
    ingest_workers: int = Field(
        1,
        ge=1,
        le=64,
        description="Processes that take webhooks on ingest's one port (SO_REUSEPORT, on Linux): one for each core "
        "that it may use, which takes thousands a second. They share PIPELINE_MAX_CONNECTIONS.",
    )
    drain_seconds: float = Field(
        5.0,
        ge=0,
        le=600,
        description="How long ingest still takes webhooks after SIGTERM, while /ready fails: until every balancer has "
        "heard of it. Kubernetes needs one to three seconds. Then requests in flight have 8 s: keep the sum with two "
        "seconds more below the pod's grace (30 s).",
    )
    data_dir: Path = Field(
        Path("dodo-customerio-data"),
        description="Local copy of the customers' state, and caches. It may be lost, and is read again from the topic. "
        "It holds personal data.",
    )
    log_format: LogFormat = Field("console", description="console for people, json for collectors.")

    otlp_endpoint: BaseAddress | None = Field(
        None,
        description="OpenTelemetry collector that takes traces by OTLP over HTTP, such as http://collector:4318; "
        "/v1/traces is appended. Unset: no traces. Needs the extra otel.",
    )
    trace_ratio: float = Field(
        0.01,
        ge=0,
        le=1,
        description="Share of webhooks whose trace is kept, 0 to 1. A webhook whose request names a trace "
        "(traceparent) is kept as that one is.",
    )

    @field_validator(
        "dodo_webhook_secrets", "dodo_test_webhook_secrets", "metadata_keys", "webhook_paths", mode="before"
    )
    @classmethod
    def _lists(cls, value: Any) -> Any:
        return _split(value)

    @field_validator("currency_exponents", mode="before")
    @classmethod
    def _exponents(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        exponents = {}
        for part in _split(value):
            code, equals, digits = part.partition("=")
            code = code.strip().upper()
            if not equals or not CURRENCY.fullmatch(code) or digits.strip() not in {"0", "1", "2", "3", "4"}:
                raise ValueError("must look like CLP=2,UGX=0 (three letters, then 0 to 4 decimals)")
            exponents[code] = int(digits)
        return exponents

    @field_validator("peers", mode="before")
    @classmethod
    def _peers(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        found = [PEER.fullmatch(part) for part in _split(value)]
        peers = [
            {"stage": one["stage"], "host": one["ipv6"] or one["host"], "port": int(one["port"])}
            for one in found
            if one is not None and _is_address(one)
        ]
        if len(peers) < len(found):
            raise ValueError(
                "must be stage=host:port, comma-separated, the stage ingest, transform or sink and the port that of "
                "its probes: ingest=ingest:9080,sink=sink:8082"
            )
        return tuple(peers)

    @field_validator("kafka_bootstrap_servers")
    @classmethod
    def _brokers(cls, value: str) -> str:
        brokers = _split(value)
        if not brokers or not all(_is_address(BROKER.fullmatch(broker)) for broker in brokers):
            raise ValueError(
                "must be host:port of one or more brokers, comma-separated, the port from 1 to 65535: "
                "kafka-1:9092,kafka-2:9092"
            )
        return ",".join(brokers)

    @field_validator("webhook_paths")
    @classmethod
    def _paths(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value or not all(WEBHOOK_PATH.fullmatch(path) for path in value):
            raise ValueError("must be paths without query, such as /webhooks/dodo, comma-separated")
        if taken := sorted(set(value) & TAKEN_PATHS):
            raise ValueError(f"{', '.join(taken)}: this path is ingest's own")
        return value

    @field_validator("port", "admin_port", mode="before")
    @classmethod
    def _no_service_link(cls, value: Any) -> Any:
        if isinstance(value, str) and value.startswith("tcp://"):
            # Kubernetes writes <SERVICE>_PORT=tcp://… into every pod of a namespace that has a Service of that name.
            raise ValueError(
                "was set by Kubernetes for a Service called pipeline: set enableServiceLinks: false on the pod"
            )
        return value

    def _ports(self) -> None:
        if self.admin_port and self.admin_port == self.port_of("ingest"):
            raise ValueError(
                f"PIPELINE_ADMIN_PORT: {self.admin_port} is the port for webhooks; give it another, or leave it unset "
                "to have all on one"
            )

    @field_validator("portal_url")
    @classmethod
    def _portal(cls, value: str | None) -> str | None:
        if value is None:
            return None
        example = "must look like https://customer.dodopayments.com/login/{business_id}"
        known = ", ".join(f"{{{name}}}" for name in PORTAL_PLACEHOLDERS)
        try:
            fields = [field[1:] for field in Formatter().parse(value) if field[1] is not None]
        except ValueError:
            raise ValueError(f"{example}: a brace in it is not closed") from None
        if any(name not in PORTAL_PLACEHOLDERS or form or conversion for name, form, conversion in fields):
            raise ValueError(f"{example}: it knows {known} and nothing else in braces")
        scheme, _, rest = value.partition("://")
        host = rest.partition("/")[0]
        if scheme != "https" or not host or "{" in host or any(sign.isspace() for sign in value):
            raise ValueError(f"{example}: https, a host without braces, no spaces")
        try:
            web_address(_BRACES_AND_PART.sub("", value))
        except ValueError as error:
            raise ValueError(f"{example}: {error}") from None
        if len(value) > MAX_PORTAL_URL:
            raise ValueError(f"{example}: at most {MAX_PORTAL_URL} characters")
        return value

    @field_validator("person_id")
    @classmethod
    def _policy(cls, value: str) -> str:
        parts = _split(value)
        for part in parts:
            if part not in PERSON_ID_POLICIES and not (part.startswith("metadata.") and part != "metadata."):
                raise ValueError(
                    "must be a chain of customer_id, email and metadata.<key>, e.g. metadata.user_id,customer_id"
                )
        if not parts:
            raise ValueError("must name at least one of customer_id, email, metadata.<key>")
        return ",".join(parts)

    def _sasl_is_complete(self) -> None:
        if not self.kafka_security_protocol.startswith("SASL_"):
            return
        needed = SASL_NEEDS[self.kafka_sasl_mechanism]
        if not all(getattr(self, name) for name in needed):
            names = [f"{PREFIX}{name.upper()}" for name in needed]
            raise ValueError(
                f"{PREFIX}KAFKA_SECURITY_PROTOCOL={self.kafka_security_protocol} needs {' and '.join(names)}, since "
                f"{PREFIX}KAFKA_SASL_MECHANISM is {self.kafka_sasl_mechanism}"
            )

    def _merging_has_a_ground(self) -> None:
        if self.merge_on_email_change and not ("email" in self.person_id.split(",") and self.state):
            raise ValueError(
                f"{PREFIX}MERGE_ON_EMAIL_CHANGE=true needs email in {PREFIX}PERSON_ID, and {PREFIX}STATE=true, which "
                "knows the former address"
            )

    def _metadata_keys_stay_apart(self) -> None:
        names: dict[str, str] = {}
        for key in self.metadata_keys:
            if (other := names.setdefault(metadata_attribute(key), key)) != key:
                raise ValueError(
                    f"{PREFIX}METADATA_KEYS: {other} and {key} would both be the attribute {metadata_attribute(key)}"
                )

    def _a_default_id_has_a_better_one(self) -> None:
        if self.merge_default_id and not (self.person_id_chain[0] != "customer_id" and self.state):
            raise ValueError(
                f"{PREFIX}MERGE_DEFAULT_ID=true needs a {PREFIX}PERSON_ID that does not begin with customer_id, and "
                f"{PREFIX}STATE=true, which knows what went to the default id"
            )

    def _people_of_several_customers_need_commands(self) -> None:
        if not self.commands and self.state and self.person_id_chain[0] != "customer_id":
            raise ValueError(
                f"{PREFIX}COMMANDS=false needs {PREFIX}PERSON_ID to begin with customer_id: what several customers "
                "add to one person are command records in the webhooks topic"
            )

    def _names_differ(self) -> None:
        """A stage that read its own output would feed itself for ever."""
        for kind in ("topic", "group"):
            names: dict[str, str] = {}
            for field in type(self).model_fields:
                name = getattr(self, field)
                if (
                    field.endswith(f"_{kind}")
                    and name is not None
                    and (other := names.setdefault(name, field)) != field
                ):
                    raise ValueError(
                        f"{PREFIX}{other.upper()} and {PREFIX}{field.upper()} are the same {kind}: "
                        "each needs one of its own"
                    )

    @field_validator("*", mode="before")
    @classmethod
    def _is_text(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse what is no text. As the last of the class it sees the value before all others."""
        if not isinstance(value, str):
            return value
        if "\0" in value:
            raise ValueError("has a NUL character in it, as a file in UTF-16 has: write it as text in UTF-8")
        annotation = cls.model_fields[str(info.field_name)].annotation
        if SURROGATE.search(value) and Path not in (annotation, *get_args(annotation)):
            raise ValueError("is not UTF-8")
        return value

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        """Refuse settings of which each is right by itself and both cannot be; the only validator of several."""
        self._ports()
        self._sasl_is_complete()
        self._merging_has_a_ground()
        self._metadata_keys_stay_apart()
        self._a_default_id_has_a_better_one()
        self._people_of_several_customers_need_commands()
        self._names_differ()
        return self

    @cached_property
    def secrets(self) -> tuple[str, ...]:
        """The value of every secret that this process knows, for `logs.configure` to mask."""
        values = [getattr(self, name) for name in type(self).model_fields]
        parts = [part for value in values for part in (value if isinstance(value, tuple) else (value,))]
        return tuple(part.get_secret_value() for part in parts if isinstance(part, SecretStr))

    def file_of(self, name: str) -> Path | None:
        """The file that `PIPELINE_<NAME>_FILE` named when the setting was read, None when it came in another way."""
        return self._files.get(name)

    @cached_property
    def person_id_chain(self) -> tuple[str, ...]:
        """The identity policy's steps in order."""
        return tuple(self.person_id.split(","))

    @classmethod
    def settings_customise_sources(cls, *_: Any, **sources: Any) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment, under what is given; `.env` files and directories of secrets are read by nobody here.

        To look for them, field by field, took as long as all else.
        """
        return sources["init_settings"], sources["env_settings"]

    @property
    def refusals_are_told(self) -> bool:
        """Whether the sink writes commands that tell the transform which profiles Customer.io refused.

        Without a state nobody needs them; without commands each would become a dead letter.
        """
        return self.state and self.commands

    def port_of(self, stage: Stage) -> int:
        """The port that `stage` listens on."""
        return DEFAULT_PORTS[stage] if self.port is None else self.port

    @classmethod
    def load(cls, **overrides: Any) -> Self:
        """Settings of this process's environment; `overrides` (a command's flags) win.

        Raises:
            SettingsError: naming each variable at fault, in one line each, without its value.
        """
        try:
            read = from_files(os.environ, cls)
            settings = cls(**{**read, **overrides})
        except ValidationError as error:
            raise SettingsError(_explain(error)) from None
        settings._files = {
            name: Path(os.environ[f"{PREFIX}{name.upper()}_FILE"]) for name in read if name not in overrides
        }
        return settings


def metadata_attribute(key: str) -> str:
    """The attribute that a metadata key is sent as: a dot would nest it, a dash cannot be written in Liquid."""
    return f"metadata_{_NOT_A_NAME.sub('_', key)}"


def from_files(environ: Mapping[str, str], model: type[Settings]) -> dict[str, str]:
    """Values of the files that `PIPELINE_<NAME>_FILE` variables name, line ends at the end removed.

    Raises:
        SettingsError: a file is missing, unreadable or empty, or the variable itself is set as well.
    """
    values = {}
    for name in model.model_fields:
        variable = f"{PREFIX}{name.upper()}"
        path = environ.get(f"{variable}_FILE")
        if not path:
            continue
        if environ.get(variable):
            raise SettingsError(f"{variable}: {variable}_FILE is set too: keep one of them")
        try:
            value = Path(path).read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"{variable}: {path} cannot be read ({type(error).__name__})") from None
        if not value:
            raise SettingsError(f"{variable}: {path} is empty")
        values[name] = value
    return values


def _explain(error: ValidationError) -> str:
    lines = []
    for fault in error.errors(include_url=False, include_input=False, include_context=False):
        message = fault["msg"].removeprefix("Value error, ")
        name = str(fault["loc"][0]) if fault["loc"] else ""
        lines.append(f"{PREFIX}{name.upper()}: {message}" if name else message)
    return "\n".join(lines)
