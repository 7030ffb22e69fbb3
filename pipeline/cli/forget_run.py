"""`dodo-cio forget`, carried out."""

from __future__ import annotations

import asyncio
import sys
import time
from typing import Any

import orjson
import typer

from pipeline.backfill.commands import Removal, forget_record
from pipeline.cli.forget_letters import look, remove
from pipeline.errors import InputError
from pipeline.kafka.producer import BatchProducer
from pipeline.kafka.records import OutRecord
from pipeline.kafka.topics import check_topics
from pipeline.settings import Settings

NOTHING_ELSE = "nothing at Customer.io"
AT_CUSTOMERIO = {
    "delete": "delete the person at Customer.io",
    "suppress": "delete the person at Customer.io and block the id there",
}


def perform(
    settings: Settings,
    customer_id: str,
    customerio: Removal | None,
    *,
    dead_letters: bool,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> int:
    """Carry it out; returns the exit code.

    Raises:
        InputError: it is no customer's id, or nobody can be asked and `yes` was not given.
        PipelineError: the topic or the brokers do not play along; the same command may be repeated.
    """
    if "@" in customer_id:
        raise InputError("give Dodo's id of the customer (cus_…), not an address: several customers may share one")
    record = forget_record(customer_id, customerio=customerio, at_s=int(time.time()))
    if not (yes or dry_run or sys.stdin.isatty()):
        raise InputError("without a terminal nobody can be asked: add --yes, or --dry-run to see what would be done")
    also = AT_CUSTOMERIO[customerio] if customerio else NOTHING_ELSE
    letters = asyncio.run(look(settings, customer_id, must=dead_letters))
    told: dict[str, Any] = {"customer_id": customer_id, "customerio": customerio, "topic": settings.webhooks_topic}
    if dry_run:
        asyncio.run(check_topics(settings, {settings.webhooks_topic}))
        _say(
            f"Would forget {customer_id}, and do this there: {also}\n{letters.sentence(settings)}",
            {**told, "sent": False, "dead_letters": letters.document()},
            as_json=as_json,
        )
        return 0
    if not as_json and not yes:
        typer.echo(letters.sentence(settings), err=True)
    and_letters = " Remove the dead letters, too?" if dead_letters else ""
    question = f"Forget {customer_id} for good, and do this there: {also}?{and_letters}"
    if not yes and not typer.confirm(question, err=True):
        _say("Nothing was sent.", {**told, "sent": False, "dead_letters": letters.document()}, as_json=as_json)
        return 1
    partition, offset = asyncio.run(_send(settings, record))
    if dead_letters:
        asyncio.run(remove(settings, letters))
    _say(
        f"The command to forget {customer_id} lies at {settings.webhooks_topic}/{partition}/{offset}; the transform "
        f"carries it out when it comes to it: {also}\n{letters.sentence(settings)}",
        {**told, "sent": True, "partition": partition, "offset": offset, "dead_letters": letters.document()},
        as_json=as_json,
    )
    return 0


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
        typer.echo(text)
