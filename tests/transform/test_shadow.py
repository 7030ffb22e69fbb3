"""A candidate beside what is live: its differences are told, and nothing else of it is to be seen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from pipeline.dodo import samples
from pipeline.errors import StateError
from pipeline.kafka.records import Headers, OutRecord, Record
from pipeline.preview.worlds import CommandRecord
from pipeline.settings import Settings
from pipeline.statestore.store import KeyValueStore, MemoryStore
from pipeline.transform.decision import Decision, decide, judge
from pipeline.transform.mapping import map_webhook
from pipeline.transform.policy import Policy
from pipeline.transform.shadow import MOST_BYTES, NoCandidate, Shadow, ShadowCompared
from pipeline.transform.shaping.types import Event, Known, Shaped, Shaper, Webhook
from pipeline.transform.webhook import Reading, read

NOW_MS = 1_790_000_000_000
MANY = 10_000
RULES = """rules:
- match: {event: payment_completed}
  rename: Paid
- match: {family: subscription}
  drop: both
- match: {family: refund}
  when: webhook.data.metadata.points > 5
  drop: event
- profile: {set: {source: dodo}}
"""


class Candidate:
    """A shaper made of a function."""

    version = "candidate"
    claims: frozenset[str] = frozenset()

    def __init__(self, shape: Callable[[Shaped], Shaped]) -> None:
        self._shape = shape

    def shape(self, webhook: Webhook, default: Shaped, know: Callable[[], Known]) -> Shaped:  # noqa: ARG002
        """See `Shaper`."""
        return self._shape(default)


def raising(error: BaseException) -> Candidate:
    """One that fails."""

    def shape(_: Shaped) -> Shaped:
        raise error

    return Candidate(shape)


def every_sample() -> list[Record]:
    """A webhook of each built-in sample, all of one customer, and what is none."""
    found: list[Record] = []
    bodies = [samples.load(name) for name in samples.names()]
    for body in (*bodies, b"[]", None, orjson.dumps({"type": "brand.new", "data": {}})):
        value = body
        if body is not None and isinstance(parsed := orjson.loads(body), dict) and "customer" in parsed["data"]:
            parsed["data"]["customer"]["customer_id"] = "cus_1"
            value = orjson.dumps(parsed)
        headers = (("webhook-id", b"msg_%d" % len(found)),)
        found.append(CommandRecord("hooks", 0, len(found), NOW_MS, b"cus_1", value, headers))
    return found


class Stage:
    """The live decision with a candidate beside it."""

    def __init__(self, shaper: Shaper, *, policy: Policy | None = None, put: Any = None) -> None:
        self.told: list[ShadowCompared] = []
        self.policy = policy or Policy()
        self.store: Any = MemoryStore()
        self.decide = Shadow(self.policy, self.hears, put).beside(self.live, shaper)

    def hears(self, event: object) -> None:
        """What observers are told."""
        assert isinstance(event, ShadowCompared)
        self.told.append(event)

    def live(self, reading: Reading, store: KeyValueStore | None) -> Decision:
        """As without a candidate."""
        return judge(reading, self.policy, map_webhook, store)

    def all(self, records: list[Record]) -> list[Decision]:
        """Each of them, in order."""
        return [self.decide(read(record), self.store) for record in records]

    @property
    def outcomes(self) -> set[str]:
        """What became of the candidate."""
        return {one.outcome for one in self.told}

    @property
    def kinds(self) -> set[str]:
        """What it would change."""
        return {kind for one in self.told for kind in one.kinds}


def alone(records: list[Record]) -> tuple[list[Decision], list[tuple[bytes, bytes | None]]]:
    """What is decided and remembered without a candidate."""
    store = MemoryStore()
    return [decide(record, Policy(), map_webhook, store) for record in records], store.changelog


def rules(tmp_path: Path, text: str = RULES) -> Shaper:
    """Rules as a candidate."""
    path = tmp_path / "rules.yaml"
    path.write_text(text)
    shaper = Policy.of(Settings.load(rules=path)).shaper
    assert shaper is not None
    return shaper


@pytest.mark.parametrize(
    ("candidate", "outcomes"),
    [
        (lambda _: Candidate(lambda default: default), {"same"}),
        (rules, {"same", "differs"}),
        (lambda _: raising(RuntimeError("jane@example.com")), {"same", "differs"}),
        (lambda _: raising(SystemExit(3)), {"same", "differs"}),
        (lambda _: raising(MemoryError()), {"same", "error"}),
        (lambda _: raising(StateError("no")), {"same", "error"}),
        (lambda _: Candidate(lambda one: Shaped(one.identify, (Event("x"),) * MANY)), {"same", "differs"}),
        (lambda _: Candidate(lambda one: one._replace(events=None)), {"same", "differs"}),  # type: ignore[arg-type]
        (lambda _: Candidate(lambda _: None), {"same", "differs"}),  # type: ignore[arg-type,return-value]
    ],
)
def test_what_is_live_does_not_notice(candidate: Callable[[Path], Shaper], outcomes: set[str], tmp_path: Path) -> None:
    """Every decision and every fact is byte for byte the same as without a candidate, whatever it does."""
    records = every_sample()
    stage = Stage(candidate(tmp_path))
    assert (stage.all(records), stage.store.changelog) == alone(records)
    assert stage.outcomes == outcomes
    assert len(stage.told) == len(records)


def test_a_candidate_that_raises_would_lose_the_webhook() -> None:
    """As it would when it were live: a dead letter, and so a difference."""
    stage = Stage(raising(RuntimeError("no")))
    stage.all(every_sample())
    assert stage.kinds == {"newly-fails"}


def test_events_without_end_would_fail(tmp_path: Path) -> None:
    """More than a webhook can tell is a failure; as many as it can are differences of one record."""
    stage = Stage(Candidate(lambda one: Shaped(one.identify, (Event("x"),) * MANY)))
    stage.all(every_sample()[:3])
    assert stage.kinds == {"newly-fails"}
    nineteen = "".join(f"  - {{name: More {number}, key: k{number}}}\n" for number in range(19))
    stage = Stage(rules(tmp_path, f"rules:\n- match: {{event: payment_completed}}\n  add:\n{nineteen}"))
    payment = next(one for one in every_sample() if b'"payment.succeeded"' in (one.value or b""))
    stage.all([payment])
    assert stage.told[0].kinds == ("event-added",) * 19


def test_the_state_s_trouble_is_the_live_flow_s() -> None:
    """A store that fails for the candidate alone is counted; one that fails for both ends the process as ever."""

    class Failing(MemoryStore):
        left = 1

        def get(self, key: bytes) -> bytes | None:
            if self.left:
                self.left -= 1
                raise StateError("the mirror is gone")
            return super().get(key)

        def derived(self, key: bytes) -> bytes | None:
            if self.left:
                self.left -= 1
                raise StateError("the mirror is gone")
            return super().derived(key)

    payment = next(one for one in every_sample() if b'"payment.succeeded"' in (one.value or b""))
    stage = Stage(Candidate(lambda default: default))
    stage.store = Failing()
    (decision,) = stage.all([payment])
    assert [decision] == alone([payment])[0]
    assert stage.outcomes == {"error"}
    stage.store.left = 2
    with pytest.raises(StateError):
        stage.all([replace(payment, offset=1)])  # type: ignore[type-var]


def test_nobody_who_listens_reaches_the_live_flow(tmp_path: Path) -> None:
    """An observer and a topic that fail are somebody else's trouble."""

    def fails(_: object) -> None:
        raise RuntimeError("full")

    records = every_sample()
    store = MemoryStore()
    live = Stage(NoCandidate()).live
    decided = Shadow(Policy(), fails, fails).beside(live, rules(tmp_path))
    assert ([decided(read(record), store) for record in records], store.changelog) == alone(records)


def test_differences_go_to_a_topic_without_personal_data(tmp_path: Path) -> None:
    """One record for each webhook that would change, under the webhook's own key."""
    put: list[OutRecord] = []
    stage = Stage(rules(tmp_path), put=put.append)
    stage.all(every_sample())
    assert len(put) == sum(one.outcome == "differs" for one in stage.told)
    documents = [orjson.loads(one.value or b"") for one in put]
    assert {change["kind"] for document in documents for change in document["changes"]} == stage.kinds
    renamed = [one for document in documents for one in document["changes"] if one["kind"] == "event-renamed"]
    assert {(one["event"], one["becomes"], one["after"]["name"]) for one in renamed} == {
        ("payment_completed", "Paid", "Paid")
    }
    text = b"".join(one.value or b"" for one in put)
    assert b"@example.com" not in text
    assert all(one.key == b"cus_1" for one in put)


def test_a_name_under_another_name_is_masked(tmp_path: Path) -> None:
    """Rules may put a person's data under any attribute: the words of the webhook are hidden wherever they stand."""
    put: list[OutRecord] = []
    text = "rules:\n- event:\n    set: {buyer: {path: data.customer.name}, hello: {cel: \"'Dear ' + event.name\"}}\n"
    payment = next(one for one in every_sample() if b'"payment.succeeded"' in (one.value or b""))
    body = orjson.loads(payment.value or b"")
    body["data"]["customer"]["name"] = "Jane Doe"
    stage = Stage(rules(tmp_path, text), put=put.append)
    stage.all([CommandRecord("hooks", 0, 0, NOW_MS, b"cus_1", orjson.dumps(body), (("webhook-id", b"m"),))])
    (record,) = put
    (change,) = orjson.loads(record.value or b"")["changes"]
    assert change["after"]["attributes"] == {"buyer": "[private]", "hello": "Dear [private]"}


def difference(told: tuple[Event, ...], key: bytes | None, body: bytes, headers: Headers) -> OutRecord:
    """The record about one webhook, of which a candidate would tell other events."""
    put: list[OutRecord] = []
    stage = Stage(Candidate(lambda one: Shaped(one.identify, told)), put=put.append)
    stage.all([CommandRecord("hooks", 0, 0, NOW_MS, key, body, headers)])
    (record,) = put
    return record


@pytest.mark.parametrize("events", [1, 15])
def test_nothing_about_a_difference_names_a_person(events: int) -> None:
    """Neither key nor headers nor texts do, also where the record is too large for the operations themselves."""
    long = {f"attribute_{number}": "x" * 900 for number in range(25)}
    told = tuple(Event(f"of Jane Doe {number}", long) for number in range(events))
    body = orjson.loads(samples.load("payment.succeeded"))
    body["data"]["customer"] |= {"name": "Jane Doe", "email": "jane@example.com"}
    headers = (("webhook-id", b"of jane@example.com"), ("dodo-type", b"payment.succeeded"))
    for key in (b"jane@example.com", b"Jane Doe", b"jane-doe"):
        one = difference(told, key, orjson.dumps(body), headers)
        assert b"jane" not in b" ".join([one.key or b"", one.value or b"", *dict(one.headers).values()]).lower()
        assert dict(one.headers)["dodo-type"] == b"payment.succeeded"


def test_a_difference_has_the_ids_that_name_no_person() -> None:
    """A customer's id of Dodo, a webhook's id under which one without a customer lies, and no key stay as they are."""
    body = samples.load("payment.succeeded")
    for key in (b"cus_1", b"msg_123456789012345", None):
        one = difference((Event("x"),), key, body, (("webhook-id", b"msg_123456789012345"),))
        assert (one.key, dict(one.headers)["webhook-id"]) == (key, b"msg_123456789012345")


def test_a_large_difference_goes_without_the_operations() -> None:
    """A topic takes a megabyte by default; what changed is still said."""
    put: list[OutRecord] = []
    long = {f"attribute_{number}": "x" * 900 for number in range(25)}
    stage = Stage(
        Candidate(lambda one: Shaped(one.identify, tuple(Event(f"e{n}", long) for n in range(15)))), put=put.append
    )
    payment = next(one for one in every_sample() if b'"payment.succeeded"' in (one.value or b""))
    stage.all([payment])
    (record,) = put
    assert len(record.value or b"") < MOST_BYTES
    document = orjson.loads(record.value or b"")
    assert [one["kind"] for one in document["changes"]].count("event-added") == 15
    assert {one["after"] for one in document["changes"]} == {None}


def test_without_a_candidate_nothing_is_tried() -> None:
    """One that could not be loaded costs nothing."""
    stage = Stage(NoCandidate())
    assert stage.decide == stage.live


def test_types_that_nobody_knows_are_one_label(tmp_path: Path) -> None:
    """Whatever a producer writes."""
    stage = Stage(rules(tmp_path))
    body = orjson.dumps({"type": "made.up", "data": {}})
    stage.all([CommandRecord("hooks", 0, 0, NOW_MS, None, body, (("webhook-id", b"m"),))])
    assert [one.type for one in stage.told] == ["other"]
