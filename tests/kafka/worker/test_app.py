"""What the app adds to Faust's, without a broker."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, cast

import pytest
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    GroupCoordinatorNotAvailableError,
    KafkaTimeoutError,
)
from faust.types import TP
from faust.types.enums import ProcessingGuarantee
from mode.supervisors import CrashingSupervisor

from pipeline.errors import SettingsError, TopicError
from pipeline.kafka.events import RebalanceEnded, RebalanceStarted
from pipeline.kafka.worker import app as app_module
from pipeline.kafka.worker.app import BatchApp
from pipeline.kafka.worker.membership import SAFETY_S, STATIC_FRESH_S, Membership
from pipeline.kafka.worker.options import QUEUED_CHUNKS
from pipeline.kafka.worker.transport import Transport
from pipeline.observers import ObserverFailed
from pipeline.settings import Settings

A = TP("webhooks", 0)


class Stage:
    """Writes down what the app tells it."""

    def __init__(self) -> None:
        self.said: list[Any] = []

    def begin(self) -> None:
        """Partitions go."""
        self.said.append("begin")

    async def drained(self) -> None:
        """Nothing is in flight."""
        self.said.append("drained")

    def is_vain(self) -> bool:
        """Never."""
        return False

    def abandon(self) -> None:
        """The grace is over."""
        self.said.append("abandon")

    def resume(self, generation: int, assigned: frozenset[TP]) -> None:
        """Records flow."""
        self.said.append((generation, assigned))


@pytest.fixture
def app(tmp_path: Path) -> BatchApp:
    """An app with one batch topic, in generation 5 of its group, with one partition."""
    app = BatchApp(
        "group", settings=Settings.load(data_dir=tmp_path), batch_topics=["webhooks"], stage="transform", debug=False
    )
    app.consumer_generation_id = 5
    return app


def assigned(app: BatchApp, *tps: TP, fails: BaseException | None = None) -> None:
    """The driver's answers: these partitions, and their positions or a failure."""
    consumer = cast("Any", app.consumer)

    async def prepare() -> None:
        if fails is not None:
            raise fails

    consumer.assignment = lambda: set(tps)
    consumer.prepare_seek = prepare


def test_the_settings_that_faust_needs(app: BatchApp) -> None:
    """The values without which it leaves the group for good, waits for ever, skips or declares topics."""
    conf = app.conf
    assert conf.id == "group"
    assert (conf.broker_max_poll_interval, conf.stream_wait_empty, conf.table_standby_replicas) == (1e7, False, 0)
    assert (conf.topic_disable_leader, conf.topic_allow_declare) == (True, False)
    assert (conf.broker_session_timeout, conf.broker_heartbeat_interval, conf.broker_rebalance_timeout) == (10, 1, 20)
    assert (conf.broker_request_timeout, conf.producer_request_timeout) == (40, 30)
    assert cast("Any", conf.agent_supervisor) is CrashingSupervisor
    assert cast("Any", conf.processing_guarantee) is ProcessingGuarantee.AT_LEAST_ONCE
    assert isinstance(app.transport, Transport)


def test_the_session_and_the_name_of_a_static_member_are_settings(tmp_path: Path) -> None:
    """A request may last as long as the session, or Faust refuses to start."""
    settings = Settings.load(data_dir=tmp_path, group_instance_id="pod-0", session_timeout_seconds=60)
    conf = BatchApp("group", settings=settings, batch_topics=[], stage="sink").conf
    assert (conf.broker_session_timeout, conf.broker_request_timeout) == (60, 60)
    assert conf.consumer_group_instance_id == "pod-0"


def test_the_environment_does_not_change_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Faust reads its settings from plain variables as well; those of another program must not reach us."""
    monkeypatch.setenv("BROKER_MAX_POLL_INTERVAL", "10")
    monkeypatch.setenv("STREAM_WAIT_EMPTY", "1")
    monkeypatch.setenv("BROKER_SESSION_TIMEOUT", "60")
    monkeypatch.setenv("APP_VERSION", "2")
    monkeypatch.setenv("APP_ID", "another")
    monkeypatch.setenv("BROKER_URL", "kafka://elsewhere:9092")
    app = BatchApp("group", settings=Settings.load(data_dir=tmp_path), batch_topics=[], stage="sink")
    assert (app.conf.broker_max_poll_interval, app.conf.stream_wait_empty) == (1e7, False)
    assert app.conf.broker_session_timeout == 10
    assert app.conf.id == "group"
    assert [str(url) for url in app.conf.broker] == ["kafka://localhost:9092"]


def test_a_batch_topic_is_bounded_and_acknowledged_by_its_batches_alone(app: BatchApp) -> None:
    """Even an agent that forgets `noack()` cannot commit over an unfinished record; other topics stay Faust's."""
    mine, other = app.topic("webhooks"), app.topic("other")
    assert (mine.acks, mine.maxsize) == (False, QUEUED_CHUNKS)
    assert (other.acks, other.maxsize) == (True, None)


def test_an_observer_that_fails_does_not_stop_the_flow(app: BatchApp) -> None:
    """The others still hear of the event, and of the failure."""
    heard: list[object] = []

    def failing(_: object) -> None:
        raise RuntimeError("a bug in an observer")

    app.transport_observers += [failing, heard.append]
    app.tell(RebalanceStarted(5))
    assert heard == [ObserverFailed("RebalanceStarted"), RebalanceStarted(5)]


async def test_an_assignment_restores_and_then_resumes(app: BatchApp) -> None:
    """State first; then the stage and the membership go on, under the new generation, and observers hear of it."""
    stage, events = Stage(), list[object]()
    app.set_handover(stage)
    app.transport_observers.append(events.append)
    assigned(app, A)

    async def restore(partitions: set[TP], generation: int) -> None:
        stage.said.append(("restore", partitions, generation, app.membership.rebalancing))

    app.on_assigned = restore
    await app._when_assigned()
    assert stage.said == [("restore", {A}, 5, True), (5, frozenset({A}))]
    assert app.membership.is_current(5)
    assert app.membership.assigned() == {A}
    assert [type(event) for event in events] == [RebalanceEnded]


async def test_without_partitions_there_is_nothing_to_restore(app: BatchApp) -> None:
    """A standby resumes with nothing."""
    stage = Stage()
    app.set_handover(stage)
    assigned(app)
    app.on_assigned = cast("Any", None)
    await app._when_assigned()
    assert stage.said == [(5, frozenset())]


@pytest.mark.parametrize("change", ["rebalancing_count", "consumer_generation_id"])
async def test_an_assignment_that_is_overtaken_resumes_nothing(app: BatchApp, change: str) -> None:
    """When the partitions go again during the restore, it is given up and the stage stays closed."""
    stage = Stage()
    app.set_handover(stage)
    assigned(app, A)
    given_up = asyncio.Event()

    async def restore(_: set[TP], __: int) -> None:
        setattr(app, change, 99)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            given_up.set()
            raise

    app.on_assigned = restore
    await app._when_assigned()
    assert given_up.is_set()
    assert stage.said == []
    assert app.membership.rebalancing


async def test_a_static_member_begins_when_nobody_else_can_act_under_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that had the name before may act until it hears that it lost it; the restore waits for that too."""
    monkeypatch.setattr(app_module, "LOOK_S", 0.0)
    now = 100.0
    settings = Settings.load(data_dir=tmp_path, group_instance_id="pod-0")
    app = BatchApp("group", settings=settings, batch_topics=["webhooks"], stage="transform", debug=False)
    app.consumer_generation_id = 5
    app.membership = Membership(10.0, lambda: now, is_static=True)
    stage, waited = Stage(), asyncio.Event()
    app.set_handover(stage)
    assigned(app, A)
    namesakes_s = app.membership.namesakes_s

    def asked() -> float:
        if (left_s := namesakes_s()) <= 0:
            waited.set()
        return left_s

    async def restore(partitions: set[TP], generation: int) -> None:
        assert waited.is_set()
        stage.said.append(("restore", partitions, generation))

    monkeypatch.setattr(app.membership, "namesakes_s", asked)
    app.on_assigned = restore
    app.membership.joined(now)
    assigning = asyncio.ensure_future(app._when_assigned())
    for _ in range(20):
        await asyncio.sleep(0)
    assert stage.said == []
    now += STATIC_FRESH_S + SAFETY_S
    await assigning
    assert stage.said == [("restore", {A}, 5), (5, frozenset({A}))]


async def test_a_restore_that_fails_ends_the_worker(app: BatchApp) -> None:
    """Its error is not swallowed, and nothing resumes."""
    stage = Stage()
    app.set_handover(stage)
    assigned(app, A)

    async def restore(_: set[TP], __: int) -> None:
        raise TopicError("topic state is missing")

    app.on_assigned = restore
    with pytest.raises(TopicError, match="topic state is missing"):
        await app._when_assigned()
    assert stage.said == []


async def test_a_refusal_of_the_committed_offsets_ends_the_worker(app: BatchApp) -> None:
    """A missing permission is not waited for: it is named, and nothing resumes."""
    stage = Stage()
    app.set_handover(stage)
    assigned(app, A, fails=GroupAuthorizationFailedError("group"))
    with pytest.raises(TopicError, match="may not use the consumer group group: allow READ"):
        await app._when_assigned()
    assert stage.said == []


async def test_a_coordinator_that_is_away_is_asked_again(app: BatchApp, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever passes by itself holds the flow and costs nothing else."""
    monkeypatch.setattr(app_module, "RETRY_S", 0.0)
    stage = Stage()
    app.set_handover(stage)
    failures: list[Exception] = [GroupCoordinatorNotAvailableError(), KafkaTimeoutError()]
    assigned(app, A)

    async def prepare() -> None:
        if failures:
            raise failures.pop()

    cast("Any", app.consumer).prepare_seek = prepare
    await app._when_assigned()
    assert stage.said == [(5, frozenset({A}))]


def test_a_data_directory_that_cannot_be_made_is_a_setting(tmp_path: Path) -> None:
    """The variable is named."""
    occupied = tmp_path / "file"
    occupied.touch()
    app = BatchApp("group", settings=Settings.load(data_dir=occupied), batch_topics=[], stage="sink")
    with pytest.raises(SettingsError, match="PIPELINE_DATA_DIR"):
        app._create_directories()
