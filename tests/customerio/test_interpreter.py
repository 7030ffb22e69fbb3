"""Every answer has one meaning; data says which (`tests/data/interpreter`, one case a file)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.customerio.fields import names_field_of
from pipeline.customerio.interpreter import RAW_MAX_CHARACTERS, interpret
from pipeline.customerio.outcomes import (
    Accepted,
    Outcome,
    PartlyRefused,
    Refusal,
    RetryLater,
    Split,
    Unauthorized,
    WrongRegion,
)
from pipeline.reasons import MAX_REASON_BYTES, clean_reason
from pipeline.retry import RETRY_AFTER_MAX_S

CASES = sorted((Path(__file__).parents[1] / "data" / "interpreter").glob("*.json"))

BODIES = st.one_of(
    st.binary(max_size=60),
    st.recursive(
        st.none() | st.booleans() | st.integers(-2, 9) | st.text(max_size=4),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(st.sampled_from(["errors", "batch_index", "reason", "meta", "error"]), inner, max_size=4)
        ),
        max_leaves=15,
    ).map(orjson.dumps),
)


MEMBERS = st.sampled_from(["errors", "batch_index", "reason", "field", "message", "detail", "meta", "error", "status"])

DEPTHS = st.integers(0, 5) | st.integers(900, 1_100) | st.integers(0, 100_000)
"""Shallow, about as deep as one parser or encoder takes and another does not, and any."""

SHELLS = st.sampled_from(
    [
        "%s",
        '{"errors":%s}',
        '{"errors":[%s]}',
        '{"errors":[{"batch_index":0,"message":%s}]}',
        '{"errors":[{"batch_index":1,"reason":%s,"field":%s}]}',
        '{"errors":[{"batch_index":%s}]}',
        '{"errors":[{"detail":%s}]}',
        '{"meta":%s}',
        '{"meta":{"error":%s}}',
        '{"meta":{"errors":[%s]}}',
    ]
)
"""Answers of the forms that are known, of which a part may be anything."""

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(MEMBERS | st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
).map(json.dumps)  # with NaN, numbers beyond 64 bits and lone surrogates, as the Python of a proxy writes them


def nested(shell: str, core: str, depth: int, opening: str) -> bytes:
    """An answer with `core` in it, so many levels deep."""
    closing = "]" if opening == "[" else "}"
    return shell.replace("%s", opening * depth + core + closing * depth).encode()


def outcome_of(case: dict[str, Any]) -> Outcome:
    """The outcome that a case expects."""
    expected = dict(case["outcome"])
    match expected.pop("type"):
        case "Accepted":
            return Accepted()
        case "PartlyRefused":
            refused = {int(index): Refusal(**refusal) for index, refusal in expected["refused"].items()}
            return PartlyRefused(refused, expected["unmatched"])
        case "Split":
            return Split(Refusal(**expected["refusal"]), expected["from_api"])
        case "RetryLater":
            return RetryLater(**expected)
        case "Unauthorized":
            return Unauthorized(**expected)
        case "WrongRegion":
            return WrongRegion(**expected)
        case other:
            raise AssertionError(other)


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_golden(path: Path) -> None:
    """The answer in the file means what the file says."""
    case = json.loads(path.read_text(encoding="utf-8"))
    answer = case["answer"]
    body = orjson.dumps(answer["json"]) if "json" in answer else answer["body"].encode()
    assert interpret(answer["status"], answer["headers"], body, case["sent"], now_s=case.get("now_s")) == outcome_of(
        case
    )


def test_a_message_cut_inside_a_character_hides_nothing() -> None:
    """Bytes that are not UTF-8 in one message leave the other errors readable."""
    body = b'{"errors":[{"batch_index":0,"message":"caf\xc3"},{"batch_index":2,"reason":"invalid"}]}'
    outcome = interpret(207, {}, body, 3)
    assert isinstance(outcome, PartlyRefused)
    assert outcome.unmatched is None
    assert sorted(outcome.refused) == [0, 2]


@given(st.integers(0, 1000), st.dictionaries(st.sampled_from(["Retry-After", "LOCATION", "date"]), st.text()), BODIES)
@example(200, {}, b"[" * 100_000)
@example(207, {}, b'{"errors":' + b"[" * 5_000)
def test_never_raises_and_never_drops(status: int, headers: dict[str, str], body: bytes) -> None:
    """Whatever comes back: only a success is acceptance, and only a listed index of this batch is refused."""
    outcome = interpret(status, headers, body, 3, now_s=1_792_567_680)
    match outcome:
        case Accepted():
            assert 200 <= status < 300
        case PartlyRefused(refused, unmatched):
            assert 200 <= status < 300
            assert set(refused) <= {0, 1, 2}
            assert refused or unmatched
            assert len(unmatched or "") <= RAW_MAX_CHARACTERS
        case Split():
            assert status in {400, 413}
        case Unauthorized():
            assert status in {401, 403}
        case WrongRegion():
            assert status in {301, 302, 307, 308}
        case RetryLater(after_s=after_s):
            assert after_s is None or 0 <= after_s <= RETRY_AFTER_MAX_S


@given(
    st.integers(100, 599) | st.sampled_from([200, 204, 207, 301, 400, 401, 403, 413, 429, 503]),
    st.builds(nested, SHELLS, ANYTHING, DEPTHS, st.sampled_from(["[", '{"errors":', '{"message":'])),
)
def test_any_json_is_an_outcome(status: int, body: bytes) -> None:
    """However deep and of whatever form: an answer ends as an outcome, whose reasons can be written down."""
    match interpret(status, {}, body, 3, now_s=1_792_567_680):
        case PartlyRefused(refused):
            reasons = [refusal.text for refusal in refused.values()]
        case Split(refusal):
            reasons = [refusal.text]
        case RetryLater(reason=reason) | Unauthorized(reason=reason):
            reasons = [reason]
        case _:
            reasons = []
    for reason in reasons:
        assert reason
        assert clean_reason(reason).encode()


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 429, 503])
@pytest.mark.parametrize("form", ["v2", "v1", "field", "texts"])
def test_what_is_said_is_cleaned(status: int, form: str) -> None:
    """What goes on to the log and the probes is one short line that names nobody, whatever was answered."""
    said = "jane@example.com is\x1b[2J\r\nno 'Jane Doe'" + " and more" * 100_000
    errors = {
        "v2": {"errors": [{"reason": "invalid", "message": said}]},
        "v1": {"meta": {"error": said}},
        "field": {"errors": [{"reason": said, "field": said, "message": {"detail": said}}]},
        "texts": {"errors": [f"{number} {said}" for number in range(5)]},
    }[form]
    match interpret(status, {}, orjson.dumps(errors), 1):
        case Split(Refusal() as refusal):
            reason = refusal.text
        case RetryLater(reason=reason) | Unauthorized(reason=reason):
            pass
        case other:
            raise AssertionError(other)
    assert "[email]" in reason
    assert not any(private in reason for private in ("jane", "Jane", "\x1b", "\r", "\n"))
    assert len(reason.encode()) <= 3 * MAX_REASON_BYTES + 100


def test_words_are_compared_as_they_were_said() -> None:
    """Two refusals that look alike without what they quote are not of the same words, and a field is the one named."""

    def refusal(message: str) -> Refusal:
        field = "attributes.metadata_123456789012"
        errors = [{"reason": "invalid", "field": field, "message": message}]
        outcome = interpret(400, {}, orjson.dumps({"errors": errors}), 1)
        assert isinstance(outcome, Split)
        return outcome.refusal

    ann, bob = refusal("'Ann A' is not allowed"), refusal("'Bob B' is not allowed")
    assert ann.text == bob.text
    assert ann.words == refusal("'Ann A' is not allowed").words != bob.words
    assert names_field_of(ann, b'{"attributes":{"metadata_123456789012":1}}')


@pytest.mark.parametrize(
    ("location", "shown"),
    [
        ("https://gate.example.com/login/jane@example.com/x", "https://gate.example.com/login/[email]/x"),
        ("/login/jane%40example.com%0a/", "/login/[email]/"),
        ("https://gate.example.com/" + "x" * 100_000, None),
    ],
)
def test_where_a_redirect_leads_is_cleaned(location: str, shown: str | None) -> None:
    """A redirect is told by host and path, without a person in them and at a length that a line can have."""
    outcome = interpret(302, {"location": location}, b"", 1)
    assert isinstance(outcome, WrongRegion)
    assert shown is None or outcome.location == shown
    assert len(outcome.location or "") < 1_100


@pytest.mark.parametrize("status", [200, 207, 400, 401, 413, 500])
def test_as_deep_as_the_parser_takes(status: int) -> None:
    """At every depth about which one of parser and encoder may give up, the answer is an outcome."""
    for depth in range(900, 1_100):
        for opening in ("[", '{"a":'):
            body = nested('{"errors":[{"batch_index":0,"message":%s}]}', "1", depth, opening)
            assert interpret(status, {}, body, 3) is not None


@pytest.mark.parametrize(
    ("refusal", "text"),
    [
        (
            Refusal("invalid", "attributes.a", "is too long", 207),
            "reason: invalid, field: attributes.a, message: is too long",
        ),
        (Refusal("invalid", None, None, 207), "reason: invalid"),
        (Refusal(None, None, None, 207), "no reason given"),
    ],
)
def test_refusal_in_one_line(refusal: Refusal, text: str) -> None:
    """A refusal says all that Customer.io said, not only the short code."""
    assert refusal.text == text
