"""Reads from the customers' topic who a customer is and was at Customer.io, and which customers are one person.

For whoever looks for what is theirs, or has a request from somebody whom only Customer.io's id or address names.
"""

from __future__ import annotations

from pipeline.kafka.cluster.topics import check_topics
from pipeline.kafka.producer.partitioner import partition_of
from pipeline.settings import Settings
from pipeline.statestore.changelog import Piece
from pipeline.transform.customers import identity
from pipeline.transform.customers.facts import Fact, checked, prefix, split
from pipeline.transform.customers.marks import read_all
from pipeline.transform.customers.reading import Told, nobody, read_partitions
from pipeline.transform.customers.requests import DIGEST, PEOPLE, digest_of


class People:
    """The ids and addresses under which operations about a customer went out, whichever of them is still known.

    Only those that address a person: two customers may share an address that names nobody.
    """

    def __init__(self, customer_id: str) -> None:
        self._prefix = prefix(customer_id.encode())
        self._digests = {digest_of(customer_id)}

    def hear(self, key: bytes | None, value: bytes | None) -> None:
        """Take in one record of the customers' topic; what the customer was once counts as well."""
        if key is None or value is None or not key.startswith(self._prefix):
            return
        kind = split(key)[1]
        fact = checked(kind, value)
        if fact is None:
            return
        match kind:
            case "identity":
                person, email = fact[identity.PERSON], fact[identity.EMAIL]
                by_address = person is not None and person[3] == "email"
                self._add(fact[identity.TO], person and person[2], by_address and email and email[2])
            case "shared":
                self._add(fact[1])
            case "request":
                self._digests |= {person[DIGEST] for person in fact[PEOPLE]}

    def _add(self, *names: object) -> None:
        for name in names:
            if isinstance(name, str):
                self._digests |= {digest_of(name), digest_of(name.strip().lower())}

    def have(self, names: frozenset[str]) -> bool:
        """Whether one of these ids and addresses is the customer's."""
        return any(
            digest in self._digests for name in names for digest in (digest_of(name), digest_of(name.strip().lower()))
        )


class Customers:
    """The customers who are one person at Customer.io now, and those who were until they were forgotten.

    Args:
        person: the person's id there, or the address by which the person goes there.
    """

    def __init__(self, person: str) -> None:
        self._id = person
        self._address = person.strip().lower()
        self._digests = {digest_of(person), digest_of(self._address if "@" in person else person)}
        self._keys: dict[bytes, str] = {}

    def hear(self, key: bytes | None, value: bytes | None) -> None:
        """Take in one record of the customers' topic, in the order of its partition: the last one of a fact holds."""
        if key is None:
            return
        kind = split(key)[1]
        fact = checked(kind, value) if value is not None else None
        if fact is not None and self._is_theirs(kind, fact):
            self._keys[key] = kind
        else:
            self._keys.pop(key, None)

    def _is_theirs(self, kind: str, fact: Fact) -> bool:
        match kind:
            case "identity":
                person, email = fact[identity.PERSON], fact[identity.EMAIL]
                if fact[identity.TO] is not None and self._is(fact[identity.TO]):
                    return True
                if person is None:
                    return False
                by_address = person[3] == "email" and email is not None
                return self._is(email[2] if by_address else person[2])
            case "shared":
                return fact[1] is not None and self._is(fact[1])
            case "request":
                return any(person[DIGEST] in self._digests for person in fact[PEOPLE])
            case _:
                return False

    def _is(self, name: str) -> bool:
        return name == self._id or ("@" in name and name.strip().lower() == self._address)

    @property
    def now(self) -> list[str]:
        """Dodo's ids of those who are the person."""
        return sorted({_customer(key) for key, kind in self._keys.items() if kind != "request"})

    @property
    def forgotten(self) -> list[str]:
        """Dodo's ids of those who were, when they were forgotten, and of whom nothing has come since."""
        return sorted({_customer(key) for key, kind in self._keys.items() if kind == "request"} - set(self.now))


def _customer(key: bytes) -> str:
    return split(key)[0].decode("utf-8", "replace")


async def read_customers(settings: Settings, person: str, told: Told = nobody) -> Customers:
    """Which customers a person is, by all facts that there are.

    Raises:
        TopicError: the topic is missing, may not be read, or holds facts of a newer version.
        BrokerUnreachableError: no broker answered.
    """
    customers = Customers(person)
    await read_all(settings, customers.hear, told)
    return customers


async def read_people(settings: Settings, customer_id: str, told: Told = nobody) -> People:
    """Who a customer is, by the facts of the partition that the customer's id has.

    Raises:
        TopicError: the topic is missing, may not be read, or holds facts of a newer version.
        BrokerUnreachableError: no broker answered.
    """
    topic = settings.customers_topic
    partition = partition_of(customer_id.encode(), (await check_topics(settings, [topic]))[topic])
    people = People(customer_id)

    def hear(piece: Piece) -> None:
        for key, value in piece.changes:
            people.hear(key, value)

    await read_partitions(settings, [partition], hear, told)
    return people
