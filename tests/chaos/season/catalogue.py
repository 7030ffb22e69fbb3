"""Every kind of fault that a season may bring, by name: what is done, and to what part of the chain."""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

Realm = Literal["worker", "broker", "customerio", "operator"]


class Kind(NamedTuple):
    """A kind of fault."""

    name: str
    realm: Realm
    """What it is done to. Two faults beside each other are of two realms, and an operator works alone."""

    says: str
    quick: bool = True
    """Whether it takes no more than a few seconds, so that the short form has it."""


KINDS: Final = (
    Kind(
        "worker killed", "worker", "SIGKILL to a worker of any stage, often with its disk; a successor starts at once"
    ),
    Kind("worker stopped", "worker", "SIGTERM to a worker of any stage; a successor starts when it has ended"),
    Kind("worker frozen", "worker", "SIGSTOP for longer than its session, then SIGCONT", quick=False),
    Kind(
        "stage rolled",
        "worker",
        "every worker of a stage in turn: SIGTERM, a successor, until it is ready",
        quick=False,
    ),
    Kind(
        "scaled out and in", "worker", "a further transform or sink joins, works, and is stopped for good", quick=False
    ),
    Kind("network cut", "worker", "a worker's connections to one broker are cut and refused; all others go on"),
    Kind("clock off", "worker", "a worker is started again with a clock that is wrong by up to an hour", quick=False),
    Kind("disk full", "worker", "a transform's disk is full until somebody gives it room", quick=False),
    Kind(
        "disk slow",
        "worker",
        "a transform is started again on a disk on which each write takes up to half a second, then on a fast one",
        quick=False,
    ),
    Kind("leader killed", "broker", "SIGKILL to a partition's leader, a group's coordinator or the controller"),
    Kind("brokers rolled", "broker", "every broker in turn: SIGTERM, start, until all is in sync", quick=False),
    Kind("two brokers paused", "broker", "SIGSTOP to two of three, so that nothing can be written, then SIGCONT"),
    Kind("partitions reassigned", "broker", "a topic's partitions lose a replica and get it back in another order"),
    Kind("preferred leaders elected", "broker", "every partition goes back to the leader that its topic wants"),
    Kind("throttled", "customerio", "429 with Retry-After to every request"),
    Kind("down", "customerio", "503 to every request"),
    Kind("answers lost", "customerio", "batches are taken, and the connection goes before the answer"),
    Kind("partly refused", "customerio", "207: an event of each of some batches is refused for good"),
    Kind("slow", "customerio", "batches are taken and answered late, some after the client has given up"),
    Kind(
        "key rotated", "customerio", "the old key is refused; the sinks are started again with the new one", quick=False
    ),
    Kind(
        "partitions added",
        "operator",
        "the documented way to more partitions, with webhooks refused meanwhile",
        quick=False,
    ),
    Kind(
        "offsets reset",
        "operator",
        "the sinks' group goes back by hundreds of operations and sends them again",
        quick=False,
    ),
    Kind("mirror deleted", "operator", "a running transform's local state is deleted under it", quick=False),
)

BY_NAME: Final = {kind.name: kind for kind in KINDS}
QUICK: Final = tuple(kind for kind in KINDS if kind.quick)
