"""The reference of events says what the golden cases send, to the attribute and its form."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from pipeline.transform.mapping.campaigns import CAMPAIGNS
from pipeline.transform.mapping.further import FURTHER
from pipeline.transform.mapping.reference import event_references
from pipeline.transform.mapping.table import TABLE
from pipeline.transform.mapping.vocabulary import BY_CURRENCY, EVENT, METADATA, PROFILE, Attribute

DATA = Path(__file__).parents[2] / "data" / "mapping"
CASES = sorted(DATA.rglob("*.json"))
REFERENCES = {reference.event: reference for reference in event_references()}

FORMS: dict[str, tuple[type, ...]] = {
    "text": (str,),
    "whole": (int,),
    "flag": (bool,),
    "list": (list,),
    "seconds": (int,),
    "scalar": (str, int, float, bool),
}


def forms(attributes: dict[str, Attribute]) -> dict[str, tuple[type, ...]]:
    """The types of each name under which these attributes go out."""
    found: dict[str, tuple[type, ...]] = {}
    for name, attribute in attributes.items():
        for sent in attribute.named(name):
            if attribute.form in FORMS:
                found[sent] = FORMS[attribute.form]
            elif sent == name:
                found[sent] = (str,)
            else:
                found[sent] = (int,) if sent.endswith(("_minor", "_unix")) else (int, float)
    return found


def check(sent: dict[str, Any], known: dict[str, Attribute], *, may_be_null: bool) -> None:
    """Every attribute is known, and of its form."""
    types = forms(known)
    for name, value in sent.items():
        if name.startswith("metadata_"):
            assert isinstance(value, FORMS[METADATA.form])
            continue
        if name.startswith("total_spent_") and name not in types:
            types |= forms({"_".join(name.split("_")[:3]): BY_CURRENCY})
        assert name in types, name
        if value is None:
            assert may_be_null, name
        else:
            assert type(value) in types[name], (name, value)


@pytest.mark.parametrize("path", CASES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_whatever_is_sent_is_in_the_reference(path: Path) -> None:
    """No event and no profile carries what a marketer cannot look up."""
    expected = orjson.loads(path.read_bytes())["expect"]
    for operation in expected.get("operations", ()):
        sent = operation["body"].get("attributes", {})
        if operation["kind"] == "event":
            reference = REFERENCES[operation["name"]]
            known = reference.attributes | {"dodo_mode": EVENT["dodo_mode"]}
            check(sent, known, may_be_null=False)
        else:
            check(sent, dict(PROFILE), may_be_null=True)


def test_every_event_of_the_table_is_in_the_reference() -> None:
    """And those that stand beside others; nothing else."""
    told = {row.event for _, rows in TABLE.values() for row in rows if row.event is not None}
    assert set(REFERENCES) == told | set(FURTHER)
    for reference in REFERENCES.values():
        assert reference.when
        assert all(when.key for when in reference.when)


def test_every_word_is_used() -> None:
    """An attribute that no event carries is not in the vocabulary; `dodo_mode` is in test mode only."""
    used = {name for reference in REFERENCES.values() for name in reference.attributes}
    assert set(EVENT) - used == {"dodo_mode"}


def test_campaigns_start_from_what_there_is() -> None:
    """Twelve, each by an event of the table or a date of the profile, in unix seconds."""
    assert len(CAMPAIGNS) == 12
    dates = {f"{name}_unix" for name, attribute in PROFILE.items() if attribute.form == "date"}
    for campaign in CAMPAIGNS:
        assert bool(campaign.events) != bool(campaign.dates)
        assert set(campaign.events) <= set(REFERENCES)
        assert set(campaign.dates) <= dates


def test_examples_are_of_their_form() -> None:
    """What is shown as an example could be sent."""
    for known in (dict(EVENT), dict(PROFILE)):
        for name, attribute in known.items():
            types = FORMS.get(attribute.form, (str,))
            assert type(attribute.example) in types, name
            assert attribute.says
