"""One webhook's verdict as a document: what the pipeline would do with it, worked out offline.

The same function decides as in the worker, so the operations are the exact ones. Two things only a worker knows: the
customer's state (a warning names where it would decide), and when the webhook was delivered, which an identify's
`timestamp` depends on; here the body's own time is used. `journey` knows the first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

import orjson

from pipeline.customerio.batch import join
from pipeline.customerio.client import BATCH_PATH
from pipeline.customerio.limits import CAMPAIGN_WINDOW_S
from pipeline.customerio.workspace import HOSTS
from pipeline.dodo.envelope import Envelope, kafka_key, parse, webhook_id_of
from pipeline.errors import UnreadableBodyError
from pipeline.settings import Settings
from pipeline.transform.copies import Copy
from pipeline.transform.customers.facts import customer_key
from pipeline.transform.decision import of_nobody
from pipeline.transform.mapping import map_webhook
from pipeline.transform.mapping.shaped import LEFT_OUT
from pipeline.transform.policy import Policy
from pipeline.transform.timestamps import iso, plausible_ms
from pipeline.transform.verdicts import (
    DeadLettered,
    Decided,
    Delivery,
    Dropped,
    MappedOperation,
    Mode,
    Operations,
    Verdict,
)
from pipeline.transform.webhook import LONG_ID, MAX_ID_CHARS, Webhook

VerdictWord = Literal["operations", "dropped", "dead_letter"]


@dataclass(frozen=True, slots=True)
class TrackRequest:
    """The one request that would carry the operations alone."""

    url: str
    bytes: int
    method: str = "POST"


@dataclass(frozen=True, slots=True)
class Explanation:
    """A webhook and what becomes of it.

    `event_time` is RFC 3339 in UTC with milliseconds, None when the body has no time; `webhook_type` is None when the
    body cannot be read; `class_` and `reason` are None for operations. `code` is a drop's, `class_` a dead letter's.
    `found_at` is the path at which the webhook was found in a wrapped copy, `place` the part of the input. `shaped` is
    the version of the rules that shaped the operations.
    """

    webhook_type: str | None
    webhook_id: str
    event_time: str | None
    kafka_key: str
    verdict: VerdictWord
    class_: str | None
    reason: str | None
    operations: tuple[MappedOperation, ...]
    warnings: tuple[str, ...]
    request: TrackRequest | None
    code: str | None = None
    found_at: str | None = None
    place: str = ""
    shaped: str | None = None

    def document(self) -> dict[str, Any]:
        """The JSON form; operations are the objects that would be sent."""
        return {
            "webhook_type": self.webhook_type,
            "webhook_id": self.webhook_id,
            "event_time": self.event_time,
            "kafka_key": self.kafka_key,
            "verdict": self.verdict,
            "class": self.class_,
            "reason": self.reason,
            "operations": [orjson.loads(operation.body) for operation in self.operations],
            "warnings": list(self.warnings),
            "request": (
                None
                if self.request is None
                else {"method": self.request.method, "url": self.request.url, "bytes": self.request.bytes}
            ),
            "code": self.code,
            "found_at": self.found_at,
            "rules": self.shaped,
        }


def explain(
    given: bytes | Copy,
    settings: Settings,
    *,
    webhook_id: str | None = None,
    mode: Mode = "live",
    now_ms: int | None = None,
) -> Explanation:
    """What the pipeline with `settings` does with one webhook.

    Args:
        given: the body as Dodo sent it, or as it was found in a copy.
        settings: the policy and the region.
        webhook_id: the `webhook-id` header; without one a hash of the body, as for a record without the header.
        mode: of the endpoint that it would come through.
        now_ms: for how late the event is, unix milliseconds; None: that is left out.

    Raises:
        SettingsError: the file of product names cannot be used.
    """
    copy = given if isinstance(given, Copy) else Copy(given)
    body = copy.body
    identifier = webhook_id or webhook_id_of((), body)
    envelope: Envelope | None
    verdict: Verdict
    policy = Policy.of(settings)
    try:
        envelope = parse(body)
    except UnreadableBodyError as error:
        envelope, verdict = None, DeadLettered("unreadable", str(error))
    else:
        verdict = _by_body(Webhook(envelope, Delivery(identifier, mode=mode)), policy, has_state=settings.state)
    return explained(envelope, identifier, verdict, settings, now_ms=now_ms, copy=copy)


def _by_body(webhook: Webhook, policy: Policy, *, has_state: bool) -> Verdict:
    """The verdict without the customer's state; what a worker that has one refuses before it asks is refused here."""
    if len(webhook.delivery.webhook_id) > MAX_ID_CHARS:
        return LONG_ID
    verdict = map_webhook(webhook, policy)
    if has_state and webhook.delivery.mode == "live" and customer_key(webhook.customer_id) is None:
        return of_nobody(verdict)
    return verdict


def explained(
    envelope: Envelope | None,
    webhook_id: str,
    verdict: Decided,
    settings: Settings,
    *,
    now_ms: int | None,
    copy: Copy,
    knows: bool = False,
) -> Explanation:
    """A verdict in words; `knows`: the customer's state decided as well."""
    word, class_, code, reason = _words(verdict)
    operations = verdict.operations if isinstance(verdict, Operations) else ()
    warnings = [*verdict.warnings] if isinstance(verdict, Operations) else []
    if isinstance(verdict, Operations):
        warnings = [one for one in (_silence(envelope, verdict, knows=knows), _late(verdict, now_ms)) if one] + warnings
    return Explanation(
        webhook_type=envelope.type if envelope is not None else None,
        webhook_id=webhook_id,
        event_time=_time(envelope, verdict),
        kafka_key=kafka_key(envelope, webhook_id).decode("utf-8", "replace"),
        verdict=word,
        class_=class_,
        reason=reason,
        operations=operations,
        warnings=tuple(warnings),
        request=(
            TrackRequest(_url(settings), len(join([operation.body for operation in operations])))
            if operations
            else None
        ),
        code=code,
        found_at=copy.path,
        place=copy.place,
        shaped=verdict.shaped if isinstance(verdict, Operations) else None,
    )


SILENCES: Final = {
    "payment.succeeded": "no payment_completed: nothing was charged",
    "subscription.renewed": "no subscription_renewed: this looks like the first charge",
    "subscription.active": "no subscription_started: it was activated before (a change of the plan sends this as well)",
    "subscription.updated": "no event: nothing changed that an event tells of",
}
"""Why a type that mostly has an event has none, in a marketer's words."""


def _silence(envelope: Envelope | None, verdict: Operations, *, knows: bool) -> str | None:
    if envelope is None or any(operation.kind == "event" for operation in verdict.operations):
        return None
    if LEFT_OUT in verdict.warnings:
        return None  # which says it
    if "suppressed-event" in verdict.notes:
        return "skipped, already sent" if knows else None
    return SILENCES.get(envelope.type)


def _late(verdict: Operations, now_ms: int | None) -> str | None:
    """How late an event is by now: what matters to who sends an old webhook again."""
    if now_ms is None or not any(operation.kind == "event" for operation in verdict.operations):
        return None
    late_s = (now_ms - verdict.event_time_ms) // 1000
    if late_s <= CAMPAIGN_WINDOW_S:
        return None
    return (
        f"sent now, the event would be {late_s // 86_400} days old: Customer.io starts no campaign for one of more "
        "than 72 hours"
    )


def _words(verdict: Decided) -> tuple[VerdictWord, str | None, str | None, str | None]:
    match verdict:
        case Dropped(reason=code, text=text):
            return "dropped", None, code, text
        case DeadLettered(class_=class_, reason=reason):
            return "dead_letter", class_, None, reason
        case _:
            return "operations", None, None, None


def _time(envelope: Envelope | None, verdict: Decided) -> str | None:
    if isinstance(verdict, Operations):
        return iso(verdict.event_time_ms)
    ms = plausible_ms(envelope.timestamp) if envelope is not None else None
    return None if ms is None else iso(ms)


def _url(settings: Settings) -> str:
    region = "us" if settings.customerio_region == "auto" else settings.customerio_region  # nobody is asked offline
    return (settings.customerio_url or HOSTS[region]).rstrip("/") + BATCH_PATH
