"""The customers whom the identity policy names as one person, as that person: their shares added up.

The shares lie in the person's partition, under a digest of the address or id: what stays of a share that was taken back
is its version, and no address. The person's identify is later than any that a customer's owner sent before (the share
has the time), and than its own before: Customer.io ignores an older one, and of two with one time it may take either.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from pipeline.customerio import operations as track
from pipeline.customerio.operations import Identifier
from pipeline.errors import OperationError
from pipeline.statestore.store import KeyValueStore
from pipeline.transform.customers.customer_view import card_of, spending_of, subscription_shown
from pipeline.transform.customers.facts import Fact, decode, encode, key, person_key, prefix
from pipeline.transform.customers.shape import MAX_PRODUCTS
from pipeline.transform.customers.shares import Share, Whom
from pipeline.transform.customers.standing import CREATED, PRODUCT, STATUS, product_order
from pipeline.transform.customers.summary import Summary, sums_of
from pipeline.transform.identity import EMAIL_STEP
from pipeline.transform.mapping.person import map_person
from pipeline.transform.policy import Policy
from pipeline.transform.profile import (
    Active,
    Addressed,
    Card,
    Contact,
    Person,
    Spending,
    best,
)
from pipeline.transform.verdicts import (
    DeadLettered,
    Delivery,
    MappedOperation,
    OperationKind,
    Operations,
    Verdict,
)

VERSION, DELIVERED, DIGEST, NAMES = range(4)
"""Places in the person's fact: how often it was written, the time of the identify that was sent last, its digest, and
the attributes that ever were on the profile, which become null when nothing gives them any more."""


class ArrivedShare(NamedTuple):
    """A share as it arrived: of which customer of which person, how new, and what the customer's owner did before.

    `told`: the customer's own identify went out before it, or the share was taken back, so the profile is written again
    even if nothing changed here. `removed`: whom nobody is left of stays untouched, since the person was deleted,
    merged or is to be left alone. No `share`: it is taken back. `customerio`: what removed the person. `merged_into`:
    whom the person was merged into.
    """

    name: str
    identifier: Identifier
    customer_id: str
    version: int
    delivered_s: int
    share: Share | None
    told: bool
    removed: bool
    customerio: track.Removal | None
    merged_into: Whom | None
    webhook_id: str
    at_ms: int


def take_in(news: ArrivedShare, policy: Policy, store: KeyValueStore) -> Verdict | None:
    """Remember a share unless a newer one is known; the person's identify, None when there is nothing to send."""
    person = person_key(news.name, news.identifier)
    share_key, facts_key = key(person, "share", news.customer_id), key(person, "person", "")
    shares = {name: fact for name, value in store.scan(prefix(person, "share")) if (fact := decode("share", value))}
    known = shares.get(share_key)
    is_newer = known is None or news.version >= known[0]  # the same again: what it led to may not have been noted
    if not is_newer and not news.told:
        return None
    if is_newer:
        shares[share_key] = [news.version, news.share]
    version, delivered_s, digest, names = decode("person", store.get(facts_key)) or [0, 0, None, []]
    household = SharedPerson(
        news.name,
        news.identifier,
        {name: fact[1] for name, fact in shares.items() if fact[1] is not None},
        max(delivered_s + 1 if version else 0, news.delivered_s + news.told),
        None if digest is None else bytes.fromhex(digest),
    )
    if household.is_empty and not is_newer and digest is None and version:
        return None  # an older share again: the person was removed, merged or left alone since
    if household.is_empty and news.removed:
        # The profile stays as it is, and whoever comes next must neither be older than it nor leave its sums there.
        verdict = _last_word(news) if is_newer else None
        if isinstance(verdict, DeadLettered):
            return verdict
        store.put(share_key, encode(shares[share_key]))
        if version:
            store.put(facts_key, encode([version + 1, delivered_s, None, names]))
        return verdict
    delivery = Delivery(news.webhook_id, attempt_at_s=news.delivered_s, received_at_ms=news.at_ms)
    verdict, names = map_person(
        household.addressed,
        delivery,
        policy,
        household,
        named=names,
        customers=household.customers,
        again=news.told,
    )
    if isinstance(verdict, DeadLettered):
        return verdict
    store.put(share_key, encode(shares[share_key]))
    if verdict is not None and verdict.operations and verdict.identity is not None:
        said: Fact = [version + 1, household.delivered_at_s, verdict.identity.hex(), names]
        store.put(facts_key, encode(said))
    return verdict


def _last_word(news: ArrivedShare) -> Verdict | None:
    """What the customer's owner did with the person, once more; None where nothing was done.

    The identify of an earlier share may have been sent from here since then, and have brought the person back. Behind
    this one there is none of nobody's.
    """
    try:
        if news.customerio is not None:
            kind: OperationKind = news.customerio
            body = track.removal(news.name, news.customerio, identifier=news.identifier)
        elif news.merged_into is not None:
            kind, (primary, identifier) = "merge", news.merged_into
            body = track.merge(primary, news.name, identifier=identifier, secondary_identifier=news.identifier)
        else:
            return None
    except OperationError as error:
        return DeadLettered("unmappable", str(error), error.field)
    operation = MappedOperation(f"{news.webhook_id}:{kind}", body, barrier=True, kind=kind, name=None)
    return Operations(news.name.encode(), (operation,), event_time_ms=news.delivered_s * 1000)


class SharedPerson:
    """The `PersonProfile` of a person who is one customer or several.

    Sums are added, first and last looked for over all, subscriptions united: those that the shares list by their ids,
    and of the others how many are active. Where customers differ in a name or another contact, the one who paid last
    decides, whatever the order in which the shares came.
    """

    def __init__(
        self,
        name: str,
        identifier: Identifier,
        shares: Mapping[bytes, Share],
        delivered_s: int,
        identity: bytes | None = None,
    ) -> None:
        self.person = Person(name, EMAIL_STEP if identifier == "email" else None)
        self.identified = name
        self.addressed = Addressed(name, identifier)
        self.identity = identity
        self.delivered_at_s = delivered_s
        self.customers = len(shares)
        self.is_empty = not shares
        self._summary = Summary()
        ordered = [shares[name] for name in sorted(shares)]
        for share in ordered:
            _add(self._summary, share)
        self._summary.spent = dict(sorted(self._summary.spent.items()))
        live = {id_: [id_, *told] for share in ordered for id_, told in share["live"].items()}
        self.speaking = best(map(subscription_shown, live.values()))
        if self.speaking is None and self._summary.rest is not None:
            self.speaking = subscription_shown(self._summary.rest)
        self.active = _active(
            list(live.values()), [share["more_active"] for share in ordered if "more_active" in share]
        )
        ordered.sort(key=lambda share: share["last"][:2] if share["last"] else [0, ""], reverse=True)
        fields = zip(*(share["contact"] for share in ordered), strict=True)
        contact = [next((value for value in values if value is not None), None) for values in fields]
        self.contact = Contact(*contact)
        self.metadata: Mapping[str, Any] = {
            name: value for share in reversed(ordered) for name, value in share["metadata"].items()
        }

    @property
    def spending(self) -> Spending:
        """See `PersonProfile`."""
        return spending_of(self._summary)

    @property
    def has_lost_dispute(self) -> bool:
        """See `PersonProfile`."""
        return self._summary.lost

    @property
    def card(self) -> Card | None:
        """See `PersonProfile`."""
        return card_of(self._summary)


def _add(summary: Summary, share: Share) -> None:
    summary.count += share["payment_count"]
    for currency, minor in sums_of(share["spent"]).items():
        summary.spent[currency] = summary.spent.get(currency, 0) + minor
    summary.first = _one(min, summary.first, share["first"])
    summary.base = _one(min, summary.base, share["base"])
    summary.last = _one(max, summary.last, share["last"])
    summary.method = _one(max, summary.method, share["method"])
    summary.card = _one(max, summary.card, share.get("card"))
    summary.lost |= share["has_lost_dispute"]
    summary.rest = _one(lambda one, other: min(one, other, key=_age), summary.rest, share["rest"])


def _active(listed: list[Fact], more: list[Fact]) -> Active:
    """How many subscriptions are active: of those that are listed, and of `[how many, products]` that are not."""
    active = [standing for standing in listed if standing[STATUS] == "active"]
    products = {standing[PRODUCT] for standing in active if standing[PRODUCT] is not None}
    products.update(*(product_ids for _, product_ids in more))
    first = sorted(products, key=product_order)[:MAX_PRODUCTS]
    return Active(len(active) + sum(count for count, _ in more), sorted(first))


def _one(choose: Any, known: Fact | None, other: Fact | None) -> Fact | None:
    """By time, then by id, as a summary chooses among one customer's payments."""
    if known is None or other is None:
        return known or other
    found: Fact = choose(known, other)
    return found


def _age(rest: Fact) -> tuple[int, str]:
    """The newest one is the least."""
    return -rest[CREATED], rest[0]
