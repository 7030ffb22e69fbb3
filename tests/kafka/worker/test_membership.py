"""When a process may act for its group."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiokafka.protocol.group import LeaveGroupRequest, SyncGroupRequest
from faust.types import TP

from pipeline.kafka.worker.consumer_thread import ConsumerThread
from pipeline.kafka.worker.membership import NOT_A_MEMBER, SAFETY_S, STATIC_FRESH_S, Membership, since_boot

ASSIGNED = frozenset({TP("a", 0)})


class Clock:
    """Seconds that a test sets."""

    now = 100.0

    def __call__(self) -> float:
        """The time."""
        return self.now


class Group:
    """What the driver says about the group."""

    generation = 4
    is_away = False

    def partitions_total(self, topic: str) -> int:
        """Number of partitions."""
        return {"a": 12}.get(topic, 0)


def member(clock: Clock, group: Group) -> Membership:
    """A member whose records flow and whose heartbeat was just answered."""
    membership = Membership(10.0, clock)
    membership.attach(group)
    membership.heartbeat()
    membership.resume(4, ASSIGNED)
    return membership


def test_before_the_consumer_started_nothing_may_be_sent() -> None:
    """A membership without a consumer is outside of the group."""
    membership = Membership(10.0)
    assert membership.generation == NOT_A_MEMBER
    assert not membership.may_send(NOT_A_MEMBER)
    assert membership.rebalancing
    assert membership.heartbeat_age_s() == float("inf")
    assert membership.partitions_total("a") == 0


def test_a_live_member_may_send_what_it_was_given() -> None:
    """Records of the live generation may leave, those of another may not."""
    membership = member(Clock(), Group())
    assert membership.may_send(4)
    assert not membership.may_send(3)
    assert not membership.may_send(5)
    assert membership.assigned() == ASSIGNED
    assert membership.partitions_total("a") == 12
    assert not membership.rebalancing


def test_an_old_heartbeat_stops_a_zombie() -> None:
    """After a freeze the group may have gone on without us: two seconds before the session ends, sending ends."""
    clock = Clock()
    membership = member(clock, Group())
    clock.now += 7.9
    assert membership.may_send(4)
    assert membership.heard()
    clock.now += 0.2
    assert not membership.may_send(4)
    assert not membership.heard()
    assert membership.is_current(4), "it may be heard again"
    membership.heartbeat()
    assert membership.may_send(4)


def test_a_heartbeat_counts_from_when_it_was_sent() -> None:
    """An answer that took long is as old as its request."""
    clock = Clock()
    membership = member(clock, Group())
    clock.now += 9.0
    membership.heartbeat(clock.now - 8.5)
    assert membership.heartbeat_age_s() == 8.5
    assert not membership.may_send(4)


def test_a_generation_counts_from_when_it_was_asked_for() -> None:
    """A process that was frozen while the answer was on its way may have been replaced since: a heartbeat shows it."""
    clock, group = Clock(), Group()
    membership = member(clock, group)
    asked_at = clock.now
    clock.now += 120.0
    membership.joined(asked_at)
    membership.resume(4, ASSIGNED)
    assert membership.heartbeat_age_s() == 120.0
    assert not membership.may_send(4)
    membership.heartbeat()
    assert membership.may_send(4)


async def test_the_time_is_taken_before_the_group_is_asked() -> None:
    """For partitions (SyncGroup), and for nothing else; what is asked last counts."""
    thread = cast("Any", object.__new__(ConsumerThread))
    thread.synced_at = float("-inf")
    seen: list[float] = []

    async def send(request: Any) -> Any:
        seen.append(thread.synced_at)
        return request

    coordinator = SimpleNamespace(_send_req=send)
    thread._note_syncs(coordinator)
    sync, began_at = SyncGroupRequest("group", 4, "member", None, []), since_boot()
    await coordinator._send_req(LeaveGroupRequest("group", "member"))
    assert await coordinator._send_req(sync) is sync
    await coordinator._send_req(sync)
    assert seen[0] == float("-inf")
    assert began_at <= seen[1] <= seen[2]


def test_a_coordinator_that_is_away_is_known() -> None:
    """By the driver; one that has not begun to look misses nobody."""
    assert not Membership(10.0).coordinator_away
    group = Group()
    membership = member(Clock(), group)
    assert not membership.coordinator_away
    group.is_away = True
    assert membership.coordinator_away


@pytest.mark.parametrize(("node", "is_away"), [(None, True), (0, False)])
def test_the_driver_knows_of_a_coordinator(node: int | None, is_away: bool) -> None:
    """Where no broker is one, or none is reached, aiokafka has none."""
    thread = cast("Any", object.__new__(ConsumerThread))
    thread._consumer = None
    assert not thread.is_away
    thread._consumer = SimpleNamespace(_coordinator=SimpleNamespace(coordinator_id=node))
    assert thread.is_away == is_away


def test_nothing_leaves_while_partitions_move() -> None:
    """From the revocation to the end of the restore nothing may be sent, though the generation is still the old one."""
    membership = member(Clock(), Group())
    membership.suspend()
    assert membership.rebalancing
    assert not membership.may_send(4)
    assert not membership.is_current(4)


def test_what_was_begun_may_be_finished_while_partitions_move() -> None:
    """Until the driver joins again the partitions are ours: work of that generation may end, and of no other."""
    clock, group = Clock(), Group()
    membership = member(clock, group)
    membership.suspend()
    membership.suspend()
    assert membership.may_finish(4)
    assert not membership.may_finish(3)
    clock.now += 8.1
    assert not membership.may_finish(4)
    membership.heartbeat()
    assert membership.may_finish(4)
    group.generation = 5
    assert not membership.may_finish(4)
    membership.resume(5, ASSIGNED)
    assert not membership.may_finish(4)
    assert membership.may_finish(5)
    group.generation = NOT_A_MEMBER
    membership.suspend()
    assert not membership.may_finish(5)
    assert not membership.may_finish(NOT_A_MEMBER)


def test_an_evicted_member_may_not_send() -> None:
    """The driver that heard of the eviction has no generation any more."""
    group = Group()
    membership = member(Clock(), group)
    group.generation = NOT_A_MEMBER
    assert not membership.may_send(4)
    assert not membership.may_send(NOT_A_MEMBER)


def static_member(clock: Clock, group: Group, session_s: float = 60.0) -> Membership:
    """A member with a name of its own, which has just joined."""
    membership = Membership(session_s, clock, is_static=True)
    membership.attach(group)
    membership.joined(clock.now)
    membership.resume(4, ASSIGNED)
    return membership


def test_a_static_member_is_heard_more_often() -> None:
    """Its name may be another's without the group waiting for it: however long the session is, three seconds count."""
    clock = Clock()
    membership = static_member(clock, Group())
    clock.now += STATIC_FRESH_S - 0.1
    assert membership.may_send(4)
    clock.now += 0.2
    assert not membership.may_send(4)
    assert not membership.may_finish(4)
    assert membership.is_current(4), "it may be heard again"
    membership.heartbeat()
    assert membership.may_send(4)


def test_what_the_group_went_on_without_is_lost() -> None:
    """Evicted, or of an older generation; not while partitions are given away in order, nor while no broker answers."""
    clock, group = Clock(), Group()
    membership = member(clock, group)
    membership.suspend()
    clock.now += 3600
    assert not membership.is_lost(4)
    assert membership.is_lost(3)
    group.generation = NOT_A_MEMBER
    assert membership.is_lost(4)
    assert not membership.is_lost(NOT_A_MEMBER)


def test_a_new_generation_of_a_static_member_waits_for_who_had_the_name() -> None:
    """For as long as that one may still send, and the margin that its last request needs to arrive."""
    clock, group = Clock(), Group()
    former, heir = static_member(clock, group), Membership(60.0, clock, is_static=True)
    clock.now += 1.0
    former.heartbeat()
    heir.joined(clock.now)
    while former.may_send(4):
        assert heir.namesakes_s() > SAFETY_S
        clock.now += 0.1
    clock.now += SAFETY_S
    assert heir.namesakes_s() == 0.0
    clock.now += 3600
    heir.joined(clock.now)
    assert heir.namesakes_s() == STATIC_FRESH_S + SAFETY_S, "after every rebalance"


def test_without_names_nobody_is_waited_for() -> None:
    """A generation begins when every member has joined again or is past its session."""
    clock = Clock()
    membership = member(clock, Group())
    membership.joined(clock.now)
    assert membership.namesakes_s() == 0.0


def test_a_member_whose_place_was_taken_does_nothing_more() -> None:
    """Neither send nor finish, though its generation is the group's: the place is another's, the number the same."""
    clock = Clock()
    membership = static_member(clock, Group())
    membership.expel()
    assert not membership.may_send(4)
    assert not membership.may_finish(4)
    assert not membership.is_current(4)
    assert membership.rebalancing
