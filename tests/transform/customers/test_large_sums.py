"""Sums are exact whatever their size, in the summary, in a share, and on the profile."""

from __future__ import annotations

from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from pipeline.customerio.sandbox.actions import validate
from pipeline.dodo import samples
from pipeline.statestore.store import MemoryStore
from pipeline.transform.customers.facts import checked, split
from pipeline.transform.customers.summary import Summary, fold, sums_of, told_sums
from pipeline.transform.decision import Decision, decide
from pipeline.transform.mapping import map_webhook
from pipeline.transform.money import MAX_MINOR
from pipeline.transform.policy import Policy
from pipeline.transform.verdicts import Operations
from tests.records import Consumed

PAYMENTS = 2_100
"""Beyond 2,048 of the largest the sum leaves 64 bits."""


def paid(store: MemoryStore, number: int, policy: Policy, customer_id: str = "cus_1") -> Decision:
    """One more payment of the largest amount."""
    body = orjson.loads(samples.load("payment.succeeded"))
    body["data"] |= {"payment_id": f"pay_{customer_id}_{number}", "total_amount": MAX_MINOR, "currency": "USD"}
    body["data"]["customer"] |= {"customer_id": customer_id, "email": "both@example.com"}
    headers = (("webhook-id", b"msg_%d" % number), ("webhook-timestamp", b"%d" % (1_792_660_380 + number)))
    return decide(Consumed(orjson.dumps(body), headers), policy, map_webhook, store)


def identify(decision: Decision) -> dict[str, Any]:
    """The attributes of its identify."""
    assert isinstance(decision.verdict, Operations), decision.verdict
    body = next(orjson.loads(one.body) for one in decision.verdict.operations if one.kind == "identify")
    assert validate(body) == []
    attributes: dict[str, Any] = body["attributes"]
    return attributes


def dollars(minor: int) -> str:
    """Two decimals, by nothing but text."""
    digits = str(minor)
    return f"{digits[:-2]}.{digits[-2:]}"


def test_more_than_64_bits() -> None:
    """The text is exact at every payment; a number that readers would round is null, and never an older one."""
    store = MemoryStore()
    for number in range(1, PAYMENTS + 1):
        attributes = identify(paid(store, number, Policy()))
        total = number * MAX_MINOR
        assert attributes["total_spent"] == attributes["total_spent_usd"] == dollars(total)
        assert attributes["total_spent_usd_minor"] == (total if total <= MAX_MINOR else None)
        assert attributes["total_spent_usd_value"] is None
        assert attributes["total_spent_value"] is None
        assert attributes["payment_count"] == number
    kept = Summary.decode(store.derived(b"cus_1"))
    assert kept is not None
    assert kept.spent == {"USD": PAYMENTS * MAX_MINOR}
    assert fold(store.scan(b"cus_1\0")).summary.encode() == kept.encode()


def test_shares_of_more_than_64_bits() -> None:
    """Two customers of one address add up to the last digit."""
    policy, store = Policy(person_id_chain=("email",)), MemoryStore()
    told: dict[str, Any] = {}
    for customer_id in ("cus_1", "cus_2"):
        for number in range(1, PAYMENTS + 1):
            decision = paid(store, number, policy, customer_id)
            if number == PAYMENTS:
                (share,) = decision.commands
                followed = decide(Consumed(share.value, share.headers, share.key), policy, map_webhook, store)
                told = identify(followed)
    assert told["total_spent_usd"] == dollars(2 * PAYMENTS * MAX_MINOR)
    assert told["total_spent_usd_minor"] is None
    for name, value in store.changelog:
        assert value is None or checked(split(name)[1], value) is not None


@given(st.dictionaries(st.sampled_from(["USD", "JPY", "KWD"]), st.integers(-(10**40), 10**40)))
def test_sums_are_read_as_they_were_written(spent: dict[str, int]) -> None:
    """Through JSON, too."""
    assert sums_of(orjson.loads(orjson.dumps(told_sums(spent)))) == spent
