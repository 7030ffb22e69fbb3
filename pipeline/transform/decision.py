"""From a consumed record to a verdict, for whatever lies in the topic: `webhook` reads it, here it is judged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from pipeline.kafka.records import (
    DODO_COMMAND,
    Record,
    time_ms,
)
from pipeline.statestore.draft import Draft, is_the_process_s
from pipeline.statestore.store import KeyValueStore
from pipeline.transform.customers.commands import FORGOTTEN, TOO_LARGE, is_too_large, obey
from pipeline.transform.customers.customer_view import CustomerView
from pipeline.transform.customers.facts import customer_key, forgotten_until_ms
from pipeline.transform.customers.observations import of_webhook
from pipeline.transform.customers.ownership import elsewhere
from pipeline.transform.customers.shares import Commands, shares_of
from pipeline.transform.failures import where
from pipeline.transform.policy import Policy
from pipeline.transform.profile import Profile
from pipeline.transform.verdicts import DeadLettered, Decided, Dropped, Operations, Verdict
from pipeline.transform.webhook import Command, Reading, Unusable, Webhook, read

MapWebhook = Callable[[Webhook, Policy, Profile | None], Verdict]

NO_STATE: Final = DeadLettered(
    "unmappable", "a command about a customer's state, and the state is off (PIPELINE_STATE)", DODO_COMMAND
)
NO_COMMANDS: Final = DeadLettered(
    "unmappable", "a command about a customer's state, and commands are switched off (PIPELINE_COMMANDS)", DODO_COMMAND
)
NO_CUSTOMER: Final = DeadLettered(
    "unmappable",
    "the body names no customer by an id of at most 255 bytes. The state (PIPELINE_STATE) is kept by it, also where "
    "PIPELINE_PERSON_ID would find the person without",
    "customer",
)


@dataclass(slots=True, init=False)
class Decision:
    """What becomes of one record; `type` is None when the body could not be read."""

    verdict: Decided
    type: str | None
    webhook_id: str
    commands: Commands
    """What the owners of people must learn, records for the webhooks topic; only where customers can be one person."""

    whose: bytes | None
    """The part of keys of the customer or person whose state remembers the identify as sent."""

    received_at_ms: int | None
    """When the webhook arrived, unix ms, where it was read already; None: it is in the record."""

    def __init__(  # noqa: PLR0917 - in the order of its fields
        self,
        verdict: Decided,
        type: str | None,  # noqa: A002 - the field's name
        webhook_id: str,
        commands: Commands = (),
        whose: bytes | None = None,
        received_at_ms: int | None = None,
    ) -> None:
        self.verdict = verdict
        self.type = type
        self.webhook_id = webhook_id
        self.commands = commands
        self.whose = whose
        self.received_at_ms = received_at_ms


def decide(record: Record, policy: Policy, map_webhook: MapWebhook, store: KeyValueStore | None = None) -> Decision:
    """`judge` of a record that nobody has read yet."""
    return judge(read(record), policy, map_webhook, store)


def judge(reading: Reading, policy: Policy, map_webhook: MapWebhook, store: KeyValueStore | None = None) -> Decision:
    """The decision about a record; never raises for what it holds, as `map_webhook` does not.

    With the `store` of the record's partition the customer's state decides, and what the record shows is put there:
    for operations and for a webhook that emits nothing; never for a dead letter, whose replay must be reported. A
    record about a customer whose facts lie elsewhere is sent on. The store's own errors are raised.
    """
    if isinstance(reading, Unusable):
        return Decision(reading.verdict, reading.type, reading.webhook_id)
    if isinstance(reading, Command):
        return _obeyed(reading, policy, store)
    type_, delivery = reading.envelope.type, reading.delivery
    if store is None or delivery.mode == "test":
        verdict = map_webhook(reading, policy, None)
        return Decision(verdict, type_, delivery.webhook_id, received_at_ms=delivery.received_at_ms)
    customer = customer_key(reading.customer_id)
    if customer is None:
        verdict = of_nobody(map_webhook(reading, policy, None))
        return Decision(verdict, type_, delivery.webhook_id)
    if (
        reading.record is not None
        and (away := elsewhere(store.ownership, customer, reading.record.headers)) is not None
    ):
        return Decision(away, type_, delivery.webhook_id)
    verdict, commands = _with_state(reading, customer, policy, map_webhook, Draft(store))
    return Decision(verdict, type_, delivery.webhook_id, commands, customer, delivery.received_at_ms)


def of_nobody(verdict: Verdict) -> Verdict:
    """What becomes of a webhook that names no customer where there is a state; `verdict` is by its body alone.

    Only what needs no customer stays: that a body changes nothing only the state can say.
    """
    is_about_somebody = type(verdict) is Operations or (type(verdict) is Dropped and verdict.reason == "no-change")
    return NO_CUSTOMER if is_about_somebody else verdict


def _obeyed(command: Command, policy: Policy, store: KeyValueStore | None) -> Decision:
    type_, record = f"command.{command.name}", command.record
    if not policy.commands:
        return Decision(NO_COMMANDS, type_, command.webhook_id)
    if store is None:
        return Decision(NO_STATE, type_, command.webhook_id)
    carried = obey(
        command.name, command.body, command.webhook_id, policy, store,
        at_ms=time_ms(record) or 0, headers=record.headers,
    )  # fmt: skip
    return Decision(carried.verdict, type_, command.webhook_id, carried.commands, carried.whose)


def _with_state(
    webhook: Webhook, customer: bytes, policy: Policy, map_webhook: MapWebhook, draft: Draft
) -> tuple[Verdict, Commands]:
    """The verdict with the customer's state; all or nothing of the record is left behind."""
    try:
        verdict, commands = _judged(webhook, customer, policy, map_webhook, draft)
    except Exception as error:
        if is_the_process_s(error):
            raise
        return DeadLettered("unmappable", f"the state failed on this body ({where(error)}): a bug to report"), ()
    if is_too_large(draft, commands):
        return TOO_LARGE, ()
    draft.commit()
    return verdict, commands


def _judged(
    webhook: Webhook, customer: bytes, policy: Policy, map_webhook: MapWebhook, draft: Draft
) -> tuple[Verdict, Commands]:
    view = CustomerView(draft, customer, of_webhook(webhook, policy))
    if view.forgotten_s and (webhook.times.event_ms or 0) < forgotten_until_ms(view.forgotten_s):
        return FORGOTTEN, ()
    verdict = map_webhook(webhook, policy, view)
    match verdict:
        case Operations():
            said: Operations | None = verdict
        case Dropped(reason="no-change"):
            said = None
        case _:
            return verdict, ()
    view.settle(said)
    if not policy.pools:
        return verdict, ()
    record = webhook.record
    at_ms = 0 if record is None else time_ms(record) or 0
    return verdict, shares_of(draft, webhook.customer_id or "", customer, view, said, at_ms=at_ms, policy=policy)
