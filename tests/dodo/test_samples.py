"""The sample bodies."""

from __future__ import annotations

import orjson
import pytest

from pipeline.dodo import samples
from pipeline.dodo.envelope import parse
from pipeline.errors import InputError


@pytest.mark.parametrize("name", samples.names())
def test_each_sample_is_a_compact_webhook(name: str) -> None:
    """Every sample is readable, in the compact form that the wire carries, with the type that its name begins with."""
    body = samples.load(name)
    assert body == orjson.dumps(orjson.loads(body))
    if not name.startswith("unknown."):
        assert parse(body).type == name.partition("--")[0]


def test_an_unknown_name_is_answered_with_the_closest() -> None:
    """A typing error gets a suggestion, not a traceback."""
    with pytest.raises(InputError, match=r"payment\.succeeded"):
        samples.load("payment.suceeded")


@pytest.mark.parametrize("name", ["", "../catalogue", "payment.succeeded.json", "/etc/passwd"])
def test_names_are_no_paths(name: str) -> None:
    """Nothing outside the samples can be named."""
    with pytest.raises(InputError):
        samples.load(name)
