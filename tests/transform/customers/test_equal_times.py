"""Identifies of one second: whatever order Customer.io takes them in, the profile ends as the last one says.

The stand-in is the worst that the documentation allows: operations are processed in any order ("we may not process your
API calls in the order you send them"), any of them again, an identify that is older than the profile's last edit is
ignored, and of two with one time either may be.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.dodo import samples
from pipeline.kafka.records import NOT_BEFORE, Record, text_header
from pipeline.statestore.store import MemoryStore
from pipeline.transform.customers import facts
from pipeline.transform.decision import decide
from pipeline.transform.mapping import map_webhook
from pipeline.transform.policy import Policy
from pipeline.transform.records import operation_records
from pipeline.transform.verdicts import Operations
from tests.records import Consumed
from tests.transform.customers.test_shares import ADDRESS, PERSON, PIECES, World

AT_S = 1_790_000_000
POLICIES = {
    "customer_id": Policy(),
    "email": Policy(person_id_chain=("email",)),
    "metadata": Policy(person_id_chain=("metadata.account", "customer_id")),
}


def webhook(customer_id: str, number: int, at_s: int, name: str, *, pays: bool) -> Consumed:
    """A payment, or one that failed: it changes the sums, or the name alone."""
    body = orjson.loads(samples.load("payment.succeeded"))
    body["timestamp"] = datetime.fromtimestamp(at_s, UTC).isoformat()
    body["type"] = "payment.succeeded" if pays else "payment.failed"
    body["data"] |= {"payment_id": f"pay_{number}", "total_amount": 100, "currency": "USD", "refunds": None}
    body["data"]["customer"] |= {
        "customer_id": customer_id, "email": ADDRESS, "name": name, "metadata": {"account": "acc_7"},
    }  # fmt: skip
    headers = (("webhook-id", b"msg_%d" % number), ("webhook-timestamp", b"%d" % at_s))
    return Consumed(orjson.dumps(body), headers, customer_id.encode())


def identifies(operations: Iterable[tuple[str, dict[str, Any]]]) -> dict[str, list[dict[str, Any]]]:
    """Those of each person, in the order of sending."""
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for kind, operation in operations:
        if kind == "identify":
            found[orjson.dumps(operation["identifiers"]).decode()].append(operation)
    return found


def written(profile: dict[str, Any], attributes: dict[str, Any]) -> dict[str, Any]:
    """A profile once an identify is applied; null removes."""
    return {name: value for name, value in (profile | attributes).items() if value is not None}


def at_worst(sent: list[dict[str, Any]], data: st.DataObject) -> dict[str, Any]:
    """The profile after these, in an order and with decisions that somebody made who means harm."""
    again = data.draw(st.lists(st.sampled_from(sent), max_size=3))
    profile: dict[str, Any] = {}
    edited_at_s = -1
    for operation in data.draw(st.permutations(sent + again)):
        at_s = operation["timestamp"]
        if at_s > edited_at_s or (at_s == edited_at_s and data.draw(st.booleans())):
            profile, edited_at_s = written(profile, operation["attributes"]), at_s
    return profile


LIVES = st.lists(
    st.tuples(st.integers(0, 1), st.integers(0, 2), st.sampled_from(["Ann", "Bea"]), st.booleans()),
    min_size=1,
    max_size=7,
)
"""Webhooks in the order of arrival: whose, at which second, with which name, and whether money was paid."""


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES.keys())
@given(st.data())
def test_the_last_one_holds(policy: Policy, data: st.DataObject) -> None:
    """Over chunks, crashes and repetitions, alone or as one person of two customers."""
    customers = ["cus_a", "cus_b"]
    world = World(lambda key: 2 if key.startswith(PERSON) else customers.index(key.decode()), policy)
    for number, (who, second, name, pays) in enumerate(data.draw(LIVES)):
        record = webhook(customers[who], number, AT_S + second, name, pays=pays)
        world.append(record.key or b"", record.value, record.headers)
    for number, records, crash in data.draw(st.lists(PIECES, max_size=8)):
        world.step(number, records, crash=crash)
    world.settle()
    for sent in identifies(world.operations).values():
        wanted: dict[str, Any] = {}
        for operation in sent:
            wanted = written(wanted, operation["attributes"])
        assert at_worst(sent, data) == wanted


def test_later_ones_carry_the_next_second() -> None:
    """Strictly, and not further than it takes; a later delivery has its own time."""
    world = World(lambda _: 0, Policy())
    for number, at_s in enumerate((AT_S, AT_S, AT_S, AT_S + 60)):
        record = webhook("cus_a", number, at_s, "Ann", pays=True)
        world.append(record.key or b"", record.value, record.headers)
    world.settle()
    ((_, sent),) = identifies(world.operations).items()
    assert [operation["timestamp"] - AT_S for operation in sent] == [0, 1, 2, 60]


def test_what_changes_nothing_takes_no_second() -> None:
    """An identify that is not sent moves no time."""
    world = World(lambda _: 0, Policy())
    for number, pays in enumerate((True, False, False, False, True)):
        record = webhook("cus_a", number, AT_S, "Ann", pays=pays)
        world.append(record.key or b"", record.value, record.headers)
    world.settle()
    ((_, sent),) = identifies(world.operations).items()
    assert [operation["timestamp"] - AT_S for operation in sent] == [0, 1]


def test_a_time_of_the_version_before_is_gone_beyond() -> None:
    """Its facts say the latest delivery, which its last identify carried."""
    store = MemoryStore()
    fact = b'[3,%d,"99999999999999999999999999999999",null,[%d,0,"cus_a","customer_id"],null,null,null,null,{}]'
    store.put(facts.identity_key(b"cus_a"), fact % (AT_S, AT_S))
    verdict = decide(webhook("cus_a", 1, AT_S, "Ann", pays=True), Policy(), map_webhook, store).verdict
    assert isinstance(verdict, Operations)
    assert orjson.loads(verdict.operations[0].body)["timestamp"] == AT_S + 1


def test_times_ahead_of_the_clock_are_marked() -> None:
    """Up to two seconds ahead goes out at once; what is further ahead says from when on it may."""
    store, marks = MemoryStore(), []
    for number in range(6):
        record: Record = webhook("cus_a", number, AT_S, "Ann", pays=True)
        decision = decide(record, Policy(), map_webhook, store)
        assert isinstance(decision.verdict, Operations)
        identify, event = operation_records(record, decision, decision.verdict)
        assert text_header(event.headers, NOT_BEFORE) is None
        marks.append(text_header(identify.headers, NOT_BEFORE))
    assert marks == [None, None, None, *(str(AT_S + ahead) for ahead in (1, 2, 3))]
