"""A private field is private however its name is spelt."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.deadletters.masking import mask_body, private_words

SPELLINGS: tuple[Callable[[list[str]], str], ...] = (
    "_".join,
    "-".join,
    ".".join,
    " ".join,
    "".join,
    lambda words: "_".join(words).upper(),
    lambda words: "-".join(words).upper(),
    lambda words: "".join(words).upper(),
    lambda words: "-".join(word.capitalize() for word in words),
    lambda words: "".join(word.capitalize() for word in words),
    lambda words: words[0] + "".join(word.capitalize() for word in words[1:]),
    lambda words: words[0] + "".join(word.upper() for word in words[1:]),
    lambda words: f"_{'__'.join(words)}",
)

PRIVATE = (
    "email", "e mail", "email address", "customer email", "phone", "phone number", "telephone", "mobile",
    "mobile number", "fax", "name", "first name", "last name", "middle name", "full name", "surname", "user name",
    "display name", "profile name", "card holder", "card holder name", "street", "street 2", "line 1", "address",
    "address line 2", "shipping address", "city", "billing city", "state", "zip", "zip code", "postal code",
    "post code", "billing postal code", "tax id", "vat id", "vat number", "card last four", "last 4",
    "last four digits", "card number", "card exp month", "exp year", "expiry month", "cvc", "iban", "account number",
    "key", "license key", "licence key", "api key", "access key", "token", "access token", "password",
    "user password", "passphrase", "client secret", "authorization", "cookie", "date of birth", "birth date",
    "birthday", "ssn", "passport", "passport number", "cancellation comment", "comment", "comments", "remarks",
    "instructions", "ip", "ip address", "client ip",
)  # fmt: skip

SHOWN = (
    "product name", "plan name", "credit name", "meter name", "file name", "event name", "feature name", "brand name",
    "discount name", "product id", "customer id", "payment id", "created at", "amount", "currency", "country",
    "payment method", "card network", "card type", "description", "input tokens", "tokens used", "status",
    "failure category", "next billing date", "expires at", "license key id", "is first payment", "mobile app version",
)  # fmt: skip


@given(st.sampled_from(PRIVATE), st.sampled_from(SPELLINGS), st.text("Jane Do", min_size=2).filter(str.strip))
def test_every_spelling_of_a_private_name(name: str, spelt: Callable[[list[str]], str], text: str) -> None:
    """The value of a private field is hidden, and its words are in other fields, in whatever case its name is."""
    body = {"metadata": {spelt(name.split()): text}}
    (shown,) = mask_body(body)["metadata"].values()
    assert shown in {"[email]", "[phone]", "[name]", "[private]"}
    assert private_words(body) == (text.strip(),) or len(text.strip()) < 2


@given(st.sampled_from(PRIVATE), st.data())
def test_any_case_of_letters(name: str, data: st.DataObject) -> None:
    """Nor does it matter which letters are large."""
    key = "".join(data.draw(st.sampled_from([one.lower(), one.upper()])) for one in name.replace(" ", "_"))
    (shown,) = mask_body({key: "Jane Doe"}).values()
    assert shown != "Jane Doe"


@pytest.mark.parametrize("spelt", SPELLINGS)
@pytest.mark.parametrize("name", SHOWN)
def test_what_an_operator_needs(name: str, spelt: Callable[[list[str]], str]) -> None:
    """Names of things, ids, amounts and times stay, spelt as they may be."""
    body = {spelt(name.split()): "Team"}
    assert mask_body(body) == body


def test_letters_of_full_width() -> None:
    """Letters that only look otherwise are the same letters."""
    wide = "".join(chr(ord(one) + 0xFEE0) for one in "firstName")
    assert mask_body({wide: "Jane"}) == {wide: "[name]"}
