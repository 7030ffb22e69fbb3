"""A fault script is checked where it comes in, and each step is taken by the request that it names."""

from __future__ import annotations

from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import pytest

from pipeline.customerio.sandbox.faults import EXAMPLE, FaultScript, load_steps, parse_steps, retry_after_header
from pipeline.errors import InputError

OPERATIONS = [
    {"type": "person", "identifiers": {"id": "cus_1"}, "action": "event", "name": "a"},
    {"type": "person", "identifiers": {"email": "jane@example.com"}, "action": "identify"},
    {"type": "person", "identifiers": {"id": "cus_1"}, "action": "event", "name": "b"},
    "not an operation",
]


def taken_by(steps: Any, count: int = 6, path: str = "/api/v2/batch") -> list[int]:
    """Numbers of the requests that take a step."""
    script = FaultScript(parse_steps(steps))
    return [n for n in range(1, count + 1) if script.take(path=path, number=n, operations=OPERATIONS)]


@pytest.mark.parametrize(
    ("step", "numbers"),
    [
        ({"status": 503}, [1]),
        ({"status": 503, "times": 3}, [1, 2, 3]),
        ({"status": 503, "times": "always"}, [1, 2, 3, 4, 5, 6]),
        ({"status": 503, "match": {"request": 4}}, [4]),
        ({"status": 503, "match": {"request": [2, 5]}, "times": 2}, [2, 5]),
        ({"status": 503, "match": {"every": 3}, "times": "always"}, [3, 6]),
        ({"status": 503, "match": {"path": "/api/v2/entity"}}, []),
        ({"status": 503, "match": {"path": "/api/v2/batch"}}, [1]),
        ({"status": 503, "match": {"person": "cus_9"}}, []),
        ({"status": 503, "match": {"person": "cus_1"}}, [1]),
        ({"status": 503, "match": {"item": 4}}, []),
        ({"status": 503, "match": {"item": 3}}, [1]),
    ],
)
def test_matches(step: dict[str, Any], numbers: list[int]) -> None:
    """Every condition that is given must hold, and a step is used up after its times."""
    assert taken_by(step) == numbers


@pytest.mark.parametrize(
    ("match", "refused"),
    [
        ({"person": "cus_1"}, {0, 2}),
        ({"person": "jane@example.com"}, {1}),
        ({"name": "b"}, {2}),
        ({"person": "cus_1", "name": "a"}, {0}),
        ({"item": 3}, {3}),
    ],
)
def test_matched_items_are_refused(match: dict[str, Any], refused: set[int]) -> None:
    """`matched` means the items that the match named."""
    script = FaultScript(parse_steps([{"match": match, "refuse_items": "matched"}]))
    fault = script.take(path="/api/v2/batch", number=1, operations=OPERATIONS)
    assert fault is not None
    assert fault.refused_items(4) == refused


def test_refused_indexes_stay_inside_the_request() -> None:
    """An index that the request does not have refuses nothing."""
    script = FaultScript(parse_steps([{"refuse_items": [0, 9]}]))
    fault = script.take(path="/api/v2/batch", number=1, operations=OPERATIONS)
    assert fault is not None
    assert fault.refused_items(4) == {0}


def test_steps_are_taken_in_order() -> None:
    """The first step that matches is taken; a used-up one makes room for the next; the script shows it."""
    script = FaultScript(parse_steps([{"status": 500}, {"status": 503}]))
    statuses = []
    while fault := script.take(path="/api/v2/batch", number=1, operations=[]):
        statuses.append(fault.step.status)
    assert statuses == [500, 503]
    assert not script
    assert script.as_json() == [
        {"status": 500, "taken": 1, "spent": True},
        {"status": 503, "taken": 1, "spent": True},
    ]


@pytest.mark.parametrize(
    ("script", "fault"),
    [
        ([{"drp": "after"}], r"step 1: drp: "),
        ([{"status": 500}, {"status": 99}], r"step 2: status: "),
        ([{}], r"step 1: has no effect"),
        ([{"times": 3}], r"step 1: has no effect"),
        ([{"refuse_items": "matched"}], r"step 1: refuse_items: matched needs"),
        ([{"drop": "during"}], r"step 1: drop: "),
        ([{"status": 500, "times": 0}], r"step 1: times"),
        ([{"delay_s": -1}], r"step 1: delay_s: "),
        ([{"status": 500, "match": {"request": 0}}], r"step 1: match"),
        (7, r"the script: "),
        (["status"], r"step 1: "),
    ],
)
def test_mistakes_are_named(script: Any, fault: str) -> None:
    """A script that cannot mean anything is refused by step and key."""
    with pytest.raises(InputError, match=fault):
        parse_steps(script)


def test_the_documented_example_is_a_script(tmp_path: Path) -> None:
    """The example of the module's documentation loads, from YAML."""
    path = tmp_path / "faults.yaml"
    path.write_text(EXAMPLE, encoding="utf-8")
    assert [step.status for step in load_steps(path)] == [503, None, None, 413, None]


@pytest.mark.parametrize(
    "text", ['{"steps": [{"status": 500}]}', '{"status": 500}', '[{"status": 500}]', "- status: 500"]
)
def test_files_may_be_json_or_yaml(tmp_path: Path, text: str) -> None:
    """A list, one step, or an object of steps, in either language."""
    path = tmp_path / "faults"
    path.write_text(text, encoding="utf-8")
    assert [step.status for step in load_steps(path)] == [500]


@pytest.mark.parametrize(
    "content",
    [None, b"\xff", b"- status: [", b"- status: 1", b"- status: 2026-02-30", b"- !!bool maybe", b"[" * 20_000],
)
def test_files_that_cannot_be_used_are_named(tmp_path: Path, content: bytes | None) -> None:
    """A missing, unreadable or wrong file is named in one error."""
    path = tmp_path / "faults.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"faults\.yaml"):
        load_steps(path)


def test_an_empty_file_is_an_empty_script(tmp_path: Path) -> None:
    """Nothing in, no faults."""
    path = tmp_path / "faults.yaml"
    path.write_text("")
    assert load_steps(path) == ()


@pytest.mark.parametrize(
    ("value", "header"), [(2, "2"), (0.5, "0.5"), ("soon", "soon"), ("date+x", "date+x"), ("7", "7")]
)
def test_retry_after_in_seconds_or_as_given(value: float | str, header: str) -> None:
    """Numbers are seconds; text goes as it is, so that garbage can be played too."""
    assert retry_after_header(value) == header


def test_retry_after_as_a_date() -> None:
    """`date+N` is an HTTP date N seconds ahead."""
    header = retry_after_header("date+20", now_s=1_792_567_680.0)
    assert header.endswith(" GMT")
    assert parsedate_to_datetime(header).timestamp() == 1_792_567_700.0
