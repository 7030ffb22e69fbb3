"""Runs a backfill: page after page of Dodo's API into the webhooks topic, each noted in the journal."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from pipeline.backfill.commands import OBJECTS, backfill_record
from pipeline.backfill.journal import Done, Journal, LeftOut
from pipeline.backfill.whole import own
from pipeline.dodo.api import Collection, DodoApi, Page, walk
from pipeline.dodo.api.client import SETTLED
from pipeline.dodo.api.listing import ID_FIELDS, begin
from pipeline.errors import InputError, RecordTooLargeError
from pipeline.kafka.producer.sending import Producer
from pipeline.kafka.records import OutRecord

IDENTIFIED_AT_ONCE: Final = 500
"""Customers between two notes in the journal; a crash in between sends at most so many twice."""

NO_OWNER: Final = "nothing tells whose it is"
NO_ID: Final = "it has no id"


@dataclass(frozen=True, slots=True)
class Order:
    """What to bring into the state: the collections, in this order, from `since` on to the journal's `until`."""

    since: datetime
    what: tuple[Collection, ...]
    emit_identify: bool = False
    revive: bool = False


class _Payers:
    """The customer of each payment: from the journal, and from the present page."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self.learnt: dict[str, str] = {}

    def payer(self, payment_id: str) -> str | None:
        return self.learnt.get(payment_id) or self._journal.payer(payment_id)

    def learn(self, payment_id: Any, customer_id: str) -> None:
        if isinstance(payment_id, str) and payment_id:
            self.learnt[payment_id] = customer_id


class Backfill:
    """One run.

    Args:
        order: what to bring into the state.
        api: the source of the objects.
        journal: the progress of earlier runs, and of this one.
        topic: the webhooks topic.
        producer: sends the commands; None sends nothing, for a dry run.
        told: called after each page with the collection, and the time up to which it is done.
        clock: unix seconds.
    """

    def __init__(
        self,
        order: Order,
        api: DodoApi,
        journal: Journal,
        topic: str,
        producer: Producer | None,
        *,
        told: Callable[[Collection, datetime], None] = lambda *_: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._order = order
        self._api = api
        self._journal = journal
        self._topic = topic
        self._producer = producer
        self._told = told
        self._clock = clock

    async def run(self) -> None:
        """Send commands for all objects that earlier runs did not send.

        May be cancelled at any time: what was noted is durable, and the next run repeats what was not.

        Raises:
            CredentialError: Dodo refused the key.
            DeliveryError: Dodo's API or the brokers do not answer.
        """
        for collection in self._order.what:
            start = self._journal.position(collection) or begin(self._order.since, self._journal.until)
            read_at_s = int(self._clock())
            async for page in walk(self._api, collection, start, self._journal.until):
                await self._bring(collection, page, read_at_s)
                self._told(collection, page.then.since)
                # Before the next page is requested: if the time were taken after it, a state from before a change would
                # look newer than the webhook about the change.
                read_at_s = int(self._clock())
        if self._order.emit_identify:
            await self._identify()

    async def _bring(self, collection: Collection, page: Page, read_at_s: int) -> None:
        records: dict[str, OutRecord] = {}
        owners: dict[str, str] = {}
        payers = _Payers(self._journal)
        left_out: list[LeftOut] = []
        for item in page.items:
            if collection in SETTLED and item.get("status") != SETTLED[collection]:
                continue
            object_id = item.get(ID_FIELDS[collection])
            if not isinstance(object_id, str) or not object_id:
                left_out.append(LeftOut(collection, "", NO_ID))
                continue
            owned = await own(collection, item, self._api, payers)
            if owned.customer_id is None:
                left_out.append(LeftOut(collection, object_id, NO_OWNER))
                continue
            try:
                records[object_id] = backfill_record(
                    OBJECTS[collection],
                    object_id,
                    owned.data,
                    owned.customer_id,
                    read_at_s=read_at_s,
                    revive=self._order.revive,
                )
            except InputError as error:
                left_out.append(LeftOut(collection, object_id, str(error)))
                continue
            owners[object_id] = owned.customer_id
            payers.learn(item.get("payment_id"), owned.customer_id)
        for object_id, why in (await self._send(records)).items():
            left_out.append(LeftOut(collection, object_id, why))
            del records[object_id]
        done = Done(len(records), payers.learnt, frozenset(owners.values()), tuple(left_out))
        self._journal.note(collection, page.then, done)

    async def _identify(self) -> None:
        """Send a command to identify each customer, after all commands about their objects.

        If each object had one, totals that are still growing would move people into segments and campaigns.
        """
        while customers := self._journal.to_identify(IDENTIFIED_AT_ONCE):
            await self._send({id_: self._profile(id_) for id_ in customers})
            self._journal.note_identified(customers)

    def _profile(self, customer_id: str) -> OutRecord:
        return backfill_record(
            "customer",
            customer_id,
            {"customer_id": customer_id},
            customer_id,
            read_at_s=int(self._clock()),
            emit_identify=True,
            revive=self._order.revive,
        )

    async def _send(self, records: dict[str, OutRecord]) -> dict[str, str]:
        """Send records; return when they are durable, with the ids of those that are too large, and why."""
        too_large: dict[str, str] = {}
        if self._producer is None or not records:
            return too_large
        chunk = self._producer.chunk()
        for object_id, record in records.items():
            try:
                chunk.append(self._topic, self._producer.partition_for(self._topic, record.key), record)
            except RecordTooLargeError as error:
                too_large[object_id] = str(error)
        await chunk.send()
        return too_large
