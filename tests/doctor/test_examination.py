"""One look that cannot be had hides no other."""

from __future__ import annotations

import pytest

from pipeline.doctor import examination
from pipeline.doctor.examination import examine
from pipeline.doctor.findings import CHECKS, ON_KAFKA, Check, Finding
from pipeline.errors import BrokerUnreachableError, TopicError
from pipeline.kafka.local.broker import free_port
from pipeline.settings import Settings


async def found(settings: Settings, *only: Check) -> list[Finding]:
    """All findings of these checks."""
    return [finding async for finding in examine(settings, only)]


async def test_no_broker_answers() -> None:
    """That is a fault, once; what only a broker can tell is unknown, and what needs none is looked at all the same."""
    settings = Settings.load(kafka_bootstrap_servers=f"127.0.0.1:{free_port()}")
    told = await found(settings, *CHECKS)
    (fault,) = [one for one in told if one.verdict == "fault"]
    assert (fault.check, fault.subject) == ("brokers", settings.kafka_bootstrap_servers)
    assert {one.check for one in told if one.text == "no broker could be asked"} == ON_KAFKA - {"brokers"}
    assert {one.check for one in told} == set(CHECKS)


async def test_only_what_was_asked_for() -> None:
    """In the order of the checks, whatever order was given; without one that needs a broker, none is looked for."""
    nowhere = Settings.load(kafka_bootstrap_servers=f"127.0.0.1:{free_port()}")
    told = [one.check for one in await found(nowhere, "mapping", "settings")]
    assert told == sorted(told, key=CHECKS.index)
    assert set(told) == {"settings", "mapping"}


@pytest.mark.parametrize(
    ("error", "told", "remedy"),
    [
        (TopicError("DESCRIBE is not allowed"), "DESCRIBE is not allowed", "topics render --format acls"),
        (BrokerUnreachableError("it went away"), "it went away", ""),
        (ZeroDivisionError("oh"), "the look itself failed: ZeroDivisionError('oh')", "it is a bug"),
    ],
)
async def test_a_look_that_fails(error: Exception, told: str, remedy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What may not be seen is unknown and no fault, and the next check is still made."""

    def failing(_: Settings) -> list[Finding]:
        raise error

    monkeypatch.setattr(examination, "installation", failing)
    first, *others = await found(Settings.load(), "installation", "mapping")
    assert (first.check, first.verdict, first.text) == ("installation", "unknown", told)
    assert remedy in (first.remedy or "")
    assert [one.check for one in others] == ["mapping"]
