"""Reads the dead-letter topic without a group or a commit, up to the ends that it had when the reader was opened."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager

from pipeline.deadletters.letter import Place
from pipeline.deadletters.receipts import read_receipt
from pipeline.errors import InputError
from pipeline.kafka.cluster.topic_reader import Span, TopicReader, open_topic_reader
from pipeline.kafka.records import Record
from pipeline.settings import Settings


@asynccontextmanager
async def open_letter_reader(settings: Settings) -> AsyncIterator[LetterReader]:
    """A connected `LetterReader`; records that are written later, or follow an open transaction, are not read.

    Raises:
        TopicError: the topic does not exist, or this user may not read it.
        BrokerUnreachableError: no broker answered, at the start or later.
    """
    async with open_topic_reader(settings, settings.dead_letters_topic, LetterReader) as reader:
        yield reader


class LetterReader(TopicReader):
    """Reads the topic, any number of times, over the same connection; made by `open_letter_reader`.

    The receipt of a letter is written later than the letter, so it is never in an older span than the letter.
    """

    async def letter_at(self, place: Place) -> Record:
        """The letter at `place`.

        Raises:
            InputError: there is none; the message has the offsets that there are.
        """
        span = self.spans.get(place.partition)
        if span is None:
            raise InputError(f"topic {self._topic} has no partition {place.partition}: it has {len(self.spans)}")
        if not span.start <= place.offset < span.end:
            held = f"holds offsets {span.start} to {span.end - 1}" if span.length else "is empty"
            raise InputError(f"there is no dead letter at {place}: partition {place.partition} of {self._topic} {held}")
        async with aclosing(self.records({place.partition: Span(place.offset, span.end)})) as records:
            record = await anext(records, None)
        if record is not None and record.offset == place.offset:
            if read_receipt(record) is not None:
                raise InputError(f"what lies at {place} is no dead letter but the note that letters were put back")
            return record
        raise InputError(f"there is no dead letter at {place}: its offset is a gap, or retention deleted it just now")
