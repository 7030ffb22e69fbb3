"""Several webhooks in order, with a customer's state in memory: what each sends, and the profiles at the end.

The worker's own decision over one partition, and the strict stand-in of Customer.io behind it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import orjson

from pipeline.customerio.sandbox.config import SandboxConfig
from pipeline.customerio.sandbox.workspace import Arrival, Workspace
from pipeline.dodo.envelope import Envelope, parse, webhook_id_of
from pipeline.errors import UnreadableBodyError
from pipeline.kafka.records import DODO_MODE, WEBHOOK_ID, WEBHOOK_TIMESTAMP, Headers
from pipeline.settings import Settings
from pipeline.statestore.store import MemoryStore
from pipeline.transform.copies import Copy
from pipeline.transform.decision import decide
from pipeline.transform.explain import Explanation, explained
from pipeline.transform.mapping import map_webhook
from pipeline.transform.policy import Policy
from pipeline.transform.timestamps import plausible_ms
from pipeline.transform.verdicts import DeadLettered, Decided, Mode, Operations

TRAVEL_S: Final = 2
"""How long after its event a webhook without a delivery time is taken to have come."""


@dataclass(frozen=True, slots=True)
class _Record:
    value: bytes | None
    headers: Headers
    timestamp: int
    offset: int
    key: bytes | None = None
    topic: str = "webhooks"
    partition: int = 0


class Walk:
    """One partition of the transform with a state in memory, and the workspace that takes what it sends.

    Args:
        policy: the operator's.
        mode: of the endpoint that the webhooks would come through.
        store: what is known of customers at the beginning; None: nothing.

    Attributes:
        told: parts of keys of the people whose owners got a customer's share.
    """

    def __init__(self, policy: Policy, *, mode: Mode, store: MemoryStore | None = None) -> None:
        self.told: set[bytes] = set()
        self._policy = policy
        self._mode = mode
        self._store = MemoryStore() if store is None else store
        self._workspace = Workspace(SandboxConfig())
        self._delivered_s = 0
        self._offset = 0

    def decide(self, copy: Copy, webhook_id: str) -> Decided:
        """The verdict about the next webhook in the order of arrival, the state known."""
        try:
            envelope = parse(copy.body)
        except UnreadableBodyError as error:
            return DeadLettered("unreadable", str(error))
        return self._taken(envelope, webhook_id, copy)

    def _taken(self, envelope: Envelope, identifier: str, copy: Copy) -> Decided:
        happened_ms = plausible_ms(envelope.timestamp)
        told_s = copy.attempt_at_s or (None if happened_ms is None else happened_ms // 1000 + TRAVEL_S)
        self._delivered_s = told_s if told_s is not None else self._delivered_s
        headers = [
            (WEBHOOK_ID, identifier.encode("utf-8", "replace")),
            (DODO_MODE, self._mode.encode()),
        ]
        if self._delivered_s:
            headers.append((WEBHOOK_TIMESTAMP, b"%d" % self._delivered_s))
        return self._decide(copy.body, headers)

    def _decide(self, body: bytes | None, headers: Headers) -> Decided:
        """The decision, and all that follows from it."""
        record = _Record(body, headers, self._delivered_s * 1000, self._offset)
        decision = decide(record, self._policy, map_webhook, self._store)
        if isinstance(decision.verdict, Operations):
            for index, operation in enumerate(decision.verdict.operations):
                arrival = Arrival(self._delivered_s * 1000, self._offset)
                self._workspace.apply(orjson.loads(operation.body), arrival, index)
        self._offset += 1
        for command in decision.commands:
            if command.key is not None:
                self.told.add(command.key)
            self._decide(command.value, command.headers)
        return decision.verdict

    def people(self) -> list[dict[str, Any]]:
        """The profiles at the end."""
        return [
            {"person": person.id or str(person.email), "email": person.email, "attributes": person.attributes}
            for person in self._workspace.people
        ]


class Journey(Walk):
    """The same, explained.

    Args:
        settings: the policy and the region.
        mode: of the endpoint that the webhooks would come through.
        now_ms: for how late an event is, unix milliseconds.
        store: what is known of customers at the beginning; None: nothing.
    """

    def __init__(self, settings: Settings, *, mode: Mode, now_ms: int, store: MemoryStore | None = None) -> None:
        super().__init__(Policy.of(settings), mode=mode, store=store)
        self._settings = settings
        self._now_ms = now_ms

    def feed(self, copy: Copy, webhook_id: str | None = None) -> Explanation:
        """The next webhook in the order of arrival: what becomes of it, the state known."""
        identifier = webhook_id or copy.webhook_id or webhook_id_of((), copy.body)
        try:
            envelope = parse(copy.body)
        except UnreadableBodyError as error:
            verdict: Decided = DeadLettered("unreadable", str(error))
            return explained(None, identifier, verdict, self._settings, now_ms=self._now_ms, copy=copy)
        verdict = self._taken(envelope, identifier, copy)
        return explained(envelope, identifier, verdict, self._settings, now_ms=self._now_ms, copy=copy, knows=True)
