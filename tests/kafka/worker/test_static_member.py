"""The name of a static member in every request, and the end when it is another's."""

from __future__ import annotations

from typing import Any

import pytest
from aiokafka.protocol.commit import OffsetCommitRequest, OffsetFetchRequest
from aiokafka.protocol.group import HeartbeatRequest, JoinGroupResponse_v5

from pipeline.kafka.worker.static_member import (
    FENCED_INSTANCE_ID,
    FencedInstanceIdError,
    HeartbeatRequestV3,
    HeartbeatResponseV3,
    OffsetCommitRequestV7,
    OffsetCommitResponseV7,
    StaticMember,
)

HEARTBEAT = HeartbeatRequest("group", 7, "member-7")
COMMIT = OffsetCommitRequest("group", 7, "member-7", -1, [("webhooks", [(0, 5, ""), (1, 9, "")])])
ALIVE = HeartbeatResponseV3(0, 0)
STORED = OffsetCommitResponseV7(0, [("webhooks", [(0, 0), (1, 0)])])
VERSIONS = {8: (2, 9), 12: (0, 4)}
"""What Apache Kafka 4.2 says that it knows of both requests."""


class Coordinator:
    """Of a group whose brokers answer what the test wants."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.sent: list[Any] = []

    async def _send_req(self, request: Any) -> Any:
        """One request."""
        self.sent.append(request)
        return self.answers.pop(0)


def member(coordinator: Coordinator, heard: list[str] | None = None) -> Any:
    """The coordinator, whose requests are signed from now on."""
    told = heard if heard is not None else []
    StaticMember(coordinator, "pod-0", lambda: told.append("fenced"))
    return coordinator


async def test_heartbeats_and_commits_carry_the_name() -> None:
    """In the first version of each that has a place for it, with everything else as aiokafka asked for it."""
    coordinator = member(Coordinator(ALIVE, STORED))
    assert await coordinator._send_req(HEARTBEAT) is ALIVE
    assert await coordinator._send_req(COMMIT) is STORED
    heartbeat, commit = (request.prepare(VERSIONS) for request in coordinator.sent)
    assert isinstance(heartbeat, HeartbeatRequestV3)
    assert heartbeat.to_object() == {
        "group": "group",
        "generation_id": 7,
        "member_id": "member-7",
        "group_instance_id": "pod-0",
    }
    assert isinstance(commit, OffsetCommitRequestV7)
    partitions = [
        {"partition": number, "offset": offset, "leader_epoch": -1, "metadata": ""}
        for number, offset in ((0, 5), (1, 9))
    ]
    assert commit.to_object() == {
        "consumer_group": "group",
        "consumer_group_generation_id": 7,
        "consumer_id": "member-7",
        "group_instance_id": "pod-0",
        "topics": [{"topic": "webhooks", "partitions": partitions}],
    }
    assert HeartbeatRequestV3.decode(heartbeat.encode()) == heartbeat
    assert OffsetCommitRequestV7.decode(commit.encode()) == commit


async def test_other_requests_are_left_alone() -> None:
    """Joins are signed by aiokafka; a question about offsets has no name."""
    coordinator = member(Coordinator(ALIVE))
    question = OffsetFetchRequest("group", [])
    await coordinator._send_req(question)
    assert coordinator.sent == [question]


@pytest.mark.parametrize(
    ("request_", "answer"),
    [
        (HEARTBEAT, HeartbeatResponseV3(0, FENCED_INSTANCE_ID)),
        (COMMIT, OffsetCommitResponseV7(0, [("webhooks", [(0, 0), (1, FENCED_INSTANCE_ID)])])),
        (object(), JoinGroupResponse_v5(0, FENCED_INSTANCE_ID, -1, "", "", "", [])),
    ],
    ids=["heartbeat", "commit", "join"],
)
async def test_a_name_that_is_anothers_ends_all_requests(request_: Any, answer: Any) -> None:
    """It is told once, and nothing is sent any more: a join would take the name back."""
    heard: list[str] = []
    coordinator = member(Coordinator(answer), heard)
    assert await coordinator._send_req(request_) is answer
    assert heard == ["fenced"]
    for _ in range(2):
        with pytest.raises(FencedInstanceIdError):
            await coordinator._send_req(HEARTBEAT)
    assert len(coordinator.sent) == 1
    assert heard == ["fenced"]
