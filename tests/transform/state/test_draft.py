"""A bug on one record is that record's dead letter, and nothing of it is left behind."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.dodo import samples
from pipeline.errors import OperationError, StateError
from pipeline.transform import decision
from pipeline.transform.decision import decide
from pipeline.transform.introductions import Introductions
from pipeline.transform.mapping import map_webhook
from pipeline.transform.policy import Policy
from pipeline.transform.resolver import Found
from pipeline.transform.state import commands
from pipeline.transform.state.book import Book
from pipeline.transform.state.draft import Draft
from pipeline.transform.state.sheet import Sheet
from pipeline.transform.state.shelf import MemoryShelf
from pipeline.transform.verdicts import DeadLettered, Operations
from pipeline.transform.webhook import read
from tests.transform.state.consumed import Consumed

POLICY = Policy()
HEADERS = (("webhook-id", b"msg_1"), ("webhook-timestamp", b"1792660380"))
RECORD = Consumed(samples.load("payment.succeeded"), HEADERS)

KEYS = [b"%b\0event\0%d" % (customer, number) for customer in (b"a", b"b") for number in range(3)]


@given(
    st.dictionaries(st.sampled_from(KEYS), st.binary(min_size=1, max_size=1)),
    st.lists(st.tuples(st.sampled_from(KEYS), st.none() | st.binary(min_size=1, max_size=1))),
)
def test_it_is_a_shelf(stored: dict[bytes, bytes], puts: list[tuple[bytes, bytes | None]]) -> None:
    """What is put is read back at once; the shelf below has it after the commit, and not before."""
    shelf, model = MemoryShelf(7), dict(stored)
    for name, one in stored.items():
        shelf.put(name, one)
    draft = Draft(shelf)
    for name, value in puts:
        draft.put(name, value)
        model.pop(name, None)
        if value is not None:
            model[name] = value
        assert [draft.get(one) for one in KEYS] == [model.get(one) for one in KEYS]
        for prefix in (b"a\0", b"b\0event\0"):
            assert list(draft.scan(prefix)) == sorted((k, v) for k, v in model.items() if k.startswith(prefix))
    assert {name: shelf.get(name) for name in stored} == stored
    draft.keep(b"a", b"sheet")
    assert (draft.sheet(b"a"), shelf.sheet(b"a"), draft.began_at_ms) == (b"sheet", None, 7)
    draft.commit()
    assert shelf.sheet(b"a") == b"sheet"
    assert [shelf.get(one) for one in KEYS] == [model.get(one) for one in KEYS]


def broken(*_: Any, **__: Any) -> Any:
    """A bug."""
    raise KeyError("nobody thought of that")


@pytest.mark.parametrize("where", ["settle", "encode", "shares"])
def test_a_bug_leaves_nothing(monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    """Wherever it strikes, also behind the first fact: a dead letter, an untouched state, and a replay that is told."""
    shelf = MemoryShelf()
    policy = Policy(person_id_chain=("email",))
    with monkeypatch.context() as patch:
        match where:
            case "settle":
                patch.setattr(Book, "settle", broken)
            case "encode":
                patch.setattr(Sheet, "encode", broken)
            case "shares":
                patch.setattr(decision, "shares_of", broken)
        verdict = decide(RECORD, policy, map_webhook, shelf).verdict
    assert isinstance(verdict, DeadLettered)
    assert (verdict.class_, "KeyError" in verdict.reason, "a bug to report" in verdict.reason) == (
        "unmappable",
        True,
        True,
    )
    assert (shelf.changelog, shelf.sheets) == ([], {})
    again = decide(RECORD, policy, map_webhook, shelf).verdict
    assert isinstance(again, Operations)
    assert [one.name for one in again.operations if one.kind == "event"] == ["payment_completed"]


def test_a_bug_on_a_command_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same for what `forget` would have begun."""
    shelf = MemoryShelf()
    decide(RECORD, POLICY, map_webhook, shelf)
    before = list(shelf.changelog)
    customer_id = orjson.loads(RECORD.value or b"")["data"]["customer"]["customer_id"]
    value = orjson.dumps({"command": "forget", "customer_id": customer_id, "customerio": None, "at": 1_792_660_000})
    record = Consumed(value, (("dodo-command", b"forget"), ("webhook-id", b"forget_1")))
    with monkeypatch.context() as patch:
        patch.setattr(commands, "encode", broken)
        assert isinstance(decide(record, POLICY, map_webhook, shelf).verdict, DeadLettered)
    assert shelf.changelog == before


def test_what_a_person_handed_in_is_a_dead_letter_and_the_state_s_trouble_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An operation that cannot be is this webhook's fault; a broken mirror ends the process, which no record mends."""
    for error, dead in (
        (OperationError("odd", field="x"), True),
        (StateError("broken"), False),
        (MemoryError(), False),
    ):

        def fails(*_: Any, error: Exception = error) -> None:
            raise error

        with monkeypatch.context() as patch:
            patch.setattr(Book, "settle", fails)
            if dead:
                assert isinstance(decide(RECORD, POLICY, map_webhook, MemoryShelf()).verdict, DeadLettered)
            else:
                with pytest.raises(type(error)):
                    decide(RECORD, POLICY, map_webhook, MemoryShelf())


def test_a_bug_on_what_the_api_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The webhook goes on by what is known, and nothing of the answer is kept."""
    shelf, introductions = MemoryShelf(), Introductions(None, POLICY)  # type: ignore[arg-type]  # nobody is asked
    body = Consumed(orjson.dumps({"type": "license_key.created", "data": {"customer_id": "cus_1"}}), HEADERS)
    with monkeypatch.context() as patch:
        patch.setattr(Book, "__init__", broken)
        assert introductions.stranger(read(body), shelf) is None
        introductions.introduce(Found({"customer_id": "cus_1", "email": "a@example.com"}, 1), "cus_1", shelf)
    assert (shelf.changelog, shelf.sheets) == ([], {})
    assert introductions.stranger(read(body), shelf) == "cus_1"
