"""Who one customer is and was at Customer.io, read from the customers' topic: for whoever looks for what is theirs."""

from __future__ import annotations

from collections.abc import Callable

from aiokafka.errors import KafkaError

from pipeline.errors import BrokerUnreachableError
from pipeline.kafka.murmur2 import partition_of
from pipeline.kafka.reach import unreachable
from pipeline.kafka.topics import check_topics
from pipeline.settings import Settings
from pipeline.transform.state import identity
from pipeline.transform.state.changelog import Changelog
from pipeline.transform.state.facts import checked, prefix, split
from pipeline.transform.state.requests import DIGEST, PEOPLE, digest_of


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


async def read_people(
    settings: Settings, customer_id: str, told: Callable[[int, int], None] = lambda _done, _total: None
) -> People:
    """Who a customer is, by the facts of the partition that the customer's id has.

    Raises:
        TopicError: the topic is missing, may not be read, or holds facts of a newer version.
        BrokerUnreachableError: no broker answered.
    """
    topic = settings.customers_topic
    partition = partition_of(customer_id.encode(), (await check_topics(settings, [topic]))[topic])
    people = People(customer_id)
    try:
        async with Changelog.open(settings, frozenset({partition})) as changelog:
            spans = await changelog.bounds()
            span = spans[partition]
            async for piece in changelog.read(spans):
                for key, value in piece.changes:
                    people.hear(key, value)
                told(min(piece.next_offset, span.stop) - span.start, len(span))
    except BrokerUnreachableError:
        raise
    except (KafkaError, OSError) as error:
        raise unreachable(settings, [str(error) or type(error).__name__]) from None
    return people
