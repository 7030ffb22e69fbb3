"""One webhook's verdict as a document: what the pipeline would do with it, worked out offline.

The same function decides as in the worker, so the operations are the exact ones. Two things only a worker knows: the
customer's state (a warning says where it would decide), and when the webhook was delivered, which an identify's
`timestamp` tells; here the body's own time stands in.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlsplit, urlunsplit

import orjson

from pipeline.customerio.batch import join
from pipeline.customerio.client import BATCH_PATH
from pipeline.customerio.workspace import HOSTS
from pipeline.dodo.envelope import Envelope, kafka_key, parse, webhook_id_of
from pipeline.errors import UnreadableBodyError
from pipeline.settings import Settings
from pipeline.transform.mapping import map_webhook
from pipeline.transform.policy import Policy
from pipeline.transform.timestamps import iso, plausible_ms
from pipeline.transform.verdicts import DeadLettered, Delivery, Dropped, MappedOperation, Mode, Operations, Verdict

VerdictWord = Literal["operations", "dropped", "dead_letter"]


@dataclass(frozen=True, slots=True)
class Request:
    """The one request that would carry the operations alone."""

    url: str
    bytes: int
    method: str = "POST"


@dataclass(frozen=True, slots=True)
class Explanation:
    """A webhook and what becomes of it.

    `event_time` is RFC 3339 in UTC with milliseconds, None when the body tells no time; `webhook_type` is None when the
    body cannot be read; `class_` and `reason` are None for operations, `class_` also for a drop, whose reason starts
    with its code.
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
    request: Request | None

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
        }


def explain(body: bytes, settings: Settings, *, webhook_id: str | None = None, mode: Mode = "live") -> Explanation:
    """What the pipeline with `settings` does with the webhook `body`.

    Args:
        body: as Dodo sent it.
        settings: the policy and the region.
        webhook_id: the `webhook-id` header; without one a hash of the body, as for a record without the header.
        mode: of the endpoint that it would come through.

    Raises:
        SettingsError: the file of product names cannot be used.
    """
    identifier = webhook_id or webhook_id_of((), body)
    envelope: Envelope | None
    verdict: Verdict
    policy = Policy.of(settings)
    try:
        envelope = parse(body)
    except UnreadableBodyError as error:
        envelope, verdict = None, DeadLettered("unreadable", str(error))
    else:
        delivery = Delivery(identifier, mode=mode)
        verdict = map_webhook(envelope, delivery, policy)
    word, class_, reason = _words(verdict)
    operations = verdict.operations if isinstance(verdict, Operations) else ()
    return Explanation(
        webhook_type=envelope.type if envelope is not None else None,
        webhook_id=identifier,
        event_time=_time(envelope, verdict),
        kafka_key=kafka_key(envelope, identifier).decode("utf-8", "replace"),
        verdict=word,
        class_=class_,
        reason=reason,
        operations=operations,
        warnings=verdict.warnings if isinstance(verdict, Operations) else (),
        request=(
            Request(_url(settings), len(join([operation.body for operation in operations]))) if operations else None
        ),
    )


def _words(verdict: Verdict) -> tuple[VerdictWord, str | None, str | None]:
    match verdict:
        case Operations():
            return "operations", None, None
        case Dropped(reason=code, text=text):
            return "dropped", None, f"{code}: {text}"
        case DeadLettered(class_=class_, reason=reason):
            return "dead_letter", class_, reason


def _time(envelope: Envelope | None, verdict: Verdict) -> str | None:
    if isinstance(verdict, Operations):
        return iso(verdict.event_time_ms)
    ms = plausible_ms(envelope.timestamp) if envelope is not None else None
    return None if ms is None else iso(ms)


def _url(settings: Settings) -> str:
    region = "us" if settings.customerio_region == "auto" else settings.customerio_region  # nobody is asked offline
    base = settings.customerio_url or HOSTS[region]
    parts = urlsplit(base.rstrip("/") + BATCH_PATH)
    # Credentials inside a URL are for the request, not for the screen.
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
