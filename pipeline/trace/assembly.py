"""Puts the stories of webhooks together: pure functions of the records and offsets that were read."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, Final

import orjson
from aiokafka.structs import TopicPartition

from pipeline.deadletters.masking import private_in
from pipeline.dodo.envelope import webhook_id_of
from pipeline.kafka.producer.partitioner import partition_of
from pipeline.kafka.records import (
    DLQ_REPLAYS,
    DODO_MODE,
    DODO_TYPE,
    EVENT_TIME,
    OP_ID,
    RECEIVED_AT,
    REPARTITIONED_FROM,
    SOURCE,
    WEBHOOK_ID,
    Record,
    int_header,
    source_of,
    text_header,
    time_ms,
)
from pipeline.settings import Settings
from pipeline.trace.advice import advice
from pipeline.trace.again import Again, Decider, events_of, is_shaped, said
from pipeline.trace.search import Found, Letters, customer_of
from pipeline.trace.story import BEYOND, LETTER, WORST, Fate, Operation, Step, Story
from pipeline.transform.verdicts import Decided, Dropped, Operations, SentOn

EXPLAIN: Final = "dodo-cio explain with the same settings shows which"
SHAPED_AWAY: Final = "your own rules or code take everything away that it would send"


def stories(found: Found, settings: Settings, decider: Decider) -> list[Story]:
    """The wanted webhooks, the oldest first."""
    by_id: dict[str, list[Record]] = {}
    for record in found.webhooks:
        by_id.setdefault(webhook_id_of(record.headers, record.value or b""), []).append(record)
    for letters in found.letters:
        if letters.letter.webhook_id is not None:
            by_id.setdefault(letters.letter.webhook_id, [])
    told = [_Assembly(webhook_id, records, found, settings, decider).story() for webhook_id, records in by_id.items()]
    return sorted(told, key=lambda one: min(map(_moment, one.steps), default=math.inf))


def _moment(step: Step) -> float:
    """The sort key of a step: steps without a time are last."""
    return math.inf if step.at_ms is None else step.at_ms


class _Assembly:
    def __init__(
        self, webhook_id: str, records: list[Record], found: Found, settings: Settings, decider: Decider
    ) -> None:
        self._webhook_id = webhook_id
        self._records = sorted(records, key=lambda one: (one.timestamp, one.partition, one.offset))
        self._found = found
        self._settings = settings
        self._decider = decider
        self._operations = [one for one in found.operations if text_header(one.headers, WEBHOOK_ID) == webhook_id]
        self._letters = [one for one in found.letters if one.letter.webhook_id == webhook_id]
        self._steps: list[Step] = []
        self._shaped = False

    def story(self) -> Story:
        fates: list[tuple[Fate, str]] = []
        for record in self._records:
            self._received(record)
            if (concluded := self._transformed(record)) is not None:
                fates.append(concluded)
        operations = self._sent()
        fates += [(one.fate, one.why or "") for one in operations]
        fates += self._given_up(operations)
        fate, reason = _worst(fates)
        first = self._records[0] if self._records else None
        headers = (first or self._letters[0].record).headers
        letter = self._letters[0].letter if self._letters else None
        story = Story(
            webhook_id=self._webhook_id,
            type=text_header(headers, DODO_TYPE) or (letter.type if letter else None),
            mode=text_header(headers, DODO_MODE),
            customer=customer_of(first) if first is not None else (letter.customer_id if letter is not None else None),
            fate=fate,
            reason=reason,
            steps=sorted(self._steps, key=_moment),
            operations=operations,
            private=private_in(*(one.value for one in self._read())),
        )
        missing = self._missing(operations)
        shaped = [f"your own rules or code leave a part of it out: {EXPLAIN}"] if self._shaped else []
        story.advice = [*shaped, *advice(story, settings=self._settings, missing=missing)]
        return story

    def _read(self) -> list[Record]:
        return [*self._records, *self._operations, *(one.record for one in self._letters)]

    def _received(self, record: Record) -> None:
        origin = text_header(record.headers, REPARTITIONED_FROM)
        replays = int_header(record.headers, DLQ_REPLAYS)
        if origin is not None:
            self._steps.append(
                Step(
                    time_ms(record),
                    "transform",
                    f"sent on to its customer's partition, from {origin}",
                    source_of(record),
                )
            )
        elif replays:
            self._steps.append(Step(time_ms(record), "dlq", f"put back, replay {replays}", source_of(record)))
        else:
            received_ms = int_header(record.headers, RECEIVED_AT) or time_ms(record)
            self._steps.append(Step(received_ms, "ingest", "received and stored", source_of(record)))

    def _transformed(self, record: Record) -> tuple[Fate, str] | None:
        """What the transform did with one record of the webhook; None where operations or letters show it."""
        place = source_of(record)
        if any(one.letter.source == place and one.letter.stage != "sink" for one in self._letters):
            return None
        caused = [one for one in self._operations if text_header(one.headers, SOURCE) == place]
        if caused:
            names = ", ".join(_named(*_kind(_body(one))) for one in caused)
            self._steps.append(Step(time_ms(caused[0]), "transform", f"mapped to {names}", source_of(caused[0])))
            return None
        passed = self._passed(record)
        if passed is None:
            return "unknown", "how far the transform is cannot be seen"
        if not passed:
            behind = f"its partition's {_count(self._behind(record), 'record')} before it are not done"
            return "waits", f"the transform has not come to {place}: {behind}"
        again = self._decider.decide(record, self._before(record))
        return self._concluded(record, again)

    def _concluded(self, record: Record, again: Again | None) -> tuple[Fate, str] | None:
        """Why a record that the transform has passed caused nothing; None where other records show it."""
        if again is None:
            return self._gone(record, None) or ("nothing-new", "the transform passed it and sent nothing on")
        match again.alone:
            case Dropped():
                self._steps.append(Step(None, "transform", f"dropped, {said(again.alone)}"))
                return "dropped", said(again.alone)
        if is_shaped(again.alone) and not said(again.alone):
            self._steps.append(Step(None, "transform", SHAPED_AWAY))
            return "dropped", SHAPED_AWAY
        match again.after:
            case SentOn():
                return None  # its copy has the fate
            case Dropped():
                self._steps.append(Step(None, "transform", f"dropped, {said(again.after)}"))
                return "nothing-new", said(again.after)
        if any(text_header(one.headers, REPARTITIONED_FROM) == source_of(record) for one in self._records):
            return None
        if (gone := self._gone(record, again.after)) is not None:
            return gone
        expected = f" (alone it would be {said(again.alone)})" if isinstance(again.alone, Operations) else ""
        self._steps.append(Step(None, "transform", "nothing to tell"))
        return "nothing-new", f"the customer's state knew all that it tells{expected}"

    def _gone(self, record: Record, expected: Decided | None) -> tuple[Fate, str] | None:
        """The fate of a record whose operations may have been deleted; `expected` is the verdict, if there is any."""
        gone = self._found.gone_before
        where: Iterable[int] = gone
        if gone and isinstance(expected, Operations):
            keys = {expected.person_key if one.key is None else one.key for one in expected.operations}
            where = [partition_of(key, len(gone)) for key in keys]
        if all(record.timestamp >= gone[number] for number in where):
            return None
        return "unknown", f"{BEYOND}{self._settings.operations_topic} reaches: its retention has taken that"

    def _missing(self, operations: Sequence[Operation]) -> list[str]:
        """Events that the mapping alone would send and that were not, for webhooks that sent something."""
        if not operations or not self._records:
            return []
        record = self._records[-1]
        again = self._decider.decide(record, self._before(record))
        self._shaped = again is not None and is_shaped(again.alone)
        sent = {text_header(one.headers, OP_ID) for one in self._operations}
        if again is None or not isinstance(again.alone, Operations):
            return []
        return sorted(
            one.name for one in again.alone.operations if one.name is not None and one.op_id not in sent
            and one.name not in events_of(again.after)
        )  # fmt: skip

    def _sent(self) -> list[Operation]:
        """Each operation once: of several records (replays, redeliveries) the one that is furthest along."""
        best: dict[str, Operation] = {}
        for record in sorted(self._operations, key=lambda one: (one.timestamp, one.partition, one.offset)):
            body = _body(record)
            kind, name = _kind(body)
            written_ms, event_ms = time_ms(record), int_header(record.headers, EVENT_TIME)
            late_s = None if written_ms is None or event_ms is None else max(written_ms - event_ms, 0) / 1000
            fate, why = self._fate(record)
            place = source_of(record)
            op_id = text_header(record.headers, OP_ID) or place
            one = Operation(op_id, kind, name, place, written_ms, fate, late_s, body, why)
            known = best.get(op_id)
            if known is None or known.fate != "accepted":
                best[op_id] = one
        return list(best.values())

    def _fate(self, record: Record) -> tuple[Fate, str | None]:
        place = source_of(record)
        letter = next((one for one in self._letters if one.letter.stage == "sink" and one.letter.source == place), None)
        if letter is not None:
            return "dead-letter", _why(letter)
        passed = self._passed(record)
        if passed is None:
            return "unknown", "how far the sink is cannot be seen"
        if passed:
            return "accepted", None
        before = _count(self._behind(record), "operation")
        return "waits", f"the sink has not come to {place}: {before} before it in its partition are not done"

    def _given_up(self, operations: Sequence[Operation]) -> Iterable[tuple[Fate, str]]:
        went_on = {one.op_id for one in operations if one.fate != "dead-letter"}
        there = {source_of(one) for one in self._operations}
        for one in self._letters:
            letter = one.letter
            self._steps.append(
                Step(letter.at_ms, letter.stage or "?", f"gave up: {_why(one)}", f"{LETTER}{letter.place}")
            )
            if letter.source in there or one.put_back:
                continue  # the operation itself has the fate, or the record that was put back
            if letter.op_id not in went_on:
                yield "dead-letter", _why(one)

    def _before(self, record: Record) -> list[Record]:
        customer = customer_of(record)
        before = self._found.before.get(customer, []) if customer is not None else []
        return [one for one in before if one.partition == record.partition]

    def _passed(self, record: Record) -> bool | None:
        """Whether the group has committed past a record, or done it ahead; None where its offset is unknown."""
        tp = TopicPartition(record.topic, record.partition)
        if tp not in self._found.committed:
            return None
        if record.offset < (self._found.committed[tp] or 0):
            return True
        ahead = self._found.ahead.get(tp)
        return ahead is not None and ahead.since(record.offset) & 1 == 1

    def _behind(self, record: Record) -> int:
        committed = self._found.committed.get(TopicPartition(record.topic, record.partition))
        return record.offset - (committed or 0)


def _worst(fates: Sequence[tuple[Fate, str]]) -> tuple[Fate, str]:
    for fate in WORST:
        reasons = [reason for one, reason in fates if one == fate]
        if reasons:
            return fate, next(filter(None, reasons), "Customer.io took every operation" if fate == "accepted" else "")
    return "unknown", "nothing of it was found beyond its reception"


def _why(letters: Letters) -> str:
    letter = letters.letter
    status = f" (status {letter.status})" if letter.status is not None else ""
    back = f"; put back {_count(letters.put_back, 'time')}" if letters.put_back else ""
    return f"{letter.class_ or 'no class'}: {letter.reason or 'no reason'}{status}{back}"


def _body(record: Record) -> dict[str, Any]:
    try:
        found = orjson.loads(record.value or b"")
    except orjson.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}


def _kind(body: dict[str, Any]) -> tuple[str, str | None]:
    action, name = body.get("action"), body.get("name")
    return (action if isinstance(action, str) else "?"), (name if isinstance(name, str) and action == "event" else None)


def _named(kind: str, name: str | None) -> str:
    return kind if name is None else f"{kind} {name}"


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
