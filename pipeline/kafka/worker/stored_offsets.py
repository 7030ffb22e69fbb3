"""The group's committed offsets, as its coordinator answers: "I cannot tell" is never taken for "never committed".

From version 2 of OffsetFetch on a coordinator that refuses (it has just become one and still loads the group, or is
none any more) answers with one code for everything and an empty list of topics (`OffsetFetchRequest.getErrorResponse`
of Apache Kafka). aiokafka 0.14 speaks version 3 and looks at the codes of partitions alone: with none it returns
nothing, as for a new group. A worker that joined while its brokers were rolled would begin at the start of the log, and
store that over what the group had done.
"""

from __future__ import annotations

from typing import Any, Final

from aiokafka import errors
from aiokafka.protocol.commit import OffsetFetchRequest

ELSEWHERE: Final = (errors.GroupCoordinatorNotAvailableError, errors.NotCoordinatorForGroupError)
"""Another broker is to be asked; of all that passes by itself aiokafka's own loop asks again after a pause."""


def hear_refusals(coordinator: Any) -> None:
    """Have aiokafka's `coordinator` raise what it is told about committed offsets as a whole; in its thread."""
    send = coordinator._send_req  # noqa: SLF001 - all requests to the group go through it

    async def send_and_hear(request: Any) -> Any:
        answer = await send(request)
        if isinstance(request, OffsetFetchRequest):
            error = errors.for_code(getattr(answer, "error_code", 0))  # versions 0 and 1 have none
            if error in ELSEWHERE:
                coordinator.coordinator_dead()
            if error is not errors.NoError:
                raise error(f"the group's committed offsets were refused with code {answer.error_code}")
        return answer

    coordinator._send_req = send_and_hear  # noqa: SLF001
