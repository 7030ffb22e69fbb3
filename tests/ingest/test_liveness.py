"""An ingest is alive when a store succeeded, or when none can succeed anywhere; each attempt is counted once."""

from __future__ import annotations

import ssl

import pytest
from aiokafka.errors import (
    AuthenticationFailedError,
    KafkaConnectionError,
    KafkaTimeoutError,
    NotEnoughReplicasError,
    ProducerClosed,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
)
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import BrokerUnreachableError, SettingsError
from pipeline.ingest.liveness import Came, Standing, attempted, cause_of, live
from pipeline.kafka.reach import unreachable
from pipeline.settings import Settings
from pipeline.watch.pulse import MAX_STEP_S, PATIENCE_S

BEGIN = Standing(at=0.0)


def after(*attempts: tuple[float, Came]) -> Standing:
    """The standing after attempts at these times."""
    standing = BEGIN
    for at, came in attempts:
        standing = attempted(standing, came, at, "a file is gone")
    return standing


def row(came: Came, until_s: float, *, since_s: float = 0.0, every_s: float = 5.0) -> list[tuple[float, Came]]:
    """The same again and again."""
    return [(since_s + number * every_s, came) for number in range(int((until_s - since_s) / every_s) + 1)]


def test_five_minutes_of_its_own_failures_are_the_end() -> None:
    """Not before; and the reason is told to whoever asks, before the end too."""
    early = live(after(*row(Came.PROCESS_FAILED, PATIENCE_S)))
    assert early.ok
    assert "a file is gone" in early.reason
    late = live(after(*row(Came.PROCESS_FAILED, PATIENCE_S + 5.0)))
    assert not late.ok
    assert "a file is gone" in late.reason


def test_an_outage_of_kafka_is_no_reason_however_long() -> None:
    """A day of it leaves the process alive."""
    assert live(after(*row(Came.KAFKA_REFUSED, 86_400.0))).ok


@pytest.mark.parametrize("came", [Came.STORED, Came.KAFKA_REFUSED])
def test_one_other_outcome_begins_anew(came: Came) -> None:
    """As long as anything else comes of an attempt, a restart would gain nothing."""
    half = PATIENCE_S * 0.75
    attempts = [
        *row(Came.PROCESS_FAILED, half),
        (half + 1, came),
        *row(Came.PROCESS_FAILED, 2 * half, since_s=half + 2),
    ]
    assert live(after(*attempts)).ok


def test_a_frozen_process_did_not_fail_meanwhile() -> None:
    """What nobody attempted is not held against it."""
    standing = after((0.0, Came.PROCESS_FAILED), (7200.0, Came.PROCESS_FAILED))
    assert standing.failing_s == MAX_STEP_S
    assert live(standing).ok


def test_an_idle_process_is_alive() -> None:
    """Without any attempt there is nothing to say."""
    assert live(BEGIN).ok


@given(st.lists(st.tuples(st.floats(0, 30), st.sampled_from(list(Came))), max_size=60))
def test_it_is_the_time_since_anything_else_came(steps: list[tuple[float, Came]]) -> None:
    """Whatever the order: the seconds are those between the process's own failures since the last other outcome."""
    now, expected, last, standing = 0.0, None, 0.0, BEGIN
    for step, came in steps:
        now += step
        if came is Came.PROCESS_FAILED:
            expected = 0.0 if expected is None else expected + min(now - last, MAX_STEP_S)
        else:
            expected = None
        last = now
        standing = attempted(standing, came, now)
    assert standing.failing_s == pytest.approx(expected) if expected is not None else standing.failing_s is None


OF_KAFKA = [
    KafkaConnectionError("closed"),
    KafkaTimeoutError(),
    NotEnoughReplicasError(),
    UnknownTopicOrPartitionError(),
    TopicAuthorizationFailedError(),
    TimeoutError(),
    ConnectionResetError(),
    unreachable(Settings.load(), ["Connect call failed"]),
    unreachable(Settings.load(), ["something new"]),
]
OF_THE_PROCESS = [
    SettingsError("the CA file is gone"),
    FileNotFoundError("ca.pem"),
    AuthenticationFailedError(),
    ssl.SSLError("certificate verify failed"),
    ProducerClosed(),
    RuntimeError("a bug"),
    unreachable(Settings.load(), ["SaslAuthenticationFailed"]),
    unreachable(Settings.load(), ["certificate verify failed"]),
]


@pytest.mark.parametrize("error", OF_KAFKA, ids=repr)
def test_what_another_process_would_meet_too(error: Exception) -> None:
    """Kafka is away, has too few replicas, or does not take this user's records."""
    assert cause_of(error) is Came.KAFKA_REFUSED


@pytest.mark.parametrize("error", OF_THE_PROCESS, ids=repr)
def test_what_another_process_may_not_meet(error: Exception) -> None:
    """Files, credentials and bugs of this process."""
    assert cause_of(error) is Came.PROCESS_FAILED


def test_only_a_broker_that_may_come_back_passes() -> None:
    """The error of a failed connection says so itself."""
    assert not BrokerUnreachableError("x").may_pass
