"""Runs all checks, each by itself, so that one that fails hides no other."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence

from pipeline.doctor.brokers import brokers
from pipeline.doctor.clock import clock
from pipeline.doctor.customerio import customerio
from pipeline.doctor.dodo import dodo
from pipeline.doctor.findings import CHECKS, ON_KAFKA, Check, Finding
from pipeline.doctor.groups import groups
from pipeline.doctor.installation import installation
from pipeline.doctor.letters import dead_letters
from pipeline.doctor.mapping import mapping
from pipeline.doctor.settings import oddities
from pipeline.doctor.state import state
from pipeline.doctor.topics import rights, topics
from pipeline.errors import BrokerUnreachableError, PipelineError
from pipeline.kafka.cluster.admin import Admin, open_admin
from pipeline.settings import Settings

PATIENCE_S = 10.0
"""Seconds for one request to the cluster: a person is waiting; a stage that starts waits for longer."""

ALLOW = "see what it needs: `dodo-cio topics render --format acls`"


async def examine(settings: Settings, only: Collection[Check] = CHECKS) -> AsyncIterator[Finding]:
    """Findings as they come, in the order of `CHECKS`; never raises.

    Args:
        settings: of the deployment that is checked; malformed ones are found by `settings.faults`.
        only: the checks to run.
    """
    for check in CHECKS:
        if check == "brokers":
            async for finding in _on_kafka(settings, only):
                yield finding
        elif check in only and check not in ON_KAFKA:
            for finding in await _guarded(check, lambda check=check: _alone(settings, check)):  # type: ignore[misc]
                yield finding


async def _alone(settings: Settings, check: Check) -> Sequence[Finding]:
    match check:
        case "settings":
            return oddities(settings)
        case "installation":
            return installation(settings)
        case "customerio":
            return await customerio(settings)
        case "dodo":
            return await dodo(settings)
        case _:
            return mapping(settings)


async def _on_kafka(settings: Settings, only: Collection[Check]) -> AsyncIterator[Finding]:
    """The checks that need a broker; if none answers, one fault for that, and the other checks are unknown."""
    wanted = [check for check in CHECKS if check in only and (check in ON_KAFKA or check == "brokers")]
    if not wanted:
        return
    try:
        async with open_admin(settings, patience_s=PATIENCE_S) as admin:
            for check in wanted:
                for finding in await _guarded(check, lambda check=check: _asking(settings, admin, check)):  # type: ignore[misc]
                    yield finding
    except PipelineError as error:
        yield Finding(
            "brokers", settings.kafka_bootstrap_servers, "fault", str(error), "as it says, from this very machine"
        )
        for check in wanted:
            if check != "brokers":
                yield Finding(check, "all", "unknown", "no broker could be asked")


async def _asking(settings: Settings, admin: Admin, check: Check) -> Sequence[Finding]:
    match check:
        case "brokers":
            return [*await brokers(settings, admin), await clock(settings)]
        case "topics":
            return await topics(settings, admin)
        case "rights":
            return await rights(settings, admin)
        case "groups":
            return await groups(settings, admin)
        case "state":
            return await state(settings)
        case _:
            return await dead_letters(settings)


async def _guarded(check: Check, look: Callable[[], Awaitable[Sequence[Finding]]]) -> Sequence[Finding]:
    try:
        return await look()
    except BrokerUnreachableError as error:
        return [Finding(check, "all", "unknown", str(error))]
    except PipelineError as error:  # mostly a right that the check lacks: no fault of what is checked
        return [Finding(check, "all", "unknown", str(error), ALLOW)]
    except Exception as error:  # noqa: BLE001 - one check that fails must not hide the others
        return [Finding(check, "all", "unknown", f"the look itself failed: {error!r}", "report it, it is a bug")]
