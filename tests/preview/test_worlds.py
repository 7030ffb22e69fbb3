"""Two workers side by side, each with a state of its own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson

from pipeline.dodo import samples
from pipeline.kafka.cluster.topic_reader import Span
from pipeline.kafka.records import Headers, Record
from pipeline.preview.report import MOST_ATTRIBUTES, MOST_CHANGES, OTHER, SAMPLES, Report
from pipeline.preview.worlds import Both, CommandRecord, Facts, is_echo
from pipeline.settings import Settings
from pipeline.transform.decision import Decision
from pipeline.transform.policy import Policy
from pipeline.transform.shaping.differences import Change, differences
from pipeline.transform.verdicts import DeadLettered, Operations

NOW_MS = 1_790_000_000_000
RENAMED = "rules:\n- match: {event: payment_completed}\n  rename: Order Paid\n"
DROPPING = "rules:\n- drop: profile\n"


def payment(number: int, *, customer: str = "cus_1", headers: Headers = (), offset: int | None = None) -> Record:
    """A payment as it lies in the topic."""
    body = orjson.loads(samples.load("payment.succeeded"))
    body["data"] |= {"payment_id": f"pay_{number}"}
    body["data"]["customer"]["customer_id"] = customer
    place = number if offset is None else offset
    given = (("webhook-id", b"msg_%d" % number), *headers)
    return CommandRecord("hooks", 0, place, NOW_MS + number, customer.encode(), orjson.dumps(body), given)


def policy(tmp_path: Path, text: str, **settings: Any) -> Policy:
    """A policy with these rules."""
    path = tmp_path / "rules.yaml"
    path.write_text(text)
    return Policy.of(Settings.load(rules=path, **settings))


def test_what_was_told_in_the_span_is_not_told_again(tmp_path: Path) -> None:
    """As a worker with a state does: the second record of a payment changes nothing, in either world."""
    both = Both(Policy(), policy(tmp_path, RENAMED), state=Facts)
    found = [differences(*both.decide(payment(7, offset=place))[1:]) for place in (0, 1)]
    assert [[one.kind for one in changes] for changes in found] == [["event-renamed"], []]


def test_without_a_state_each_record_is_for_itself(tmp_path: Path) -> None:
    """As a worker without one does."""
    both = Both(Policy(), policy(tmp_path, RENAMED), state=None)
    found = [differences(*both.decide(payment(7, offset=place))[1:]) for place in (0, 1)]
    assert [[one.kind for one in changes] for changes in found] == [["event-renamed"], ["event-renamed"]]
    assert both.current.store is None


def test_the_worlds_do_not_share_what_they_told(tmp_path: Path) -> None:
    """A profile that the candidate never sent is new to its state as often as it comes; the live one sent it."""
    both = Both(Policy(), policy(tmp_path, DROPPING), state=Facts)
    _, ours, theirs = both.decide(payment(1))
    assert [one.kind for one in differences(ours, theirs)] == ["profile-removed"]


def test_memory_is_bounded(tmp_path: Path) -> None:
    """Both forget at the same record, so that no difference comes of it, and that is counted."""
    both = Both(Policy(), policy(tmp_path, RENAMED), state=Facts, most_facts=20)
    kinds: set[str] = set()
    for number in range(100):
        _, ours, theirs = both.decide(payment(number, customer=f"cus_{number}"))
        kinds |= {one.kind for one in differences(ours, theirs)}
        assert both.current.store is not None
        assert len(both.current.store) < 30
        assert both.current.store.changelog == []
    assert kinds == {"event-renamed"}
    assert both.begun_anew > 1


def test_customers_who_are_one_person_are_compared_through_its_owner(tmp_path: Path) -> None:
    """Their profile is told by a command that follows from the webhook: its difference is the webhook's."""
    settings = {"person_id": "email"}
    current = Policy.of(Settings.load(**settings))
    rules = "rules:\n- profile: {set: {source: dodo}}\n"
    both = Both(current, policy(tmp_path, rules, **settings), state=Facts)
    assert current.pools
    decision, ours, theirs = both.decide(payment(1))
    assert decision.commands
    assert any(isinstance(one, Operations) and one.operations for one in ours[1:])
    found = {(one.kind, *one.attributes) for one in differences(ours, theirs)}
    assert ("profile-attributes", "source") in found


def test_what_the_worker_wrote_because_of_what_is_read_is_passed_over() -> None:
    """A copy in its customer's partition, if the original is in the span; and sums, which both worlds conclude."""
    spans = {0: Span(5, 10), 1: Span(0, 3)}
    for origin, expected in (
        (b"hooks/0/5", True), (b"hooks/0/10", False), (b"hooks/0/4", False), (b"hooks/7/5", False),
        (b"others/0/5", False), (b"hooks/0", False), (b"hooks/x/y", False), (b"hooks/0/\xb2", False), (b"", False),
        (b"hooks/0/" + b"9" * 5000, False), (b"hooks/" + b"9" * 5000 + b"/5", False),
    ):  # fmt: skip
        assert is_echo(payment(1, headers=(("repartitioned-from", origin),)), spans) is expected, origin
    assert is_echo(payment(1, headers=(("dodo-command", b"share"),)), spans)
    assert not is_echo(payment(1, headers=(("dodo-command", b"forget"),)), spans)


def decided(number: int, type_: str | None = "payment.succeeded") -> Decision:
    """A decision about a webhook."""
    return Decision(Operations(b"", (), 0), type_, f"msg_{number}")


def test_examples_and_names_are_bounded() -> None:
    """Code can make a name for each webhook; everything is counted all the same."""
    report = Report()
    for number in range(MOST_CHANGES + 40):
        changes = [Change("event-added", becomes=f"name {number}"), Change("event-removed", event="paid")]
        report.add(payment(number), decided(number), changes)
    assert len(report.changes) == MOST_CHANGES
    assert report.uncounted == 41
    assert report.changed == MOST_CHANGES + 40
    assert report.types["payment.succeeded"].kinds["event-added"] == MOST_CHANGES + 40
    (removed,) = [one for key, one in report.changes.items() if key.kind == "event-removed"]
    assert removed.count == MOST_CHANGES + 40
    assert [one.webhook_id for one in removed.samples] == [f"msg_{number}" for number in range(SAMPLES)]


def test_attributes_without_end_are_counted_together() -> None:
    """As names are."""
    report = Report()
    for number in range(MOST_ATTRIBUTES + 40):
        report.add(payment(number), decided(number), [Change("event-attributes", "a", "a", {f"a{number}": "added"})])
    ((_, counted),) = report.changes.items()
    assert len(counted.attributes) == MOST_ATTRIBUTES + 1
    assert counted.attributes[OTHER]["added"] == 40


def test_types_that_nobody_knows_are_one() -> None:
    """A producer that is not ours may write any."""
    report = Report()
    for number in range(50):
        report.add(payment(number), decided(number, f"made.up{number}"), [])
    report.add(payment(1), replace(decided(1, None), verdict=DeadLettered("unreadable", "no")), [])
    assert {name: one.webhooks for name, one in report.types.items()} == {OTHER: 50, "unreadable": 1}
    assert report.unreadable == 1
