"""How much each benchmark does: sizes, and where it runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

from pipeline.kafka.local.broker import LocalKafka
from tests.kafka.shared import SharedKafka


@dataclass(frozen=True, slots=True)
class Sizes:
    """The sizes of a run; each field is an option of the command line, its metadata the help text."""

    rounds: int = field(default=3, metadata={"help": "rounds of transform, scale, state and ingest, interleaved"})
    records: int = field(default=200_000, metadata={"help": "webhooks that each contender of transform and scale maps"})
    payments: int = field(default=100_000, metadata={"help": "webhooks that each transform of state maps"})
    webhooks: int = field(default=40_000, metadata={"help": "payments of decision's shop, eight of each customer"})
    customers: int = field(default=1_000_000, metadata={"help": "customers of restore and rolling"})
    replicas: int = field(default=3, metadata={"help": "transforms of rolling, each restarted once"})
    restart_seconds: float = field(
        default=10.0, metadata={"help": "seconds between the end of one of rolling's replicas and its next start"}
    )
    operations: int = field(default=300_000, metadata={"help": "operations that each sink of throughput delivers"})
    letters: int = field(default=60_000, metadata={"help": "operations that letters' Customer.io refuses"})
    samples: int = field(default=400, metadata={"help": "single records of latency"})
    requests: int = field(default=1_500, metadata={"help": "full requests of client"})
    lane_operations: int = field(default=60_000, metadata={"help": "operations of batcher and lanes"})
    load_seconds: float = field(default=8.0, metadata={"help": "seconds of each load of ingest"})
    chain_seconds: float = field(default=60.0, metadata={"help": "seconds of chain's steady traffic"})
    chain_rate: float = field(default=200.0, metadata={"help": "webhooks a second of chain's steady traffic"})
    chain_requests: float = field(
        default=100.0, metadata={"help": "requests a second that the sink may send in chain's steady traffic"}
    )
    chain_webhooks: int = field(default=60_000, metadata={"help": "webhooks of chain's rush, as fast as they go in"})
    backlog: int = field(default=1_000_000, metadata={"help": "operations of backlog"})
    outage_seconds: float = field(default=60.0, metadata={"help": "seconds that backlog's API is down"})

    @classmethod
    def short(cls) -> Self:
        """For trying: about two minutes in all, figures of little worth."""
        return cls(
            rounds=1, records=20_000, payments=20_000, webhooks=8_000, customers=20_000, operations=60_000,
            letters=10_000, samples=60, requests=200, lane_operations=20_000, load_seconds=2.0, chain_seconds=5.0,
            chain_webhooks=4_000, backlog=60_000, outage_seconds=10.0, restart_seconds=2.0,
        )  # fmt: skip

    @classmethod
    def smoke(cls) -> Self:
        """For the test that every part works."""
        return replace(
            cls.short(), records=600, payments=600, webhooks=400, customers=300, operations=4_000, letters=1_000,
            samples=3, requests=10, lane_operations=3_000, load_seconds=0.3, chain_seconds=1.0, chain_rate=30.0,
            chain_webhooks=100, backlog=3_000, outage_seconds=1.0, replicas=1, restart_seconds=0.1,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Run:
    """What a benchmark gets.

    Attributes:
        broker: a local Apache Kafka of its own.
        directory: for its files, removed afterwards.
        sizes: how much to do.
        say: tells a person how far it is.
        contenders: of the transform, those to run; all when empty.
        previous: a commit whose transform runs beside them; None: there is none.
    """

    broker: LocalKafka | SharedKafka
    directory: Path
    sizes: Sizes
    say: Callable[[str], None] = lambda _: None
    contenders: tuple[str, ...] = ()
    previous: str | None = None
