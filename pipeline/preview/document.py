"""A preview as a JSON document, for `--json` and for screens; personal data is masked."""

from __future__ import annotations

from typing import Any

from pipeline.deadletters.masking import mask_body, mask_id, mask_text, private_words
from pipeline.preview.preview import Previewed, Wanted
from pipeline.preview.report import Counted, Key, Sample
from pipeline.transform.policy import Policy
from pipeline.transform.shaping.differences import KINDS


def document(found: Previewed, wanted: Wanted, current: Policy, candidate: Policy) -> dict[str, Any]:
    """The whole document. It counts webhooks, except in `kinds` and `changes`, where a webhook may count repeatedly."""
    report, past = found.report, found.past
    return {
        "current": _version(current),
        "candidate": _version(candidate),
        "wanted": {"last": wanted.last, "since_ms": wanted.since_ms, "types": sorted(wanted.types)},
        "state": {
            "known": past is not None,
            "customers": 0 if past is None else past.known,
            "facts": 0 if past is None else len(past.values),
            "complete": past is None or past.complete,
            "begun_anew": found.begun_anew,
        },
        "records": {
            "read": report.read,
            "compared": report.compared,
            "echoes": report.echoes,
            "unreadable": report.unreadable,
            "changed": report.changed,
        },
        "types": {
            name: {
                "webhooks": one.webhooks,
                "changed": one.changed,
                "kinds": {kind: one.kinds[kind] for kind in KINDS if one.kinds[kind]},
            }
            for name, one in sorted(report.types.items())
        },
        "changes": [_change(key, report.changes[key]) for key in sorted(report.changes, key=_order)],
        "uncounted": report.uncounted,
    }


def _version(policy: Policy) -> str | None:
    return None if policy.shaper is None else policy.shaper.version


def _order(key: Key) -> tuple[int, str, str, str, str]:
    reason = key.failure.reason if key.failure is not None else ""
    return (KINDS.index(key.kind), key.type, key.event or "", key.becomes or "", reason)


def _change(key: Key, counted: Counted) -> dict[str, Any]:
    failure = key.failure
    private = {word for one in counted.samples for word in one.private}

    def text(one: str | None) -> str | None:
        return None if one is None else mask_text(one, private)

    return {
        "kind": key.kind,
        "type": key.type,
        "event": text(key.event),
        "becomes": text(key.becomes),
        "count": counted.count,
        "attributes": {mask_text(name): dict(fates) for name, fates in sorted(counted.attributes.items())},
        "failure": None
        if failure is None
        else {"class": failure.class_, "reason": text(failure.reason), "field": text(failure.field)},
        "samples": [_sample(one) for one in counted.samples],
    }


def _sample(sample: Sample) -> dict[str, Any]:
    change = sample.change
    words = {*sample.private, *private_words(change.before), *private_words(change.after)}
    return {
        "place": sample.place,
        "webhook_id": mask_id(sample.webhook_id, words),
        "before": mask_body(change.before, words),
        "after": mask_body(change.after, words),
    }
