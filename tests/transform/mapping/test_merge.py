"""With the policy `email` and merging switched on, a changed address takes the person along."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson
import pytest

from pipeline.customerio.operations import merge
from pipeline.customerio.sandbox.actions import validate
from pipeline.customerio.sandbox.config import SandboxConfig
from pipeline.customerio.sandbox.workspace import Arrival, Workspace
from pipeline.dodo import samples
from pipeline.errors import OperationError, SettingsError
from pipeline.settings import Settings
from pipeline.statestore.store import MemoryStore
from pipeline.transform.decision import decide
from pipeline.transform.mapping import map_webhook
from pipeline.transform.policy import Policy
from pipeline.transform.verdicts import MappedOperation, Operations
from tests.records import Consumed

MERGING = Policy(person_id_chain=("email",), merge_on_email_change=True)
OLD, NEW = "old@example.com", "new@example.com"
DAY_S = 86_400
BEGAN_S = 1_790_000_000


def payment(day: int, address: str, *, webhook: int | None = None, delivered: int | None = None) -> Consumed:
    """A payment on `day`, its webhook delivered on the day `delivered`."""
    body = orjson.loads(samples.load("payment.succeeded"))
    body["timestamp"] = f"2026-10-{day + 1:02d}T10:00:00Z"
    body["data"]["customer"] |= {"customer_id": "cus_1", "email": address}
    body["data"] |= {"payment_id": f"pay_{day}", "total_amount": 1000, "currency": "USD"}
    at_s = BEGAN_S + (day if delivered is None else delivered) * DAY_S
    headers = (("webhook-id", b"msg_%d" % (day if webhook is None else webhook)), ("webhook-timestamp", b"%d" % at_s))
    return Consumed(orjson.dumps(body), headers, b"cus_1", timestamp=at_s * 1000)


class World:
    """A state and a workspace."""

    def __init__(self, policy: Policy = MERGING) -> None:
        self.policy = policy
        self.store = MemoryStore()
        self.workspace = Workspace(SandboxConfig())
        self.at = 0

    def feed(self, record: Consumed) -> list[MappedOperation]:
        """Decide it, and let the workspace take what it sends, in order, then what follows from the shares."""
        decision = decide(record, self.policy, map_webhook, self.store)
        assert isinstance(decision.verdict, Operations)
        for operation in decision.verdict.operations:
            body = orjson.loads(operation.body)
            assert validate(body) == []
            self.at += 1
            self.workspace.apply(body, Arrival(self.at, self.at), 0)
        for command in decision.commands:
            share = decide(
                replace(record, value=command.value, headers=command.headers), self.policy, map_webhook, self.store
            )
            for operation in share.verdict.operations if isinstance(share.verdict, Operations) else ():
                self.at += 1
                self.workspace.apply(orjson.loads(operation.body), Arrival(self.at, self.at), 0)
        return list(decision.verdict.operations)

    def kinds(self, record: Consumed) -> list[str]:
        """The kinds of what it sends."""
        return [operation.kind for operation in self.feed(record)]

    @property
    def people(self) -> dict[str | None, Any]:
        """Payment count by address."""
        return {person.email: person.attributes.get("payment_count") for person in self.workspace.people}


def test_changed_address_is_merged_once() -> None:
    """The merge goes between the new person's first identify, a barrier, and the event; later webhooks send none."""
    world = World()
    assert world.kinds(payment(0, OLD)) == ["identify", "event"]
    identify, merging, event = world.feed(payment(1, NEW))
    assert identify.barrier
    assert orjson.loads(merging.body) == {
        "type": "person",
        "action": "merge",
        "primary": {"email": NEW},
        "secondary": {"email": OLD},
    }
    assert merging.op_id == "msg_1:merge"
    assert (merging.kind, event.kind) == ("merge", "event")
    assert world.people == {NEW: 2}
    assert world.workspace.people.find({"email": NEW}).events == 2  # type: ignore[union-attr]
    assert world.kinds(payment(2, NEW)) == ["event"]
    assert world.people == {NEW: 3}


def test_capitals_are_no_change() -> None:
    """Another spelling of the same address is the same person."""
    world = World()
    world.feed(payment(0, OLD))
    assert "merge" not in world.kinds(payment(1, f" {OLD.upper()} "))


def test_late_webhook_with_the_old_address() -> None:
    """A webhook from before the change that comes after it neither merges back nor makes the old person anew."""
    world = World()
    world.feed(payment(0, OLD))
    world.feed(payment(3, NEW))
    assert "merge" not in world.kinds(payment(1, OLD))
    assert world.people == {NEW: 3}


def test_redelivery_after_a_crash() -> None:
    """If the merge went out and its facts did not last, it goes out again, which changes nothing."""
    world = World()
    world.feed(payment(0, OLD))
    before = list(world.store.changelog)
    world.feed(payment(1, NEW))
    world.store = MemoryStore()
    for key, value in before:
        world.store.put(key, value)
    assert world.kinds(payment(1, NEW)) == ["identify", "merge", "event"]
    assert world.people == {NEW: 2}


def test_there_and_back() -> None:
    """An address that is taken back gets all of the person back."""
    world = World()
    for day, address in enumerate((OLD, NEW, OLD)):
        world.feed(payment(day, address))
    assert world.people == {OLD: 3}


@pytest.mark.parametrize(
    "policy",
    [
        Policy(person_id_chain=("email",)),
        Policy(person_id_chain=("customer_id",), merge_on_email_change=True),
        Policy(person_id_chain=("metadata.nothing", "customer_id"), merge_on_email_change=True),
    ],
    ids=["off", "by customer", "by metadata"],
)
def test_never_unasked(policy: Policy) -> None:
    """By default, and where people do not go by their address, nobody is merged."""
    world = World(policy)
    world.feed(payment(0, OLD))
    assert "merge" not in world.kinds(payment(1, NEW))


def test_without_the_state() -> None:
    """Without the state nobody knows a former address: no merge."""
    for record in (payment(0, OLD), payment(1, NEW)):
        verdict = decide(record, MERGING, map_webhook).verdict
        assert isinstance(verdict, Operations)
        assert [operation.kind for operation in verdict.operations] == ["identify", "event"]


def test_setting_needs_the_policy_and_the_state() -> None:
    """The setting alone would do nothing, and says so at the start."""
    for values in ({}, {"person_id": "customer_id"}, {"person_id": "email", "state": False}):
        with pytest.raises(SettingsError, match="needs email in PIPELINE_PERSON_ID"):
            Settings.load(merge_on_email_change=True, **values)
    settings = Settings.load(merge_on_email_change=True, person_id="email,customer_id")
    assert Policy.of(settings).merge_on_email_change


@pytest.mark.parametrize(("primary", "secondary"), [("a", "a"), ("", "a"), ("a", " "), ("a" * 151, "b")])
def test_impossible_merges(primary: str, secondary: str) -> None:
    """A person cannot be merged into itself, nor into nobody."""
    with pytest.raises(OperationError):
        merge(primary, secondary)
