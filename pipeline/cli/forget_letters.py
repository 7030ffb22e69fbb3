"""Finds, reports and removes the dead letters of a customer, for `dodo-cio forget`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pipeline.cli.progress import reading, share
from pipeline.deadletters.erasure import Lying, Whose, bury, find, is_compacted, rewrite, spans_of
from pipeline.deadletters.reader import open_letter_reader
from pipeline.deadletters.times import written
from pipeline.errors import TopicError
from pipeline.kafka.producer.producer import BatchProducer
from pipeline.settings import Settings

SHOWN = 10
"""Places that a sentence names; the JSON has all of them."""


@dataclass(slots=True)
class CustomerLetters:
    """The customer's dead letters; `unknown`: why they could not be read."""

    lying: Lying | None = None
    unknown: str | None = None
    removed: int = 0
    whose: Whose | None = None

    def sentence(self, settings: Settings) -> str:
        """For people."""
        topic = settings.dead_letters_topic
        if self.lying is None:
            return f"Which dead letters of theirs lie in {topic} is not known: {self.unknown}"
        if not self.lying.count:
            return f"No dead letter of theirs lies in {topic}"
        if self.removed:
            return f"{_letters(self.removed)} of theirs removed from {topic}"
        places = ", ".join(map(str, self.lying.places[:SHOWN])) + (", …" if self.lying.count > SHOWN else "")
        return (
            f"{_letters(self.lying.count)} of theirs in {topic} until its retention deletes them, the last one of "
            f"{written(self.lying.newest_ms)} (--dead-letters removes them now): {places}"
        )

    def document(self) -> dict[str, Any]:
        """For programs."""
        lying = self.lying
        return {
            "count": None if lying is None else lying.count,
            "places": [] if lying is None else list(map(str, lying.places)),
            "removed": self.removed,
            "unknown": self.unknown,
        }


async def look(settings: Settings, customer_id: str, *, must: bool) -> CustomerLetters:
    """Look for the customer's dead letters; without `must`, missing rights leave the result unknown.

    Raises:
        TopicError: a topic cannot be read, with `must`.
        BrokerUnreachableError: no broker answered.
    """
    try:
        whose = await _whose(settings, customer_id)
        return CustomerLetters(await _find(settings, whose), whose=whose)
    except TopicError as error:
        if must:
            raise
        return CustomerLetters(unknown=str(error))


async def _whose(settings: Settings, customer_id: str) -> Whose:
    from pipeline.transform.customers.people import People, read_people

    people = People(customer_id)
    if settings.state:
        with share("Reading who the customer is") as told:
            people = await read_people(settings, customer_id, told)
    return Whose(customer_id, people.have)


async def _find(settings: Settings, whose: Whose) -> Lying:
    async with open_letter_reader(settings) as reader:
        with reading(sum(span.length for span in reader.spans.values())) as told:
            return await find(reader, whose, told)


async def remove(settings: Settings, letters: CustomerLetters) -> None:
    """Remove the customer's letters, which are looked for once more.

    Somebody may have been asked meanwhile: letters have come since, and another request may have written a partition
    anew, in which all places are others.

    Raises:
        PipelineError: it failed; the same command may be repeated.
    """
    if letters.whose is None:
        return
    async with open_letter_reader(settings) as reader:
        with reading(sum(span.length for span in reader.spans.values())) as told:
            lying = letters.lying = await find(reader, letters.whose, told)
        if not lying.count:
            return
        compacted = await is_compacted(settings)
        producer = BatchProducer(settings)
        await producer.start()
        try:
            await producer.prime(settings.dead_letters_topic)
            if compacted:
                await bury(settings, producer, lying)
            else:
                with reading(sum(span.length for span in spans_of(reader, lying).values())) as told:
                    await rewrite(settings, reader, producer, lying, told)
        finally:
            await producer.stop()
    letters.removed = lying.count


def _letters(count: int) -> str:
    return f"{count:,} dead letter{'' if count == 1 else 's'}"
