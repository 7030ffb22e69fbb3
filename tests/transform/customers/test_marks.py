"""Who was forgotten, as the customers' topic tells."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import BrokerUnreachableError
from pipeline.kafka.local.broker import free_port
from pipeline.settings import Settings
from pipeline.transform.customers.facts import CLOCKS_S
from pipeline.transform.customers.marks import Marks, read_marks
from pipeline.transform.customers.requests import digest_of

CUSTOMERS = st.sampled_from(["cus_1", "cus_2"])
PEOPLE = st.sampled_from(["u_1", "u_2", "a@example.com"])
STEPS = st.one_of(
    st.tuples(st.just("forget"), CUSTOMERS, PEOPLE, st.integers(1, 9)),
    st.tuples(st.just("revive"), CUSTOMERS, PEOPLE, st.just(0)),
)


@given(st.lists(STEPS, max_size=8), PEOPLE | CUSTOMERS, st.none() | st.integers(0, 20_000))
def test_who_is_covered(steps: list[tuple[str, str, str, int]], who: str, at_ms: int | None) -> None:
    """By a plain list of requests: the latest of each customer, of whoever the customer ever was, until revived."""
    marks = Marks()
    requests: dict[str, list[tuple[str, int]]] = {}
    for what, customer, person, at_s in steps:
        prefix = customer.encode()
        if what == "revive":
            requests.pop(customer, None)
            marks.hear(prefix + b"\0forgotten\0", None)
            marks.hear(prefix + b"\0request\0", None)
            continue
        requests.setdefault(customer, []).append((person, at_s))
        seen = [at_s, [], [[at_s, "metadata.user", None, digest_of(person)]]]
        marks.hear(prefix + b"\0forgotten\0", orjson.dumps([at_s]))
        marks.hear(prefix + b"\0request\0", orjson.dumps(seen))
    latest = [
        max(at_s for _, at_s in told)
        for customer, told in requests.items()
        if who == customer or who in {person for person, _ in told}
    ]
    until_ms = (max(latest, default=0) + CLOCKS_S) * 1000
    assert marks.cover([who], at_ms) == bool(latest and (at_ms is None or at_ms < until_ms))
    assert marks.count == len(requests)


def test_who_came_back() -> None:
    """Somebody of whom there is a fact behind the mark: by the customer's id, and by whoever they were."""
    marks = Marks()
    seen = [5, [], [[5, "email", None, digest_of("a@example.com")]]]

    def back() -> list[bool]:
        return [marks.came_back([who]) for who in ("cus_1", "A@Example.com", "cus_2")]

    for key, value in (
        (b"cus_1\0payment\0p", b"[1]"),
        (b"cus_1\0request\0", orjson.dumps(seen)),
        (b"cus_1\0shared\0", b"[1,null,null]"),
        (b"cus_1\0forgotten\0", b"[5]"),
        (b"cus_1\0payment\0p", None),
        (b"cus_2\0payment\0p", b"[1]"),
    ):
        marks.hear(key, value)
    assert back() == [False, False, False]
    marks.hear(b"cus_1\0payment\0p2", b"[1]")
    marks.hear(b"cus_1\0forgotten\0", b"[5]")  # once more, as a worker that restored it may write
    assert back() == [True, True, False]
    marks.hear(b"cus_1\0forgotten\0", b"[6]")
    marks.hear(b"cus_1\0payment\0p2", None)
    assert back() == [False, False, False]


def test_what_is_no_mark() -> None:
    """Other facts, ill-typed ones and keys of nobody are passed over; addresses are known in any case."""
    marks = Marks()
    wrong: list[tuple[bytes | None, Any]] = [
        (None, b"[5]"), (b"x", b"[5]"), (b"cus_1\0forgotten\0", b'["x"]'), (b"cus_1\0payment\0p", b"[5]"),
    ]  # fmt: skip
    for key, value in wrong:
        marks.hear(key, value)
    assert not marks.cover(["cus_1"], None)
    marks.hear(b"cus_1\0forgotten\0", b"[5]")
    marks.hear(b"cus_1\0request\0", orjson.dumps([5, [], [[5, "email", None, digest_of("a@example.com")]]]))
    assert marks.cover(["A@Example.com "], 6_999)
    assert not marks.cover(["A@Example.com "], 7_000)


@pytest.mark.kafka
async def test_all_partitions_are_read(
    chain_settings: Callable[..., Awaitable[Settings]], put: Callable[..., Awaitable[None]]
) -> None:
    """Marks are found among other facts in every partition, and how far the reading is told to its end."""
    settings = await chain_settings(partitions=3)
    for number in range(3):
        customer = b"cus_%d" % number
        await put(
            settings, number, [(customer + b"\0forgotten\0", b"[7]"), (b"cus_9\0activation\0s%d" % number, b'[1,"m"]')]
        )
    told: list[tuple[int, int]] = []
    marks = await read_marks(settings, lambda done, total: told.append((done, total)))
    assert marks.count == 3
    assert all(marks.cover([f"cus_{number}"], 6_999) for number in range(3))
    assert told[-1] == (6, 6)


async def test_no_broker() -> None:
    """An error of ours, that names the brokers."""
    with pytest.raises(BrokerUnreachableError):
        await read_marks(Settings.load(kafka_bootstrap_servers=f"127.0.0.1:{free_port()}"))
