"""What every test may rely on: a real Apache Kafka, topics of its own, and an environment without surprises."""

from __future__ import annotations

import os
import uuid
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from pydantic import SecretStr

from pipeline.imports import uncollected
from pipeline.kafka.cluster.topics import apply, load_specs, plan
from pipeline.kafka.local.broker import LocalKafka
from pipeline.settings import PREFIX, Settings
from tests.collecting import FirstCollector, is_compiled, wait_for_the_first
from tests.kafka.shared import Keeper, SharedKafka, shared
from tests.kafka.three_brokers import Cluster
from tests.sharing import SHARED, Scheduling, Shared, share_of

ChainSettings = Callable[..., Awaitable[Settings]]

FIRST = pytest.StashKey[FirstCollector]()
FIRST_LOCK = "first_collector"
"""What each process of pytest-xdist but one is given while nothing is compiled."""

KEEPER = pytest.StashKey[Keeper]()
TESTS = Path(__file__).parent
KEEPER_ADDRESS = "kafka_keeper"
"""What each process of pytest-xdist is given by the one that hands the tests out."""

# Hypothesis would fail an example that took 200 ms, or data that was slow to make: both are about the machine.
hypothesis.settings.register_profile("untimed", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("untimed")


@pytest.hookimpl(wrapper=True)
def pytest_collection(session: pytest.Session) -> Iterator[None]:
    """Ten thousand tests are no garbage: the collector is off until they are there, and on before the first begins."""
    lock: str | None = getattr(session.config, "workerinput", {}).get(FIRST_LOCK)
    if lock is not None:
        wait_for_the_first(Path(lock))
    with uncollected():
        return (yield)


LONG = ("cli/test_streams.py", "sink/test_group_model.py", "transform/customers/test_roster.py")
"""Files without Kafka that take ten seconds and more: begun last, one would be alone at the end."""


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with tests on Kafka come first: they wait more than they work, so the others fill the cores behind them.

    The other way round the longest files are alone at the end, and the machine is idle (`--no-loadscope-reorder`
    keeps this order).
    """
    slow = {share_of(item.path) for item in items if item.get_closest_marker("kafka")}
    place = {share: number for number, share in enumerate(dict.fromkeys(share_of(item.path) for item in items))}

    def order(item: pytest.Item) -> tuple[bool, bool, int]:
        share = share_of(item.path)
        return share not in slow, not item.path.as_posix().endswith(LONG), place[share]

    items.sort(key=order)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Each process of pytest-xdist is told whom to ask for the run's broker."""
    stash = node.config.stash
    if KEEPER not in stash:
        stash[KEEPER] = Keeper()
    if FIRST not in stash:
        stash[FIRST] = FirstCollector(needed=not is_compiled(TESTS))
    elif (lock := stash[FIRST].lock) is not None:
        node.workerinput[FIRST_LOCK] = str(lock)
    node.workerinput[KEEPER_ADDRESS] = stash[KEEPER].address


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_node_collection_finished(node: Any) -> None:
    """The first process has compiled all that the others import."""
    if FIRST in node.config.stash:
        node.config.stash[FIRST].end()


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Nobody waits for a process that is dead."""
    if FIRST in node.config.stash:
        node.config.stash[FIRST].end()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Scheduling | None:
    """By files, but for those that share brokers."""
    return Scheduling(config, log) if config.getoption("dist") == "loadfile" else None


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """What a test shares with the next one runs on."""
    item.config.stash[SHARED].goes_on(item, nextitem)


def pytest_configure(config: pytest.Config) -> None:
    """What tests share is this process's."""
    config.stash[SHARED] = Shared()


def pytest_unconfigure(config: pytest.Config) -> None:
    """The run is over, and so are its brokers."""
    config.stash[SHARED].end()
    keeper = config.stash.get(KEEPER, None)
    if keeper is not None:
        keeper.end()


@pytest.fixture(autouse=True)
def _clear_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of the developer's shell reaches a test."""
    for name in list(os.environ):
        if name.startswith(PREFIX):
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def kafka(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SharedKafka]:
    """One broker for the whole run, all its processes too, started on first use; never one that the environment names.

    Others use it at the same time: a test has topics and groups of its own, and looks at no others. One that freezes or
    stops a broker, or compares all that it holds, takes `own_kafka` or starts one.
    """
    address: str | None = getattr(request.config, "workerinput", {}).get(KEEPER_ADDRESS)
    if address is not None:
        yield shared(address, tmp_path_factory.getbasetemp().parent / "kafka")
        return
    with LocalKafka.start(tmp_path_factory.mktemp("kafka")) as broker:
        yield SharedKafka(broker.bootstrap_servers, broker.pid)


@pytest.fixture
def own_kafka(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> LocalKafka:
    """A broker that a test may kill or freeze; the next test has it again, of other files too (`tests.sharing`)."""

    def start() -> LocalKafka:
        return LocalKafka.start(tmp_path_factory.mktemp("kafka"), heap_mb=256)

    broker = pytestconfig.stash[SHARED].get("own_kafka", start)
    if broker.alive:
        broker.resume()
    else:
        broker.restart()
    return broker


@pytest.fixture
def kafka_cluster(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Three brokers, of which a test may kill or freeze any; the next has all again, of other files too.

    Not for the whole run: the few files that need them follow each other in one process (`tests.sharing`), and three
    brokers that nobody asks anything take a tenth of a core.

    Replication factor 3, `min.insync.replicas` 2; topics by
    `await chain_settings(kafka_bootstrap_servers=kafka_cluster.bootstrap_servers)`.
    """

    def start() -> Cluster:
        return Cluster.start(tmp_path_factory.mktemp("cluster"))

    cluster = pytestconfig.stash[SHARED].get("kafka_cluster", start)
    cluster.heal()
    yield cluster
    cluster.heal()


@pytest.fixture
def chain_settings(request: pytest.FixtureRequest, tmp_path: Path) -> ChainSettings:
    """Builder of settings with topics and groups of their own: `await build(partitions=4, **overrides)`.

    The topics are those of `topics/*.yaml` but for the number of partitions; the dead letters have one, so that their
    order is the order of failing. `kafka_bootstrap_servers` may be overridden too (a broker of the test's own, or the
    cluster); the run's broker is then not started.
    """

    async def build(partitions: int = 4, **overrides: Any) -> Settings:
        prefix = f"t{uuid.uuid4().hex[:10]}"
        if "kafka_bootstrap_servers" not in overrides:
            kafka: SharedKafka = request.getfixturevalue("kafka")
            overrides["kafka_bootstrap_servers"] = kafka.bootstrap_servers
        settings = Settings.load(
            **{
                "webhooks_topic": f"{prefix}.webhooks",
                "operations_topic": f"{prefix}.operations",
                "dead_letters_topic": f"{prefix}.dead-letters",
                "customers_topic": f"{prefix}.customers",
                "transform_group": f"{prefix}.transform",
                "sink_group": f"{prefix}.sink",
                "data_dir": tmp_path / "data",
                "host": "127.0.0.1",
                "port": 0,
                "drain_seconds": 0,  # no balancer has to hear of a stop
                **overrides,
            }
        )
        specs = [
            replace(spec, partitions=1)
            if spec.name == settings.dead_letters_topic
            else replace(spec, partitions=partitions)
            for spec in load_specs(settings)
        ]
        left = await apply(settings, plan(specs, {}))
        assert not left
        return settings

    return build


@pytest.fixture
def environment() -> Callable[[Settings], dict[str, str]]:
    """`environment(settings)`: the environment of a subprocess that has the same settings."""
    return environment_of


def environment_of(settings: Settings) -> dict[str, str]:
    """This process's environment, with the `PIPELINE_*` variables that make `Settings.load()` equal to `settings`."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    for name in Settings.model_fields:
        value = getattr(settings, name)
        if value is not None:
            variables[f"{PREFIX}{name.upper()}"] = _written(value)
    return variables


def _written(value: Any) -> str:
    match value:
        case bool():
            return str(value).lower()
        case SecretStr():
            return value.get_secret_value()
        case Mapping():
            return ",".join(f"{key}={item}" for key, item in value.items())
        case tuple():
            return ",".join(_written(item) for item in value)
        case _:
            return str(value)
