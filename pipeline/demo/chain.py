"""The running chain: broker, sandbox and the three stages, each as an operator would start it."""

from __future__ import annotations

import base64
import os
import secrets
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Self

from pipeline.demo.processes import Child, Fleet
from pipeline.kafka.cluster import topics
from pipeline.kafka.cluster.admin import open_admin
from pipeline.kafka.local.broker import LocalKafka, free_port
from pipeline.settings import PREFIX, Settings

BROKER_VARIABLE = f"{PREFIX}KAFKA_BOOTSTRAP_SERVERS"

INHERITED = (f"{PREFIX}KAFKA_", f"{PREFIX}OTLP_", f"{PREFIX}TRACE_")
"""Settings of the caller's environment that the stages have too: the way to its brokers, and to its collector."""

OF_PROCESSES = frozenset({"HOST", "LOG_FORMAT", "DRAIN_SECONDS", "PEERS"})
"""Settings of how the stages run, not where."""


def settings_of(variables: Mapping[str, str]) -> Settings:
    """The settings that the stages have: the defaults, `variables` and what is inherited.

    Of the caller's environment no more than that, or what is expected would be another shop's than what is done.
    """
    defaults = {
        name: field.get_default(call_default_factory=True)
        for name, field in Settings.model_fields.items()
        if not f"{PREFIX}{name.upper()}".startswith(INHERITED)
    }
    return Settings.load(**defaults | {name.lower(): value for name, value in variables.items()})


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where the running chain answers; `probes` are those of ingest, whose other port has the webhooks alone."""

    kafka: str
    ingest: str
    probes: str
    transform: str
    sink: str
    sandbox: str


class Chain:
    """Everything that one run of the demo starts; leaving the context stops it and removes what it made on Kafka.

    A given `PIPELINE_KAFKA_BOOTSTRAP_SERVERS` (with its security settings) is used instead of a broker of our own;
    topics and groups then have names of their own and are deleted at the end.
    """

    def __init__(self, directory: Path, *, partitions: int, say: Callable[[str], None]) -> None:
        self._directory = directory
        self._partitions = partitions
        self._say = say
        self._stack = AsyncExitStack()
        self._own_broker = False
        self.secret = "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()
        self.settings: Settings
        self.exports: Mapping[str, str] = {}
        """Variables with which other commands look at this chain: its brokers, topics, groups, secret and ingest."""
        self.addresses: Addresses

    @property
    def logs(self) -> Path:
        """Where each process writes its log."""
        return self._directory / "logs"

    async def __aenter__(self) -> Self:
        try:
            await self._start()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def _start(self) -> None:
        bootstrap = os.environ.get(BROKER_VARIABLE)
        self._own_broker = not bootstrap
        if bootstrap:
            self._say(f"Using the Kafka at {bootstrap}")
        else:
            self._say("Starting Apache Kafka")
            broker = LocalKafka.start(self._directory / "kafka", say=self._say)
            self._stack.callback(broker.stop)
            bootstrap = broker.bootstrap_servers
        ports = {name: free_port() for name in ("sandbox", "ingest", "probes", "transform", "sink")}
        variables = self._variables(bootstrap, ports)
        self.settings = settings_of(variables)
        self._say("Creating the topics")
        await self._create_topics()
        fleet = self._stack.enter_context(Fleet(self.logs))
        self._say("Starting sandbox, sink, transform and ingest")
        children = {
            # The last started stops first: ingest takes nothing new while the others finish what is there.
            name: fleet.start(name, *arguments, environment=self._environment(variables, ports, name), port=ports[name])
            for name, arguments in (
                ("sandbox", self._sandbox_arguments(ports["sandbox"], variables)),
                ("sink", ("sink",)),
                ("transform", ("transform",)),
                ("ingest", ("ingest",)),
            )
        }
        probes = f"http://127.0.0.1:{ports['probes']}"
        await self._ready(fleet, children | {"ingest": replace(children["ingest"], url=probes)})
        self.exports = {f"{PREFIX}{name}": value for name, value in variables.items() if name not in OF_PROCESSES}
        self.exports |= {f"{PREFIX}PORT": str(ports["ingest"])}
        urls = {name: child.url for name, child in children.items()}
        self.addresses = Addresses(kafka=bootstrap, probes=probes, **urls)

    @staticmethod
    def _sandbox_arguments(port: int, variables: Mapping[str, str]) -> tuple[str, ...]:
        """Only this run's throw-away credentials are taken, and every event is kept for the count."""
        return (
            *("sandbox", "--port", str(port), "--keep-events", "10000000"),
            *("--site-id", variables["CUSTOMERIO_SITE_ID"], "--api-key", variables["CUSTOMERIO_API_KEY"]),
        )

    async def _ready(self, fleet: Fleet, children: Mapping[str, Child]) -> None:
        for name, child in children.items():
            await fleet.ready(child, "/__sandbox/stats" if name == "sandbox" else "/ready")

    async def _create_topics(self) -> None:
        specs = [replace(spec, partitions=self._partitions) for spec in topics.load_specs(self.settings)]
        self._stack.push_async_callback(self._delete_topics, [spec.name for spec in specs])
        await topics.apply(self.settings, topics.plan(specs, {}))

    async def _delete_topics(self, names: list[str]) -> None:
        """Only on a broker that is not ours: ours is thrown away whole."""
        if self._own_broker:
            return
        async with open_admin(self.settings) as admin:
            await admin.delete(names)

    def _variables(self, bootstrap: str, ports: Mapping[str, int]) -> dict[str, str]:
        """What the chain's settings are beside their defaults, without prefix."""
        run = secrets.token_hex(4)
        return {
            "KAFKA_BOOTSTRAP_SERVERS": bootstrap,
            "WEBHOOKS_TOPIC": f"demo-{run}.dodo.webhooks",
            "OPERATIONS_TOPIC": f"demo-{run}.customerio.operations",
            "DEAD_LETTERS_TOPIC": f"demo-{run}.dodo-customerio.dead-letters",
            "CUSTOMERS_TOPIC": f"demo-{run}.dodo.customers",
            "TRANSFORM_GROUP": f"demo-{run}.dodo-customerio.transform",
            "SINK_GROUP": f"demo-{run}.dodo-customerio.sink",
            "DODO_WEBHOOK_SECRETS": self.secret,
            "CUSTOMERIO_SITE_ID": "demo-site",
            "CUSTOMERIO_API_KEY": secrets.token_hex(16),
            "CUSTOMERIO_URL": f"http://127.0.0.1:{ports['sandbox']}",
            "PEERS": ",".join(
                f"{stage}=127.0.0.1:{ports[port]}"
                for stage, port in (("ingest", "probes"), ("transform", "transform"), ("sink", "sink"))
            ),
            "HOST": "127.0.0.1",
            "DATA_DIR": str(self._directory / "data"),
            "LOG_FORMAT": "json",
            "DRAIN_SECONDS": "0",  # no load balancer needs time to see that the port is about to close
        }

    @staticmethod
    def _environment(variables: Mapping[str, str], ports: Mapping[str, int], name: str) -> dict[str, str]:
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(PREFIX) or name.startswith(INHERITED)
        }
        return {
            **inherited,
            **{f"{PREFIX}{name}": value for name, value in variables.items()},
            f"{PREFIX}PORT": str(ports[name]),
            **({f"{PREFIX}ADMIN_PORT": str(ports["probes"])} if name == "ingest" else {}),
        }
