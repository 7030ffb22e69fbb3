"""What an identify sends about the person, and when it must be accepted before anything else is sent."""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b
from typing import Any, Final

from pipeline.customerio.operations import Identifier
from pipeline.transform.addresses import read
from pipeline.transform.fields import members, scalar, text
from pipeline.transform.first_names import first_name
from pipeline.transform.identity import EMAIL_STEP
from pipeline.transform.mapping.card import fill_card
from pipeline.transform.mapping.case import Attributes, Case, forms
from pipeline.transform.mapping.primary_subscription import fill_primary_subscription
from pipeline.transform.mapping.rows import FamilyMapping, Row
from pipeline.transform.policy import Policy
from pipeline.transform.profile import Addressed, Person, PersonProfile
from pipeline.transform.timestamps import MIN_PLAUSIBLE_MS

_IDENTITY_BYTES: Final = 16


def identify_attributes(
    case: Case, row: Row | None, mapping: FamilyMapping | None, *, with_sums: bool = True
) -> Attributes:
    """The identify's attributes; empty when neither the body nor the state knows the customer.

    Without a row they are not from a webhook, but from the state alone. Without the sums it is contact and metadata
    only: the customer is one of several who may be the person.

    In test mode neither e-mail nor telephone: a workspace that identifies by them would take the test person for the
    live one who has them.
    """
    into: Attributes = {}
    profile = case.profile
    if not case.customer and profile is None:
        return into
    live = case.delivery.mode == "live"
    address, name = case.email, case.name
    _, _, number, lives_in = case.contact
    metadata = members(case.customer.get("metadata")) if case.policy.metadata else {}
    if profile is not None:
        # The state has this body too; an older delivery that comes late must not win over a newer one.
        known = profile.contact
        address, name = known.email or address, known.name or name
        number, lives_in = known.phone or number, known.country or lives_in
        if case.policy.metadata:
            metadata = {**metadata, **profile.metadata}
    if live and address is not None:
        into["email"] = address
    if name is not None:
        into["name"] = name
        if case.policy.first_names:
            put_first_name(into, name, lives_in, on_profile=True)
    if live and number is not None:
        into["phone"] = number
    if lives_in is not None:
        into["country"] = lives_in
    _warn_of_contact(case)
    if case.policy.metadata:
        put_metadata(case, into, metadata)
    if profile is not None:
        if with_sums:
            sum_attributes(case, into, profile)
    elif row is not None and mapping is not None and mapping.identifies is not None:
        mapping.identifies(case, row, into)
    if case.policy.portal_url is not None:
        speaking = profile.speaking if profile is not None else None
        subscription_id = into.get("subscription_id") if speaking is None else speaking.subscription_id
        if subscription_id is not None:
            case.manage_link(into, subscription_id)
    if into and not live:
        into["dodo_mode"] = case.delivery.mode
    return into


def put_first_name(into: Attributes, name: str, lives_in: str | None, *, on_profile: bool = False) -> None:
    """`first_name` beside `name` where it is plain; null on a profile where it is not."""
    cut = first_name(name, lives_in)
    if cut is not None or on_profile:
        into["first_name"] = cut


def put_metadata(case: Case, into: Attributes, *sources: dict[str, Any]) -> None:
    """Metadata pairs on the operator's allow-list; the first source that has a key gives it."""
    for key, name in case.policy.metadata:
        for source in sources:
            value = scalar(source.get(key))
            if value is not None:
                into[name] = value
                break


def identity_of(attributes: bytes) -> bytes:
    """Digest of an identify's attributes as JSON: equal digests would change nothing at Customer.io.

    They are written in the same order for everybody (`identify_attributes`), so equal ones are equal bytes.
    """
    return blake2b(attributes, digest_size=_IDENTITY_BYTES).digest()


def is_new_person(profile: PersonProfile, person: Person) -> bool:
    """Whether no identify of that person was sent; with the policy `email` a changed address is another person."""
    if profile.identity is None:
        return True
    identified = profile.identified
    return identified is not None and identified != person.id


def first_seen_s(case: Case, profile: PersonProfile) -> int:
    """When the person was first seen, unix seconds: at the event, the first payment or the subscription's creation.

    Sent with a person's first identify alone: what came before it is never learnt later, and an app may have set the
    person's own since.
    """
    moments = [case.event_ms]
    if profile.spending.customer_since_ms is not None:
        moments.append(profile.spending.customer_since_ms)
    since_ms = case.history.subscribed_since_ms if case.history is not None else None
    if since_ms is not None:
        moments.append(since_ms)
    return min(ms for ms in moments if ms >= MIN_PLAUSIBLE_MS) // 1000


def identifier_of(person: Person) -> Identifier:
    """How the person is addressed."""
    return "email" if person.step == EMAIL_STEP else "id"


def left_person(profile: PersonProfile, person: Person) -> Addressed | None:
    """Whom the customer's operations went to until now, when that is somebody else than `person`."""
    before = profile.addressed
    if before is None or (before.id == person.id and before.identifier == identifier_of(person)):
        return None
    return before


def may_merge(policy: Policy, before: Addressed, person: Person) -> bool:
    """Whether the operator wants the former person merged into this one.

    Never anybody else than the customer's own id that stood in, or the same customer's former address: what lies behind
    another id may be other people's.
    """
    if before.stood_in:
        return policy.merge_default_id
    return policy.merge_on_email_change and before.identifier == identifier_of(person) == "email"


def needs_barrier(case: Case, row: Row | None, mapping: FamilyMapping | None) -> bool:
    """Whether the identify must be accepted before the person's next operations are sent.

    Order inside a batch is documented nowhere, and an event that arrives before its person has an address starts no
    mail. With the state it is the person's first identify that must (`is_new_person`). Without it, asked here, nobody
    knows which is the first, so an identify is a barrier where the person may be new: before the event of a checkout or
    first charge (`charge_type` new or null) and of a subscription's first period. Every other person was identified by
    such a webhook. One barrier too many costs a smaller batch, one too few a mail.
    """
    return row is not None and row.event is not None and mapping is not None and mapping.maybe_new(case)


@lru_cache(maxsize=256)
def _total_of(code: str) -> str:
    return f"total_spent_{code.lower()}"


def _warn_of_contact(case: Case) -> None:
    sent = case.customer.get("email")
    if sent != case.contact.email and text(sent) is not None:
        reading = read(sent)
        if reading.address is None:
            case.notice("unusable-contact", f"the customer's e-mail is no address ({reading.fault}): left out")
        elif reading.trimmed:
            case.notice("trimmed-address", "invisible characters around the customer's e-mail were removed")
    if case.contact.phone is None and text(case.customer.get("phone_number")) is not None:
        case.notice("unusable-contact", "the customer's telephone number is not E.164: left out")


def sum_attributes(case: Case, into: Attributes, profile: PersonProfile) -> None:
    """What the state alone knows: spending, disputes and the subscription that speaks for the person."""
    spending = profile.spending
    spent, first, count, method = spending.minor, spending.currency, spending.payment_count, spending.payment_method
    if first is not None and first in spent:
        case.profile_money(into, "total_spent", spent[first], first)
        into["total_spent_currency"] = first
    if count:
        into["payment_count"] = count
        case.date(into, "last_payment_date", spending.last_payment_date, spending.last_payment_ms)
        case.date(into, "customer_since", spending.customer_since, spending.customer_since_ms)
    if method is not None:
        into["payment_method"] = method
    if case.policy.forward_card_hints and profile.card is not None:
        fill_card(into, profile.card)
    if profile.has_lost_dispute:
        into["has_lost_dispute"] = True
    _fill_subscriptions(case, into, profile)
    # Last: of a person with more currencies than there is room for, these give way and never the next billing date.
    for code, minor in spent.items():
        name = _total_of(code)
        if code == first and into["total_spent"] is not None:  # the same amount under its second name
            in_value, in_minor = forms(name)
            into[name], into[in_value] = into["total_spent"], into["total_spent_value"]
            into[in_minor] = into["total_spent_minor"]
        else:
            case.profile_money(into, name, minor, code)


def _fill_subscriptions(case: Case, into: Attributes, profile: PersonProfile) -> None:
    speaking = profile.speaking
    if speaking is None:
        return
    fill_primary_subscription(case, into, speaking)
    into["active_subscriptions"], product_ids = profile.active
    into["active_product_ids"] = list(product_ids)
