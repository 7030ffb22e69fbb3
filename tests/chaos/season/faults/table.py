"""What is done for each kind of fault."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from tests.chaos.season.act import Fault
from tests.chaos.season.faults import brokers, customerio, operators, workers

FAULTS: Final[Mapping[str, Fault]] = {
    "worker killed": workers.killed,
    "worker stopped": workers.stopped,
    "worker frozen": workers.frozen,
    "stage rolled": workers.rolled,
    "scaled out and in": workers.scaled,
    "network cut": workers.cut_off,
    "clock off": workers.clock_off,
    "disk full": workers.disk_full,
    "disk slow": workers.disk_slow,
    "leader killed": brokers.leader_killed,
    "brokers rolled": brokers.rolled,
    "two brokers paused": brokers.two_paused,
    "partitions reassigned": brokers.reassigned,
    "preferred leaders elected": brokers.elected,
    "throttled": customerio.throttled,
    "down": customerio.down,
    "answers lost": customerio.answers_lost,
    "partly refused": customerio.partly_refused,
    "slow": customerio.slow,
    "key rotated": customerio.key_rotated,
    "partitions added": operators.partitions_added,
    "offsets reset": operators.offsets_reset,
    "mirror deleted": operators.mirror_deleted,
}
