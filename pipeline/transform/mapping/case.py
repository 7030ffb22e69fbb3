"""One webhook on its way through the mapping: what was sent, what is asked of it again and again, what was noticed."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

from pipeline.customerio.attributes import fit_json
from pipeline.transform.fields import elements, members, text, whole
from pipeline.transform.money import MAX_MINOR, amount_of, currency_code, minor_of, units_of
from pipeline.transform.policy import Policy
from pipeline.transform.portal import portal_link
from pipeline.transform.profile import History, PersonProfile
from pipeline.transform.timestamps import to_s
from pipeline.transform.verdicts import Note
from pipeline.transform.webhook import Webhook

Attributes = dict[str, Any]

MAX_AHEAD_S: Final = 2
"""How far an identify's time may be ahead of the clock: a subscription's start has three profiles in one second."""

NOTHING: Final = b"{}"
"""No attributes, as JSON."""


class Case:
    """The inputs of one decision and the readings that several rules share.

    `sent_at` is the body's own time as text; `occurred_ms`, `event_ms` and `snapshot_s` are as in `EventTimes`. Unless
    `knows_the_time` the time is unknown, and the latter two are 0. `contact` is what the body has about the customer,
    `paid` what it shows of a payment; `email` and `name` are the body's, else the state's. `profile` is what the person
    has, `history` what may be asked of the past: with the state a webhook has both.
    """

    __slots__ = (
        "body",
        "business_id",
        "contact",
        "customer",
        "customer_id",
        "data",
        "delivery",
        "email",
        "event_ms",
        "history",
        "knows_the_time",
        "name",
        "notes",
        "occurred_ms",
        "paid",
        "policy",
        "profile",
        "sent_at",
        "snapshot_s",
        "type",
        "warnings",
        "webhook",
    )

    def __init__(
        self, webhook: Webhook, policy: Policy, profile: PersonProfile | None, history: History | None = None
    ) -> None:
        envelope, contact = webhook.envelope, webhook.contact
        self.webhook = webhook
        self.delivery = webhook.delivery
        self.customer = webhook.customer
        self.customer_id = webhook.customer_id
        self.contact = contact
        self.paid = webhook.paid
        self.type = envelope.type
        self.data = envelope.data
        self.body = envelope.fields
        self.policy = policy
        self.profile = profile
        self.history = history
        self.warnings: list[str] = []
        self.notes: list[Note] = []
        self.email, self.name = contact.email, contact.name
        if profile is not None and (self.email is None or self.name is None):
            self.email, self.name = self.email or profile.contact.email, self.name or profile.contact.name
        self.business_id = envelope.business_id or text(envelope.data.get("business_id"))
        self.sent_at = envelope.timestamp
        times = webhook.times
        self.occurred_ms, self.snapshot_s = times.occurred_ms, times.snapshot_s
        self.knows_the_time = times.event_ms is not None
        self.event_ms = times.event_ms or 0

    def notice(self, note: Note, warning: str) -> None:
        """Count `note` and keep its words for `explain`; the same words once."""
        self.notes.append(note)
        if warning not in self.warnings:
            self.warnings.append(warning)

    def not_before_s(self, identified_at_s: int | None) -> int | None:
        """From when on an identify with this time may be sent; None: at once.

        A profile that is ahead of the clock is closed to whoever else writes it until then.
        """
        if identified_at_s is None:
            return None
        clock_s = max(self.snapshot_s, (self.delivery.received_at_ms or 0) // 1000)
        return identified_at_s - MAX_AHEAD_S if identified_at_s > clock_s + MAX_AHEAD_S else None

    def fitted(self, attributes: Attributes) -> bytes:
        """Attributes inside Customer.io's limits, as JSON."""
        text, cuts = fit_json(attributes)
        for cut in cuts:
            self.notice("attribute-cut", f"{cut.name} was fitted to Customer.io's limits ({cut.reason})")
        return text

    def texts(self, into: Attributes, *fields: str) -> None:
        """Fields of `data` under their own names, where they are text."""
        data = self.data
        for name in fields:
            value = data.get(name)
            if value is not None and (found := value.strip() if type(value) is str else text(value)):
                into[name] = found

    def renamed(self, into: Attributes, name: str, field: str) -> None:
        """A text field of `data` under another name."""
        if (found := text(self.data.get(field))) is not None:
            into[name] = found

    def date(self, into: Attributes, name: str, value: Any, ms: int | None = None) -> None:
        """A date in its two ways: `name` as sent, `name_unix` in seconds; `ms` is the moment where it is known."""
        sent = text(value)
        if sent is None:
            return
        into[name] = sent
        seconds = to_s(sent) if ms is None else ms // 1000
        if seconds is not None:
            into[f"{name}_unix"] = seconds
        else:
            self.notice("unusable-time", f"{name} is no RFC 3339 time: sent as it is, without {name}_unix")

    def money(self, into: Attributes, name: str, value: Any, currency: str | None) -> int | None:
        """An amount in its three ways (`name`, `name_value`, `name_minor`); its minor units, None if unusable."""
        if value is None:
            return None
        minor = minor_of(value)
        if minor is None:
            self.notice("unusable-amount", f"{name} is no whole number of minor units: left out")
            return None
        amount = amount_of(minor, self._exponent(name, currency))
        in_value, in_minor = forms(name)
        if amount.text is not None:
            into[name] = amount.text
            if amount.value is not None:
                into[in_value] = amount.value
        into[in_minor] = minor
        return minor

    def main_money(self, into: Attributes, name: str, value: Any, currency: str | None) -> int | None:
        """`money` of the amount that the event is about: where none can be printed the event is marked.

        A campaign's filter on `amount_unusable` then keeps back a mail that would say "you paid ".
        """
        if value is None:
            self.notice("unusable-amount", f"the body does not tell {name}: the event has none")
        minor = self.money(into, name, value, currency)
        if name not in into:
            into["amount_unusable"] = True
            self.notice(
                "amount-unusable", "the event is marked amount_unusable: it has no amount that could be printed"
            )
        return minor

    def profile_money(self, into: Attributes, name: str, minor: int | None, currency: str | None) -> None:
        """An amount on the profile, of any size, in its three ways; a form that cannot be sent is null.

        The profile would else go on showing the last one that could, beside the others' new ones. The text is always
        exact; a number is sent where every reader keeps it exact.
        """
        in_value, in_minor = forms(name)
        if minor is None:
            into[name] = into[in_value] = into[in_minor] = None
            return
        amount = amount_of(minor, self._exponent(name, currency))
        into[name] = amount.text
        if -MAX_MINOR <= minor <= MAX_MINOR:
            into[in_value], into[in_minor] = amount.value, minor
        else:
            into[in_value] = into[in_minor] = None

    def _exponent(self, name: str, currency: str | None) -> int | None:
        """How many decimals an amount has; None, with a warning, where that is unknown."""
        exponent = self.policy.exponents.get(currency) if currency is not None else None
        if exponent is None:
            what = "the currency is missing" if currency is None else "the currency is not known"
            self.notice(
                "unknown-currency",
                f"{what}, and so its decimals (PIPELINE_CURRENCY_EXPONENTS): only {name}_minor is sent",
            )
        return exponent

    def units(self, into: Attributes, name: str, value: Any) -> None:
        """A quantity that is no money: `name` as decimal text, `name_value` as number."""
        if value is None:
            return
        found = units_of(value)
        if found is None:
            self.notice("unusable-amount", f"{name} is no decimal number: left out")
            return
        into[name] = found[0]
        if found[1] is not None:
            into[f"{name}_value"] = found[1]

    def manage_link(self, into: Attributes, subscription_id: str | None) -> None:
        """Where the customer manages the subscription, if the operator set the address and all its parts are known."""
        template = self.policy.portal_url
        if template is None:
            return
        link = portal_link(
            template,
            {"business_id": self.business_id, "customer_id": self.customer_id, "subscription_id": subscription_id},
        )
        if link is not None:
            into["manage_subscription_url"] = link

    def currency(self, into: Attributes) -> str | None:
        """The currency of the object, set as `currency` when there is one."""
        code = currency_code(self.data.get("currency"))
        if code is not None:
            into["currency"] = code
        return code

    def quantities(self, field: str, id_field: str) -> list[Attributes]:
        """An array of `{<id_field>, quantity}`, other members left behind (they may be anything)."""
        found = []
        for element in elements(self.data.get(field)):
            item = members(element)
            identifier = text(item.get(id_field))
            if identifier is not None:
                entry: Attributes = {id_field: identifier}
                if (quantity := whole(item.get("quantity"))) is not None and quantity >= 0:
                    entry["quantity"] = quantity
                found.append(entry)
        return found


@lru_cache(maxsize=256)
def forms(name: str) -> tuple[str, str]:
    """The same strings for every webhook: their hashes are known."""
    return f"{name}_value", f"{name}_minor"
