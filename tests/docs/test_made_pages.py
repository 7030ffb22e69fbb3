"""Pages and pictures that are made from something else are of today."""

from __future__ import annotations

from collections.abc import Callable

import orjson
import pytest

from pipeline.dodo.catalogue import TYPES
from pipeline.settings import Settings
from pipeline.transform.mapping.reference import event_references
from pipeline.transform.mapping.vocabulary import CREDIT_AMOUNT, EVENT, PROFILE
from tests.docs.drawings import DOCS, SOURCES, demo_picture, mark
from tests.docs.mapping_page import examples
from tests.docs.pages import MADE
from tests.docs.settings_page import SECTIONS

MAPPING = (DOCS / "mapping.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(("name", "make"), MADE.items(), ids=MADE)
def test_the_page_is_of_today(name: str, make: Callable[[], str]) -> None:
    """What the code says now; else `make docs`."""
    assert (DOCS / name).read_text(encoding="utf-8") == make()


@pytest.mark.parametrize(("picture", "source"), SOURCES.items(), ids=SOURCES)
def test_the_picture_is_of_its_text(picture: str, source: str) -> None:
    """Drawn since its source changed last; else `make docs`."""
    assert mark(DOCS / source) in (DOCS / picture).read_text(encoding="utf-8")


def test_the_demo_looks_like_its_picture() -> None:
    """The picture shows what `dodo-cio demo` prints today of the run that is kept."""
    drawn = demo_picture(orjson.loads((DOCS / "demo.json").read_bytes()))
    assert drawn.strip() in (DOCS / "demo.svg").read_text(encoding="utf-8")


@pytest.mark.parametrize("picture", SOURCES)
def test_a_picture_asks_nobody_else(picture: str) -> None:
    """No font, style or image of another site."""
    text = (DOCS / picture).read_text(encoding="utf-8")
    assert "@import" not in text
    assert "url(http" not in text.replace('"', "").replace(" ", "")


def test_every_type_is_on_the_page() -> None:
    """All of Dodo's types, each in the list and in its family's table."""
    assert [type_ for type_ in TYPES if f"| [`{type_}`](#" not in MAPPING or f"| `{type_}` |" not in MAPPING] == []


def test_every_event_and_attribute_is_on_the_page() -> None:
    """Under every name that it has."""
    sent = {
        form
        for known in (*(reference.attributes for reference in event_references()), PROFILE)
        for name, attribute in known.items()
        for form in attribute.named(name)
    }
    events = {reference.event for reference in event_references()}
    assert {name for name in sent | events if f"`{name}`" not in MAPPING} == set()


@pytest.mark.parametrize("attribute", [*EVENT.values(), *PROFILE.values(), CREDIT_AMOUNT], ids=str)
def test_each_form_has_its_example(attribute: object) -> None:
    """As many examples as names."""
    assert len(examples(attribute)) == len(attribute.named("x"))  # type: ignore[arg-type, attr-defined]


def test_examples_of_an_amount_and_a_date() -> None:
    """The same amount and the same moment in each form."""
    assert examples(EVENT["payment_amount"]) == ["46.65", 46.65, 4665]
    assert examples(EVENT["next_billing"]) == ["2026-11-14T08:21:58Z", 1794644518]


def test_sections_of_the_settings_begin_with_settings() -> None:
    """A renamed setting takes its section along."""
    assert set(SECTIONS) <= set(Settings.model_fields)
    assert next(iter(SECTIONS)) == next(iter(Settings.model_fields))
