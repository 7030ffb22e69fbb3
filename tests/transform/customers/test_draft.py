"""A bug on one record is that record's dead letter, and nothing of it is left behind."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from pipeline.dodo import samples
from pipeline.errors import OperationError, StateError
from pipeline.statestore.store import MemoryStore
from pipeline.transform import decision
from pipeline.transform.customers import commands
from pipeline.transform.customers.customer_view import CustomerView
from pipeline.transform.customers.summary import Summary
from pipeline.transform.decision import decide
from pipeline.transform.enrichment import Enrichment
from pipeline.transform.mapping import map_webhook
from pipeline.transform.policy import Policy
from pipeline.transform.resolver import FoundCustomer
from pipeline.transform.verdicts import DeadLettered, Operations
from pipeline.transform.webhook import read
from pipeline.version import is_compiled
from tests.records import Consumed

POLICY = Policy()
HEADERS = (("webhook-id", b"msg_1"), ("webhook-timestamp", b"1792660380"))
RECORD = Consumed(samples.load("payment.succeeded"), HEADERS)


def broken(*_: Any, **__: Any) -> Any:
    """A bug."""
    raise KeyError("nobody thought of that")


@pytest.mark.skipif(is_compiled(), reason="what is replaced here is called directly in machine code")
@pytest.mark.parametrize("where", ["settle", "encode", "shares"])
def test_a_bug_leaves_nothing(monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    """Wherever it strikes, also behind the first fact: a dead letter, an untouched state, and a replay that is told."""
    store = MemoryStore()
    policy = Policy(person_id_chain=("email",))
    with monkeypatch.context() as patch:
        match where:
            case "settle":
                patch.setattr(CustomerView, "settle", broken)
            case "encode":
                patch.setattr(Summary, "encode", broken)
            case "shares":
                patch.setattr(decision, "shares_of", broken)
        verdict = decide(RECORD, policy, map_webhook, store).verdict
    assert isinstance(verdict, DeadLettered)
    assert (verdict.class_, "KeyError" in verdict.reason, "a bug to report" in verdict.reason) == (
        "unmappable",
        True,
        True,
    )
    assert (store.changelog, store.derived_values) == ([], {})
    again = decide(RECORD, policy, map_webhook, store).verdict
    assert isinstance(again, Operations)
    assert [one.name for one in again.operations if one.kind == "event"] == ["payment_completed"]


def test_a_bug_on_a_command_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same for what `forget` would have begun."""
    store = MemoryStore()
    decide(RECORD, POLICY, map_webhook, store)
    before = list(store.changelog)
    customer_id = orjson.loads(RECORD.value or b"")["data"]["customer"]["customer_id"]
    value = orjson.dumps({"command": "forget", "customer_id": customer_id, "customerio": None, "at": 1_792_660_000})
    record = Consumed(value, (("dodo-command", b"forget"), ("webhook-id", b"forget_1")))
    with monkeypatch.context() as patch:
        patch.setattr(commands, "encode", broken)
        assert isinstance(decide(record, POLICY, map_webhook, store).verdict, DeadLettered)
    assert store.changelog == before


@pytest.mark.skipif(is_compiled(), reason="what is replaced here is called directly in machine code")
def test_what_a_person_handed_in_is_a_dead_letter_and_the_state_s_trouble_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An operation that cannot be is this webhook's fault; a broken mirror ends the process, which no record mends."""
    for error, dead in (
        (OperationError("odd", field="x"), True),
        (StateError("broken"), False),
        (MemoryError(), False),
    ):

        def fails(*_: Any, error: Exception = error) -> None:
            raise error

        with monkeypatch.context() as patch:
            patch.setattr(CustomerView, "settle", fails)
            if dead:
                assert isinstance(decide(RECORD, POLICY, map_webhook, MemoryStore()).verdict, DeadLettered)
            else:
                with pytest.raises(type(error)):
                    decide(RECORD, POLICY, map_webhook, MemoryStore())


def test_a_bug_on_what_the_api_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The webhook goes on by what is known, and nothing of the answer is kept."""
    store, enrichment = MemoryStore(), Enrichment(None, POLICY)  # type: ignore[arg-type]  # nobody is asked
    body = Consumed(orjson.dumps({"type": "license_key.created", "data": {"customer_id": "cus_1"}}), HEADERS)
    with monkeypatch.context() as patch:
        patch.setattr(CustomerView, "__init__", broken)
        assert enrichment.unknown_customer(read(body), store) is None
        enrichment.put(FoundCustomer({"customer_id": "cus_1", "email": "a@example.com"}, 1), "cus_1", store)
    assert (store.changelog, store.derived_values) == ([], {})
    assert enrichment.unknown_customer(read(body), store) == "cus_1"
