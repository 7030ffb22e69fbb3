"""Reads from the customers' topic who was forgotten: for commands that send what was decided before."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from pipeline.kafka.cluster.topics import check_topics
from pipeline.settings import Settings
from pipeline.statestore.changelog import Piece
from pipeline.transform.customers.facts import checked, decode, forgotten_until_ms, merge_at, split
from pipeline.transform.customers.reading import Told, nobody, read_partitions
from pipeline.transform.customers.requests import DIGEST, PEOPLE, digest_of

KINDS = frozenset({"forgotten", "request"})
KEPT = frozenset({"shared", ""})
"""What lies under a forgotten customer's key without anything that came since; and keys of nobody."""


class Marks:
    """The marks of all customers who were forgotten and not revived since."""

    def __init__(self) -> None:
        self._facts: dict[bytes, bytes] = {}
        self._since: dict[str, int] | None = None
        self._back: set[bytes] = set()

    def hear(self, key: bytes | None, value: bytes | None) -> None:
        """Take in one record of the customers' topic, in the order of its partition."""
        customer, kind, _ = split(key) if key is not None else (b"", "", "")
        if key is None or kind not in KINDS:
            if self._facts and value is not None and kind not in KEPT and _mark(customer) in self._facts:
                self._back.add(customer)
            return
        self._since = None
        if kind == "forgotten" and value != self._facts.get(key):
            self._back.discard(customer)
        if value is None:
            self._facts.pop(key, None)
        elif checked(kind, value) is not None:
            known = self._facts.get(key)
            self._facts[key] = value if known is None else merge_at(key, known, value)

    @property
    def count(self) -> int:
        """How many customers they are of."""
        return sum(split(key)[1] == "forgotten" for key in self._facts)

    def cover(self, people: Iterable[str], at_ms: int | None) -> bool:
        """Whether one of these people was forgotten after `at_ms` (unix milliseconds; None: it may be any time).

        Or so shortly before that nobody knows which came first (`forgotten_until_ms`).

        People are ids, of Customer.io's or Dodo's, and e-mail addresses in any case.
        """
        if self._since is None:
            self._since = self._gathered()
        for who in people:
            for told in (who, who.strip().lower()):
                since_s = self._since.get(digest_of(told))
                if since_s is not None and (at_ms is None or at_ms < forgotten_until_ms(since_s)):
                    return True
        return False

    def came_back(self, people: Iterable[str]) -> bool:
        """Whether one of these people was forgotten, and something is known of them since; people as for `cover`."""
        back = {digest for customer in self._back for digest in self._digests(customer)}
        return any(digest_of(told) in back for who in people for told in (who, who.strip().lower()))

    def _gathered(self) -> dict[str, int]:
        """When whom: the customer's id and whoever the customer was, all as digests."""
        since: dict[str, int] = {}
        for key, value in self._facts.items():
            customer, kind, _ = split(key)
            fact = decode(kind, value)
            if kind != "forgotten" or fact is None:
                continue
            for who in self._digests(customer):
                since[who] = max(fact[0], since.get(who, 0))
        return since

    def _digests(self, customer: bytes) -> list[str]:
        """The customer's id and whoever the customer was."""
        request = decode("request", self._facts.get(customer + b"\0request\0"))
        people = [person[DIGEST] for person in request[PEOPLE]] if request is not None else []
        return [digest_of(customer.decode("utf-8", "replace")), *people]


def _mark(customer: bytes) -> bytes:
    return customer + b"\0forgotten\0"


async def read_marks(settings: Settings, told: Told = nobody) -> Marks:
    """The marks that lie in the customers' topic now.

    There is no way to them but through all facts; `told` is called with how many records of how many were passed.

    Raises:
        TopicError: the topic is missing, may not be read, or holds facts of a newer version.
        BrokerUnreachableError: no broker answered.
    """
    marks = Marks()
    await read_all(settings, marks.hear, told)
    return marks


async def read_all(settings: Settings, hear: Callable[[bytes | None, bytes | None], None], told: Told) -> None:
    """Let `hear` take in every record that lies in the customers' topic now.

    Raises:
        TopicError: the topic is missing, may not be read, or holds facts of a newer version.
        BrokerUnreachableError: no broker answered.
    """
    topic = settings.customers_topic
    count = (await check_topics(settings, [topic]))[topic]

    def hear_all(piece: Piece) -> None:
        for key, value in piece.changes:
            hear(key, value)

    await read_partitions(settings, range(count), hear_all, told)
