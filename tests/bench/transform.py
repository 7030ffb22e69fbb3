"""Webhooks mapped a second: our transform and its peers, the same records and the same mapping function.

Each contender is written as well as its documentation allows (`tests/bench/contenders`), delivers at least once with
acks=all, and runs alone on the machine with the broker. `ours` writes its six headers on every record, the peers none;
`ours, no headers` writes what they write.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Final

from pipeline.settings import Settings
from tests.bench import bento, stage
from tests.bench.figures import Figure, per
from tests.bench.payments import Payments
from tests.bench.plan import Run
from tests.bench.race import Contender, MissingRecordsError, Result, race

PARTITIONS: Final = 4

CONTENDERS: Final[dict[str, Contender]] = {
    "ours": Contender("ours", "ours", ("--mapping", "shared"), ours=True),
    "ours-bare": Contender("ours, no headers", "ours", ("--mapping", "shared-bare"), ours=True),
    "ours-real": Contender("ours, real mapping", "ours", ("--mapping", "real"), ours=True, outputs=2),
    "ours-state": Contender(
        "ours, real mapping and state", "ours", ("--mapping", "real"), ours=True, state=True, outputs=2
    ),
    "confluent-real": Contender(
        "confluent-kafka by hand, our mapping", "confluent_real", ("--mapping", "real"),
        ours=True, foreign=True, outputs=2,
    ),
    "confluent-state": Contender(
        "confluent-kafka by hand, our mapping and state", "confluent_real", ("--mapping", "state"),
        ours=True, state=True, foreign=True, outputs=2,
    ),
    "previous-real": Contender(
        "previous, real mapping", "ours", ("--mapping", "real"), ours=True, outputs=2, is_previous=True
    ),
    "previous-state": Contender(
        "previous, real mapping and state", "ours", ("--mapping", "real"),
        ours=True, state=True, outputs=2, is_previous=True,
    ),
    "aiokafka": Contender("aiokafka, by hand", "aiokafka_loop"),
    "confluent": Contender("confluent-kafka, by hand", "confluent_loop", foreign=True),
    "quix": Contender("Quix Streams", "quix", foreign=True),
    "faststream": Contender("FastStream, batches", "faststream_batch", foreign=True),
    "faust": Contender("Faust, stock", "faust_stock", part=0.2),
    "bento": Contender("Bento, the vendor's recipe for one type", "bento", outputs=2),
}  # fmt: skip

BOUNDS: Final = {"aiokafka": 1.4, "quix": 2.0, "faststream": 2.0, "faust": 9.0, "confluent": 0.9}
"""How much faster than each the flow should be, with the same mapping."""

REAL_BOUND: Final = 1.0
"""The real mapping with the state, of two operations a webhook, against aiokafka with the shared function."""

STATE_BOUND: Final = 0.75
"""The same against the real mapping without a state."""

SAME_WORK: Final = {"confluent-real": 1.0, "confluent-state": 1.0, "previous-real": 2.2, "previous-state": 2.2}
"""How much faster the real flow should be than a loop by hand with the same mapping, and than it was before."""

Rounds = dict[int, Result]
"""By the number of the round; one that failed is missing."""


async def measure(run: Run) -> list[Figure]:
    """All contenders, the rounds interleaved; medians, and ratios of the medians."""
    records = run.sizes.records
    names = run.contenders or [name for name in CONTENDERS if _is_here(run, name)]
    chosen = {name: CONTENDERS[name] for name in names}
    sources: dict[float, tuple[Settings, int]] = {}
    payments = Payments()
    for part in {contender.part for contender in chosen.values()}:
        run.say(f"writing {int(records * part):,} webhooks of {payments.body_bytes:,} bytes")
        settings = await stage.topics(run.broker, run.directory, PARTITIONS)
        count = await stage.fill(
            settings.kafka_bootstrap_servers, settings.webhooks_topic, PARTITIONS, payments.records(int(records * part))
        )
        sources[part] = settings, count
    results: dict[str, Rounds] = defaultdict(dict)
    failures = []
    for number in range(run.sizes.rounds):
        for name in (*names[number % len(names) :], *names[: number % len(names)]):
            contender = chosen[name]
            settings, count = sources[contender.part]
            try:
                result = await race(run, settings, contender, count)
            except (MissingRecordsError, stage.ProcessEndedError) as error:
                run.say(f"round {number + 1}: {error}")
                failures.append(contender.name)
                continue
            results[name][number] = result
            run.say(
                f"round {number + 1} of {run.sizes.rounds}: {contender.name} {result.webhooks_per_second:,.0f}/s, "
                f"{result.cpu_us:.1f} µs of processor a webhook, others took "
                f"{result.others_percent:.0f} % of the machine{_faults(result)}"
            )
    return [
        *_figures(chosen, results),
        *_ratios(results),
        Figure("transform", "runs failed", len(failures), "", at_most=0),
    ]


def _is_here(run: Run, name: str) -> bool:
    """Whether it can run without being asked for by name."""
    return run.previous is not None if CONTENDERS[name].is_previous else name != "bento" or bento.program() is not None


def _faults(result: Result) -> str:
    faults = {"repeated": result.repeated, "out of order": result.reordered, "in two partitions": result.scattered}
    told = [f"{count:,} {what}" for what, count in faults.items() if count]
    return f" ({', '.join(told)})" if told else ""


def _figures(chosen: dict[str, Contender], results: dict[str, Rounds]) -> list[Figure]:
    figures = []
    for name, rounds in results.items():
        shown = chosen[name].name
        figures += [
            Figure.of("transform", shown, [one.webhooks_per_second for one in rounds.values()], "/s"),
            Figure.of("transform", f"{shown}, processor time a webhook", [one.cpu_us for one in rounds.values()], "µs"),
        ]
        faults = [(one.reordered, one.scattered) for one in rounds.values()]
        if chosen[name].ours:
            figures.append(Figure("transform", f"{shown}, records out of place", sum(map(sum, faults)), "", at_most=0))
    return figures


def _ratios(results: dict[str, Rounds]) -> list[Figure]:
    """Of each round, since a round is minutes and the machine may change from one to the next."""
    pairs: list[tuple[str, str, float | None]] = [
        (ours, peer, bound) for ours in ("ours", "ours-bare") for peer, bound in BOUNDS.items()
    ]
    pairs += [("ours-state", "aiokafka", REAL_BOUND), ("ours-state", "ours-real", STATE_BOUND)]
    pairs += [(f"ours-{peer.partition('-')[2]}", peer, bound) for peer, bound in SAME_WORK.items()]
    pairs += [("ours-real", "bento", None), ("ours-state", "bento", None)]
    figures = []
    for ours, peer, bound in pairs:
        both = results.get(ours, {}), results.get(peer, {})
        rounds = [(both[0][number], both[1][number]) for number in both[0].keys() & both[1].keys()]
        if not rounds:
            continue
        what = f"{CONTENDERS[ours].name} / {CONTENDERS[peer].name}"
        rates = [per(one.webhooks_per_second, other.webhooks_per_second) for one, other in rounds]
        figures += [
            Figure.of("transform", what, rates, "x", at_least=bound),
            Figure.of(
                "transform",
                f"{what}, for each processor second",
                [per(other.cpu_us, one.cpu_us) for one, other in rounds],
                "x",
            ),
        ]
    return figures
