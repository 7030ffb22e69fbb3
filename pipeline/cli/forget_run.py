"""Runs `dodo-cio forget`."""

from __future__ import annotations

import asyncio
import sys
import time
from dataclasses import dataclass
from typing import Any

import orjson
import typer

from pipeline.backfill.commands import Removal, forget_record
from pipeline.cli.forget_letters import CustomerLetters, look, remove
from pipeline.cli.progress import share
from pipeline.cli.screen import say
from pipeline.errors import InputError
from pipeline.kafka.cluster.topics import check_topics
from pipeline.kafka.producer.producer import BatchProducer
from pipeline.kafka.records import OutRecord
from pipeline.settings import Settings

NOTHING_ELSE = "nothing at Customer.io"
AT_CUSTOMERIO = {
    "delete": "delete the person at Customer.io",
    "suppress": "delete the person at Customer.io and block the id there",
}


@dataclass(frozen=True, slots=True)
class ForgetOptions:
    """The command's flags."""

    customerio: Removal | None
    dead_letters: bool = False
    dry_run: bool = False
    yes: bool = False
    as_json: bool = False

    @property
    def there(self) -> str:
        """What is done at Customer.io."""
        return AT_CUSTOMERIO[self.customerio] if self.customerio else NOTHING_ELSE


def perform(settings: Settings, customer_id: str, asked: ForgetOptions) -> int:
    """Forget one customer; return the exit code.

    Raises:
        InputError: it is not a customer's id, or there is no terminal to confirm on and `yes` was not given.
        PipelineError: the topic or the brokers fail; the same command may be repeated.
    """
    if "@" in customer_id:
        raise InputError(
            "give Dodo's id of the customer (cus_…), not an address: several customers may share one. Where people go "
            "by their address (PIPELINE_PERSON_ID), --person finds the customers behind it"
        )
    _check_asking(asked)
    one = _Forgetting(settings, customer_id, asked)
    one.look()
    if not asked.dry_run and not asked.yes:
        if not asked.as_json:
            say(one.letters.sentence(settings), err=True)
        if not _agreed(customer_id, asked):
            _say("Nothing was sent.", one.document(), as_json=asked.as_json)
            return 1
    _say(one.carry_out(), one.document(), as_json=asked.as_json)
    return 0


def perform_for_person(settings: Settings, person: str, asked: ForgetOptions) -> int:
    """Forget the customers who are one person at Customer.io; return the exit code.

    Raises:
        InputError: nobody is known as this person, or there is no terminal to confirm on and `yes` was not given.
        PipelineError: as for `perform`; of several customers those before the failure are done.
    """
    _check_asking(asked)
    from pipeline.transform.customers.people import read_customers

    with share("Reading who the person is") as told:
        found = asyncio.run(read_customers(settings, person, told))
    if not found.now:
        known = f"; forgotten already: {', '.join(found.forgotten)}" if found.forgotten else ""
        raise InputError(
            f"no customer is known as {person} at Customer.io{known}. PIPELINE_PERSON_ID ({settings.person_id}) says "
            "by what people go there; for one customer give Dodo's id (cus_…)"
        )
    named = f"{person} is {', '.join(found.now)}"
    if not asked.as_json:
        say(named, err=True)
    if not asked.dry_run and not asked.yes and not _agreed(", ".join(found.now), asked):
        _say("Nothing was sent.", {"person": person, "sent": False, "customers": []}, as_json=asked.as_json)
        return 1
    texts, documents = [], []
    for customer_id in found.now:
        one = _Forgetting(settings, customer_id, asked)
        one.look()
        texts.append(one.carry_out())
        documents.append(one.document())
    _say("\n".join(texts), {"person": person, "sent": not asked.dry_run, "customers": documents}, as_json=asked.as_json)
    return 0


def _check_asking(asked: ForgetOptions) -> None:
    if not (asked.yes or asked.dry_run or sys.stdin.isatty()):
        raise InputError("without a terminal nobody can be asked: add --yes, or --dry-run to see what would be done")


def _agreed(whom: str, asked: ForgetOptions) -> bool:
    and_letters = " Remove the dead letters, too?" if asked.dead_letters else ""
    return typer.confirm(f"Forget {whom} for good, and do this there: {asked.there}?{and_letters}", err=True)


class _Forgetting:
    """The request about one customer."""

    def __init__(self, settings: Settings, customer_id: str, asked: ForgetOptions) -> None:
        self._settings = settings
        self._customer_id = customer_id
        self._asked = asked
        self._record = forget_record(customer_id, customerio=asked.customerio, at_s=int(time.time()))
        self._place: tuple[int, int] | None = None
        self.letters = CustomerLetters()

    def look(self) -> None:
        """Look for the customer's dead letters."""
        self.letters = asyncio.run(look(self._settings, self._customer_id, must=self._asked.dead_letters))

    def carry_out(self) -> str:
        """Send the request and remove the letters, or for a dry run check that; return the lines to print."""
        settings, asked = self._settings, self._asked
        if asked.dry_run:
            asyncio.run(check_topics(settings, {settings.webhooks_topic}))
            done = f"Would forget {self._customer_id}, and do this there: {asked.there}"
        else:
            partition, offset = self._place = asyncio.run(_send(settings, self._record))
            if asked.dead_letters:
                asyncio.run(remove(settings, self.letters))
            done = (
                f"The command to forget {self._customer_id} lies at {settings.webhooks_topic}/{partition}/{offset}; "
                f"the transform carries it out when it comes to it: {asked.there}"
            )
        return f"{done}\n{self.letters.sentence(settings)}"

    def document(self) -> dict[str, Any]:
        """The result for programs."""
        where = dict(zip(("partition", "offset"), self._place, strict=True)) if self._place else {}
        return {
            "customer_id": self._customer_id,
            "customerio": self._asked.customerio,
            "topic": self._settings.webhooks_topic,
            "sent": self._place is not None,
            **where,
            "dead_letters": self.letters.document(),
        }


async def _send(settings: Settings, record: OutRecord) -> tuple[int, int]:
    await check_topics(settings, {settings.webhooks_topic})
    producer = BatchProducer(settings)
    await producer.start()
    try:
        await producer.prime(settings.webhooks_topic)
        return await producer.send(settings.webhooks_topic, record)
    finally:
        await producer.stop()


def _say(text: str, document: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode())
    else:
        say(text)
