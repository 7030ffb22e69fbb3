"""The form of each kind of fact, checked once at the border: before a record of the topic comes into a mirror.

Behind it nobody asks whether a time is a number. What does not fit is nobody's fact: a bug of another version, another
tool, a damaged disk. `topics/schemas/customer-fact.json` documents the same for others.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from pipeline.customerio.limits import ATTRIBUTE_VALUE_MAX_BYTES
from pipeline.transform.customers.turns import ANSWERED, MAX_TURNS, WORDS
from pipeline.transform.profile import ENDED

Shape = Callable[[Any], bool]

MAX_PERIODS: Final = 8
"""Service periods of one payment that are kept: one for each subscription that it pays for."""

MAX_OBSERVATIONS: Final = 8
"""Observations of a cancellation flag that are kept. Only the latest run of equal flags decides anything; one that is
longer than this forgets which webhook began it, and still knows that it was sent."""

MAX_PLANS: Final = 2
"""The plan of now and the one before it, which a plan change is compared with."""

MAX_CHANGES: Final = 4
"""Plan changes of a subscription that are remembered: one is compared with the one before it, whatever comes late."""

MAX_CHARGES: Final = 4
"""Earliest charges of a subscription that are kept, paid and free ones each: they show how its trial ended. Of four
the first is what opened it, the second what followed."""

MAX_TRIAL_ENDS: Final = 4
"""Ends of a subscription's trial that are remembered, where it was moved: what is charged at one of them converts."""

MAX_REPLACEMENTS: Final = 8
"""Changes of a subscription's card that are remembered as sent."""

MAX_GOODS: Final = 8
"""Products, and subscriptions, of one payment that are kept."""

MAX_PRODUCTS: Final = ATTRIBUTE_VALUE_MAX_BYTES // len('"p",') + 1
"""Products of active subscriptions that are known of at once: one more than can be sent, as an array, in one attribute
at Customer.io, so that it is known that there are more."""

MAX_UNPAID: Final = 5
"""Payments of a customer that were not paid: a mail asks for one of the last, and each has a link of some length."""

MAX_REQUESTS: Final = 8
"""Commands of one second about one customer that are remembered; if there are more, a repeated one may run again."""

MAX_PEOPLE: Final = 8
"""People whom a forgotten customer was, the latest ones."""

_CURRENCY = re.compile(r"[A-Z]{3}")
_DIGEST = re.compile(r"[0-9a-f]{32}")
_DIGITS = re.compile(r"-?[0-9]{1,400}")


def whole(value: Any) -> bool:
    """An integer; `true` is none."""
    return type(value) is int


def count(value: Any) -> bool:
    """An integer from 0 on: a version, a number of things."""
    return type(value) is int and value >= 0


def text(value: Any) -> bool:
    """A text."""
    return type(value) is str


def flag(value: Any) -> bool:
    """True or false."""
    return value is True or value is False


def scalar(value: Any) -> bool:
    """What metadata holds."""
    return type(value) in {str, int, float, bool}


def currency(value: Any) -> bool:
    """An ISO 4217 code, by its form."""
    return type(value) is str and _CURRENCY.fullmatch(value) is not None


def digest(value: Any) -> bool:
    """Sixteen bytes, hexadecimal."""
    return type(value) is str and _DIGEST.fullmatch(value) is not None


def total(value: Any) -> bool:
    """A sum of minor units: an integer, or its digits where it is larger than every reader keeps exact."""
    return type(value) is int or (type(value) is str and _DIGITS.fullmatch(value) is not None)


def maybe(shape: Shape) -> Shape:
    """This, or null."""
    return lambda value: value is None or shape(value)


def either(*shapes: Shape) -> Shape:
    """One of these."""
    return lambda value: any(shape(value) for shape in shapes)


def one_of(*words: str) -> Shape:
    """One of these words."""
    known = frozenset(words)
    return lambda value: type(value) is str and value in known


def array(*shapes: Shape) -> Shape:
    """So many elements, each of its shape."""
    length = len(shapes)

    def fits(value: Any) -> bool:
        if type(value) is not list or len(value) != length:
            return False
        for shape, element in zip(shapes, value, strict=True):  # noqa: SIM110 - half the time of all()
            if not shape(element):
                return False
        return True

    return fits


def several(shape: Shape, least: int, most: int) -> Shape:
    """An array of that many of one shape."""
    return lambda value: type(value) is list and least <= len(value) <= most and all(map(shape, value))


def pairs(shape: Shape, name: Shape = text) -> Shape:
    """An object whose members are of one shape."""
    return lambda value: type(value) is dict and all(map(name, value)) and all(map(shape, value.values()))


def members(shapes: Mapping[str, Shape], **optional: Shape) -> Shape:
    """An object with exactly these members, and any of the optional ones."""
    names, known = shapes.keys(), {**shapes, **optional}
    return lambda value: (
        type(value) is dict
        and names <= value.keys() <= known.keys()
        and all(known[name](member) for name, member in value.items())
    )


_source = one_of("webhook", "api")
_note = array(whole, whole, count, maybe(digest), count)
_plan = array(whole, whole, maybe(text), maybe(whole), maybe(text), maybe(text), maybe(whole))
_observation = array(whole, whole, flag, text)
_seen = array(whole, whole, text)
_known = array(whole, text, text)
_turn = either(array(whole, one_of(*WORDS)), array(whole, one_of(*ENDED), text), array(whole, one_of(ANSWERED), whole))
_charge = array(whole, text, maybe(text))
_charges = array(several(_charge, 0, MAX_CHARGES), several(_charge, 0, MAX_CHARGES))
_replacement = array(whole, maybe(text), one_of("payment", "subscription"))
_terms = (maybe(whole), maybe(text), maybe(text), maybe(whole), maybe(whole), maybe(text))
_former = (maybe(text), maybe(text), maybe(text), flag, whole)
_live = either(array(*_former, *_terms), array(*_former))

_subscription = (whole, whole, text, maybe(text), flag, whole, several(_plan, 1, MAX_PLANS))
_products = several(array(text, maybe(count)), 0, MAX_GOODS)
_ids = several(text, 0, MAX_GOODS)
_unpaid = array(whole, whole, text, maybe(whole), maybe(currency), _products, _ids, maybe(text))
_payment = (
    maybe(whole),
    maybe(currency),
    text,
    maybe(text),
    maybe(text),
    flag,
    _source,
    several(array(text, whole), 0, MAX_PERIODS),
    maybe(_note),
)
_card = array(whole, text, maybe(text), maybe(text), maybe(text), maybe(text))

_share = {
    "payment_count": count,
    "spent": pairs(total, currency),
    "first": maybe(_known),
    "base": maybe(array(whole, text, currency)),
    "last": maybe(_known),
    "method": maybe(_known),
    "has_lost_dispute": flag,
    "live": pairs(_live),
    "rest": maybe(either(array(text, *_former, *_terms), array(text, *_former))),
    "contact": array(maybe(text), maybe(text), maybe(text), maybe(text)),
    "metadata": pairs(scalar),
}
_SHARE: Final = members(_share, card=_card, more_active=array(count, several(text, 0, MAX_PRODUCTS)))

SHAPES: Final[dict[str, Shape]] = {
    "payment": either(array(*_payment, maybe(array(_products, _ids))), array(*_payment)),
    "refund": array(maybe(whole), maybe(currency), text, maybe(flag), _source),
    "charge": either(lambda value: _charges(value) and any(value), array(whole, text)),
    "unpaid": several(_unpaid, 1, MAX_UNPAID),
    "card": _card,
    "subscription": either(
        array(*_subscription, maybe(whole), maybe(text), several(_turn, 0, MAX_TURNS + 1), count),
        array(*_subscription, maybe(whole), maybe(text)),  # of earlier versions
        array(*_subscription),
    ),
    "change": several(_plan, 1, MAX_CHANGES),
    "trial": several(array(whole, whole), 1, MAX_TRIAL_ENDS),
    "replacement": several(_replacement, 1, MAX_REPLACEMENTS),
    "method": array(whole, whole, text),
    "activation": array(whole, text),
    "cancellation": several(_observation, 1, MAX_OBSERVATIONS),
    "dispute": array(text, one_of("dispute.lost", "dispute.accepted")),
    "identity": array(
        count,
        whole,
        maybe(digest),
        maybe(text),
        maybe(array(whole, whole, text, text)),
        maybe(_seen),
        maybe(_seen),
        maybe(_seen),
        maybe(_seen),
        pairs(array(whole, whole, scalar)),
    ),
    "event": array(whole),
    "forgotten": array(whole),
    "request": array(
        count,
        several(digest, 0, MAX_REQUESTS),
        several(array(count, maybe(text), maybe(text), digest), 0, MAX_PEOPLE),
    ),
    "shared": either(
        array(count, maybe(text), maybe(digest)),
        array(count, maybe(text), maybe(digest), one_of("id")),
    ),
    "share": array(count, maybe(_SHARE)),
    "person": array(count, whole, maybe(digest), several(text, 0, 10_000)),
    "state": array(count, text, count),
}
"""By kind."""


def fits(kind: str, fact: Any) -> bool:
    """Whether a decoded value is a fact of its kind; of a kind that this version does not know nothing is."""
    shape = SHAPES.get(kind)
    return shape is not None and shape(fact)
