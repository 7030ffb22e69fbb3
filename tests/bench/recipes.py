"""The vendor's recipes in one worker's mapping, beside the default mapping of the same webhooks."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

from pipeline.settings import Settings
from pipeline.transform.decision import decide
from pipeline.transform.mapping import map_webhook
from pipeline.transform.policy import Policy
from pipeline.transform.records import operation_records
from pipeline.transform.verdicts import Operations
from tests.bench.figures import Figure, per
from tests.bench.payments import Payments
from tests.bench.plan import Run
from tests.records import Consumed

ROUNDS: Final = 7
RECIPES: Final = Path(__file__).parents[1] / "data" / "recipes"
KINDS: Final = {"default": None, "one recipe": RECIPES / "track_payments.js", "three recipes": RECIPES}


async def measure(run: Run) -> list[Figure]:
    """Processor time from a record to the records of its operations: by default, by one and by all three recipes.

    Rounds interleaved, ratios of each round. One worker has a processor's second a second.
    """
    payments = Payments()
    records = [
        Consumed(body, tuple(headers), key)
        for key, body, headers in map(payments.record, range(run.sizes.lane_operations // 20))
    ]
    policies = {name: Policy.of(Settings.load(javascript=path)) for name, path in KINDS.items()}
    spent: dict[str, list[float]] = {name: [] for name in KINDS}
    for _ in range(ROUNDS):
        for name, policy in policies.items():
            began = time.process_time()
            for record in records:
                _map(record, policy)
            spent[name].append((time.process_time() - began) / len(records))
    figures = [
        Figure.of(
            "recipes", f"{name}, webhooks a processor's second", [per(1, one) for one in rounds], "/s", at_least=least
        )
        for (name, rounds), least in zip(spent.items(), (None, 5_000, None), strict=True)
    ]
    return figures + [
        Figure.of(
            "recipes",
            f"{name} / default",
            [per(mine, theirs) for mine, theirs in zip(spent[name], spent["default"], strict=True)],
            "x the time",
        )
        for name in list(KINDS)[1:]
    ]


def _map(record: Consumed, policy: Policy) -> None:
    decision = decide(record, policy, map_webhook)
    assert isinstance(decision.verdict, Operations)
    assert operation_records(record, decision, decision.verdict)
