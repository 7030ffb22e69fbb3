"""Write down what this build makes of much traffic, a line each: two builds are one program when their files are equal.

    python -m tests.builds.decisions FILE [--changed 3000] [--deliveries 2500]

Three kinds: the golden cases; samples of which values were replaced by what nobody would send, each under one of three
policies, without a state and with one; and a simulated shop's deliveries, out of order, with all that they leave in the
state. Whole verdicts are written, as Python shows them, so that 1, 1.0 and True are three things.
"""

from __future__ import annotations

import argparse
import copy
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any, Final

import orjson

from pipeline.dodo.catalogue import TYPES
from pipeline.dodo.simulator import Shop
from pipeline.statestore.lmdb_store import LmdbStore
from pipeline.statestore.ownership import Ownership
from pipeline.statestore.store import KeyValueStore, MemoryStore
from pipeline.statestore.transaction import TransactionalStore
from pipeline.transform.customers.schema import CUSTOMERS
from pipeline.transform.decision import decide
from pipeline.transform.mapping import map_body, map_webhook
from pipeline.transform.policy import Policy
from pipeline.transform.records import operation_records
from pipeline.transform.verdicts import Delivery, Mode, Operations
from tests.records import Consumed
from tests.transform.journeys.conftest import recorded
from tests.transform.mapping.test_fuzz import BODIES, POLICIES, change, paths
from tests.transform.mapping.test_golden import CASES, DATA, body_of, load, policy_of

NOW: Final = datetime(2026, 11, 20, 12, tzinfo=UTC)

POLICY: Final = Policy(emit_trial_events=True, emit_first_renewal=True)

CHUNK: Final = 50
"""Deliveries of a transaction."""

ODD: Final[tuple[Any, ...]] = (
    None, True, False, 0, 1, -1, 7, 49.0, 49.5, -0.0, 1e300, 2**31, 2**53, 2**53 + 1, 2**62, 2**63 - 1, -(2**63),
    2**64 - 1,
    "", " ", "0", "-1", "1.0", "1e400", "NaN", "true", "2026-10-14T08:21:45Z", "2026-10-14 08:21:45.123456+09:00",
    "2026-02-30T00:00:00Z", "9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+23:59", "\u202eevil", "9" * 5000,
    "🎉" * 600,
    "https://example.com/" + "x" * 2000, "ann@example.com", "ANN@Example.COM ", "USD", "jpy", "XXX", "KR",
    "+821012345678",
    "cancelled", "on_hold", "opted_out", "Day", "Month", "\x00\n", "cus_1", "ÅÅ", "Å",
    [], {}, [None], [[]], {"a": {}}, [{"a": 1}], ["x", 1, True], {"customer_id": "cus_1", "email": "bob@example.com"},
)  # fmt: skip
"""Edges of every type that JSON has, and texts that look like something."""


def golden(scratch: Path) -> Iterator[str]:
    """Every golden case."""
    for path in CASES:
        case = load(path)
        verdict = map_body(body_of(case), Delivery(**case["delivery"]), policy_of(case["settings"], scratch))
        yield f"golden {path.relative_to(DATA)} {verdict!r}"


def changed(count: int, rng: Random) -> Iterator[str]:
    """Samples with up to six values replaced or gone, and now and then bytes missing; then what the states hold."""
    names = sorted(BODIES)
    ways = {name: [path for path in paths(BODIES[name]) if path != ("type",)] for name in names}
    stores = [MemoryStore() for _ in POLICIES]
    for number in range(count):
        name = rng.choice(names)
        body = copy.deepcopy(BODIES[name])
        for _ in range(rng.randrange(7)):
            odd = copy.deepcopy(rng.choice(ODD)) if rng.random() < 0.8 else rng.getrandbits(rng.randrange(1, 65))
            change(body, rng.choice(ways[name]), odd, remove=rng.random() < 0.2)
        if rng.random() < 0.05:
            body["type"] = rng.choice(sorted(TYPES))
        value = orjson.dumps(body)
        if rng.random() < 0.03:
            value = value[: rng.randrange(len(value))]
        at_s = rng.choice((None, -1, 0, 1_790_000_000 + number, 10**19))
        mode: Mode = "test" if rng.random() < 0.05 else "live"
        which = rng.randrange(len(POLICIES))
        delivery = Delivery(f"msg_{number}", attempt_at_s=at_s, received_at_ms=at_s and at_s * 1000, mode=mode)
        yield f"changed {number} alone {map_body(value, delivery, POLICIES[which])!r}"
        headers = ("Webhook-Id", f"msg_{number}"), ("webhook-timestamp", str(at_s or 0)), ("dodo-mode", mode)
        record = Consumed(
            value,
            tuple((name, text.encode()) for name, text in headers),
            offset=number,
            timestamp=1_790_000_000_000 + number,
        )
        yield from decided(f"changed {number}", record, POLICIES[which], stores[which])
    for which, store in enumerate(stores):
        yield from held(f"changed state {which}", store)


def shop(count: int, seed: int) -> Iterator[str]:
    """A shop's deliveries in disorder, with the commands that they lead to; then what the state holds."""
    store = MemoryStore()
    for number, delivery in enumerate(deliveries(count, seed)):
        yield from decided(f"shop {seed} {number}", recorded(delivery), POLICY, store)
    yield from held(f"shop {seed} state", store)


def on_disk(count: int, seed: int, scratch: Path) -> Iterator[str]:
    """Another shop's, with the state in transactions over the local store; then what that has."""
    local = LmdbStore.open(scratch, "customers", 0, CUSTOMERS)
    store, end = TransactionalStore(local, 0, Ownership(0, 1)), 0
    for number, delivery in enumerate(deliveries(count, seed)):
        yield from decided(f"disk {seed} {number}", recorded(delivery), POLICY, store)
        if number % CHUNK == CHUNK - 1:
            sealed = store.seal()
            changes = list(sealed.changes())
            yield f"disk {seed} {number} changelog {changes!r}"
            store.commit([sealed], [range(end, end + len(changes))] if changes else [None])
            end += len(changes)
    store.flush()
    for key, value in local.scan(b""):
        yield f"disk {seed} state {key!r} {value!r} {local.derived(CUSTOMERS.group_of(key))!r}"
    store.give_up()
    local.close(clean=False)


def deliveries(count: int, seed: int) -> list[Any]:
    """What reaches a shop's endpoint with a true signature, shuffled."""
    made = [one for one in Shop(seed, NOW).deliveries(count) if one.kind != "forged"]
    Random(seed).shuffle(made)
    return made


def decided(label: str, record: Any, policy: Policy, store: KeyValueStore) -> Iterator[str]:
    """The decision about a record, the records that go out, and those of the commands that follow."""
    decision = decide(record, policy, map_webhook, store)
    yield f"{label} {decision!r}"
    if isinstance(decision.verdict, Operations):
        for out in operation_records(record, decision, decision.verdict, None):
            yield f"{label} out {out!r}"
    for command in decision.commands:
        follows = Consumed(command.value, tuple(command.headers), key=command.key, timestamp=record.timestamp)
        yield from decided(f"{label} command", follows, policy, store)


def held(label: str, store: MemoryStore) -> Iterator[str]:
    """Everything that was ever stored, in order, and what is derived from it."""
    for key, value in [*store.changelog, *sorted(store.derived_values.items())]:
        yield f"{label} {key!r} {value!r}"


def main() -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(prog="python -m tests.builds.decisions", description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--changed", type=int, default=3000)
    parser.add_argument("--deliveries", type=int, default=2500)
    options = parser.parse_args()
    with options.file.open("w", encoding="utf-8") as lines, tempfile.TemporaryDirectory() as scratch:
        for line in golden(Path(scratch)):
            lines.write(line + "\n")
        for line in changed(options.changed, Random(options.changed)):
            lines.write(line + "\n")
        for line in shop(options.deliveries, 1):
            lines.write(line + "\n")
        for line in on_disk(options.deliveries, 2, Path(scratch)):
            lines.write(line + "\n")


if __name__ == "__main__":
    main()
