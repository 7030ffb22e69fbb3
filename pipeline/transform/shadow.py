"""Runs a candidate beside the live shaper, on every record: only what it would change is reported.

The candidate decides first, over the customer's facts as they are before the record, and what it would remember is
dropped; then the record is decided as ever. So a difference is what would be sent if the candidate were live from this
record on. Nothing that it does reaches the live flow: whatever it raises is counted, and its reports may be lost.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import orjson

from pipeline import logs
from pipeline.deadletters.masking import mask_body, mask_id, mask_key, mask_text, mask_type, private_in
from pipeline.dodo.catalogue import TYPES
from pipeline.kafka.records import DODO_TYPE, SOURCE, WEBHOOK_ID, OutRecord, Record, source_of
from pipeline.observers import tell
from pipeline.statestore.draft import Draft
from pipeline.statestore.store import KeyValueStore
from pipeline.transform.decision import Decision, judge
from pipeline.transform.failures import where
from pipeline.transform.mapping import map_webhook
from pipeline.transform.policy import Policy
from pipeline.transform.shaping.differences import Change, ChangeKind, differences
from pipeline.transform.shaping.types import Known, Shaped, Shaper, Webhook
from pipeline.transform.verdicts import Decided
from pipeline.transform.webhook import Reading
from pipeline.watch.metrics import OTHER

MOST_BYTES: Final = 200_000
"""Of a record about differences; a larger one goes without the operations themselves."""

MOST_PLACES: Final = 20
"""Of failures that are logged, each once; all are counted."""

Decide = Callable[[Reading, KeyValueStore | None], Decision]

log = logs.get(__name__)


@dataclass(frozen=True, slots=True)
class ShadowCompared:
    """The candidate was tried on one record; `type` is Dodo's, or `other`, and `took_s` all that it cost."""

    outcome: Literal["same", "differs", "error"]
    type: str
    kinds: tuple[ChangeKind, ...]
    took_s: float


class NoCandidate:
    """Stands where a candidate could not be loaded: nothing is tried until one can."""

    version: Final = "none"
    claims: Final[frozenset[str]] = frozenset()

    def shape(self, webhook: Webhook, default: Shaped, know: Callable[[], Known]) -> Shaped:  # noqa: ARG002
        """See `Shaper`."""
        return default


class Shadow:
    """Tries the candidate on records.

    Args:
        policy: of the process; its shaper is what is live.
        observe: called with each record.
        put: takes records about differences; None: they are counted alone.
    """

    def __init__(
        self, policy: Policy, observe: Callable[[object], None], put: Callable[[OutRecord], None] | None = None
    ) -> None:
        self._policy, self._observe, self._put = policy, observe, put
        self._errors: set[str] = set()

    def beside(self, live: Decide, shaper: Shaper) -> Decide:
        """`live`, with the candidate `shaper` tried before it: the same decisions, whatever the candidate does."""
        if isinstance(shaper, NoCandidate):
            return live
        policy = replace(self._policy, shaper=shaper)

        def decided(reading: Reading, store: KeyValueStore | None) -> Decision:
            began = time.perf_counter()
            would = self._tried(reading, policy, store)
            took_s = time.perf_counter() - began
            decision = live(reading, store)
            if reading.record is not None:
                self._compare(reading.record, decision, would, shaper.version, took_s)
            return decision

        return decided

    def _tried(self, reading: Reading, policy: Policy, store: KeyValueStore | None) -> Decided | None:
        """What the candidate makes of a record; None when it fails as no candidate may."""
        try:
            return judge(reading, policy, map_webhook, None if store is None else Draft(store)).verdict
        except (Exception, SystemExit) as error:  # noqa: BLE001 - the live flow must not learn of it
            self._failed(error, policy.shaper)
            return None

    def _compare(self, record: Record, decision: Decision, would: Decided | None, version: str, took_s: float) -> None:
        type_ = decision.type if decision.type in TYPES else OTHER
        assert type_ is not None  # noqa: S101 - for the type checker: None is no type
        if would is None:
            tell((self._observe,), ShadowCompared("error", type_, (), took_s))
            return
        began = time.perf_counter()
        try:
            changes = differences([decision.verdict], [would])
            if changes and self._put is not None:
                self._put(_record(record, decision, changes, version))
        except Exception as error:  # noqa: BLE001 - see above
            self._failed(error, None)
            tell((self._observe,), ShadowCompared("error", type_, (), took_s))
            return
        kinds = tuple(one.kind for one in changes)
        took_s += time.perf_counter() - began
        tell((self._observe,), ShadowCompared("differs" if kinds else "same", type_, kinds, took_s))

    def _failed(self, error: BaseException, shaper: Shaper | None) -> None:
        place = where(error)
        if place in self._errors or len(self._errors) >= MOST_PLACES:
            return
        self._errors.add(place)
        version = shaper.version if shaper is not None else None
        log.warning("The candidate beside the live rules failed; what is live goes on", place=place, version=version)


def _record(record: Record, decision: Decision, changes: list[Change], version: str) -> OutRecord:
    """The differences of one webhook, without personal data: no request to be forgotten reaches this topic."""
    private = private_in(record.value)
    webhook_id = mask_id(decision.webhook_id, private)
    type_ = None if decision.type is None else mask_type(decision.type, private)
    told = [_change(one, private) for one in changes]
    document = {
        "webhook_id": webhook_id,
        "type": type_,
        "source": source_of(record),
        "candidate": version,
        "changes": told,
    }
    value = orjson.dumps(document)
    if len(value) > MOST_BYTES:
        value = orjson.dumps({**document, "changes": [{**one, "before": None, "after": None} for one in told]})
    headers = (
        (WEBHOOK_ID, webhook_id.encode("utf-8", "replace")),
        (DODO_TYPE, (type_ or "").encode("utf-8", "replace")),
        (SOURCE, source_of(record).encode()),
    )
    return OutRecord(None if record.key is None else mask_key(record.key).encode(), value, headers)


def _change(change: Change, private: tuple[str, ...]) -> dict[str, Any]:
    """One difference."""
    failure = change.failure

    def text(one: str | None) -> str | None:
        return None if one is None else mask_text(one, private)

    return {
        "kind": change.kind,
        "event": text(change.event),
        "becomes": text(change.becomes),
        "attributes": {mask_text(name): fate for name, fate in change.attributes.items()},
        "failure": None
        if failure is None
        else {"class": failure.class_, "reason": text(failure.reason), "field": text(failure.field)},
        "before": mask_body(_shown(change.before, change), private),
        "after": mask_body(_shown(change.after, change), private),
    }


def _shown(body: Mapping[str, Any] | None, change: Change) -> Mapping[str, Any] | None:
    """An operation with the attributes that the change is about; whole where it goes out on one side alone."""
    if body is None or change.before is None or change.after is None:
        return body
    attributes = {name: value for name, value in body.get("attributes", {}).items() if name in change.attributes}
    return {**body, "attributes": attributes}
