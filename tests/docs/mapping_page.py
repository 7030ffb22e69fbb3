"""docs/mapping.md: what each of Dodo's types becomes, written from the rows and attribute tables that decide it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import groupby
from typing import Final

import orjson

from pipeline.dodo.catalogue import RETIRED, TYPES, Family
from pipeline.transform.mapping import ReferenceRow, reference_rows
from pipeline.transform.mapping.campaigns import CAMPAIGNS
from pipeline.transform.mapping.reference import COMMON, EventReference, event_references
from pipeline.transform.mapping.rows import ALWAYS, NO_EVENT, WEBHOOK_ID
from pipeline.transform.mapping.table import FAMILIES
from pipeline.transform.mapping.vocabulary import BY_CURRENCY, EVENT, METADATA, PROFILE, Attribute, Form

TYPE_WORDS: Final[Mapping[Form, str]] = {
    "text": "text",
    "whole": "whole number",
    "flag": "true or false",
    "list": "list",
    "money": "amount",
    "date": "date",
    "quantity": "quantity",
    "seconds": "unix seconds",
    "scalar": "text, number or true/false",
}

FAMILY_TITLES: Final[Mapping[Family, str]] = {
    Family.PAYMENT: "Payments",
    Family.SUBSCRIPTION: "Subscriptions",
    Family.REFUND: "Refunds",
    Family.DISPUTE: "Disputes",
    Family.DUNNING: "Dunning and win-back",
    Family.ABANDONED_CHECKOUT: "Abandoned checkouts",
    Family.LICENSE_KEY: "Licence keys",
    Family.ENTITLEMENT_GRANT: "Entitlement grants",
    Family.CREDIT: "Credits",
    Family.PAYOUT: "Payouts",
}

INTRODUCTION: Final = """\
<!-- Written by `make docs` from pipeline/transform/mapping: change the rows there, not this page. -->

# What each webhook becomes

Dodo Payments sends {types} types of webhook. This page says for each of them which event Customer.io gets, when, with
which attributes, and what the profile shows. It is written from the code that decides, and a test fails when the two
differ. `dodo-cio events` prints the same in a terminal; `dodo-cio explain` shows what one webhook of yours becomes.
[campaigns.md](campaigns.md) has twelve campaigns built from these events.

## How to read it

**Events** are called as below, or in title case (`Payment Completed`) with `PIPELINE_EVENT_NAME_STYLE=title`. An
attribute is only there when Dodo sends it or it is known; nothing is invented.

**Amounts** come in three forms. `payment_amount` is text to print (`"49.00"`, in JPY `"4900"`),
`payment_amount_value` a number to compare, `payment_amount_minor` the integer that Dodo sent. Decimals are those of the
currency (ISO 4217). Where the currency is missing or unknown only the integer is sent.

**Dates** come in two: the text as Dodo sent it, and `…_unix` in seconds, which conditions and date triggers want.
**Quantities** (credits) come in two: text, and `…_value` as a number.

**When.** The rows of a type are read from the top, and the first that holds decides. "state" means the customers'
state, which is on unless `PIPELINE_STATE=false`; rows marked "stateless" hold without it.

**Once for** names the fact that an event stands for. Whatever Dodo sends about the same fact, however often, is one
event at Customer.io: the event's id is made from it. `webhook-id` means that each webhook is a fact of its own (a
repeated delivery of it is not).

**Profile.** Every webhook that names a customer also updates the profile when something changed, before its event.
`{no_event}` in the table below is a webhook that does only that. [Who a person is](identity.md) says which profile.

**Superseded.** Dodo repeats a webhook for 27.6 hours, with the data of the repetition. An event whose object says by
then that something newer is true carries `superseded: true`; filter on it wherever a mail asks for something.

**Dropped** webhooks send nothing. A type that is not on this page becomes a dead letter (`unknown-type`), which can be
replayed after an upgrade. Also dropped: test-mode webhooks (unless `PIPELINE_FORWARD_TEST_MODE=true`), and the fixed
examples that Dodo's dashboard sends under a live secret.
"""

_MARKUP: Final = re.compile(r"[|\n]")


def mapping_page() -> str:
    """The whole page."""
    references = event_references()
    parts = [INTRODUCTION.format(types=len(TYPES), no_event=NO_EVENT), _glance(references)]
    parts += [_common(references)]
    parts += [_family(family, references) for family in FAMILIES]
    parts += [_profile()]
    return "\n".join(parts).rstrip("\n") + "\n"


def _glance(references: Sequence[EventReference]) -> str:
    starts = {campaign.name: number for number, campaign in enumerate(CAMPAIGNS, 1)}
    campaigns = {reference.event: reference.campaigns for reference in references}
    lines = []
    for type_, rows in _by_type():
        events = [row.event for row in rows if row.event in campaigns]
        events += [one.event for one in references if one.event not in events and type_ in {w.type for w in one.when}]
        named = ", ".join(f"`{event}`" for event in dict.fromkeys(events))
        told = dict.fromkeys(name for event in events for name in campaigns[event])
        links = ", ".join(f"[{name}](campaigns.md#{_slug(f'{starts[name]}. {name}')})" for name in told)
        if type_ in RETIRED:
            continue
        title = FAMILY_TITLES[TYPES[type_]]
        lines.append((f"[`{type_}`](#{_slug(title)})", named or "none", links))
    return f"## The {len(lines)} types\n\n" + _table(("Dodo sends", "events", "campaigns"), lines)


def _common(references: Sequence[EventReference]) -> str:
    attributes = {name: references[0].attributes[name] for name in COMMON}
    attributes |= {"dodo_mode": EVENT["dodo_mode"], "metadata_plan_tier": METADATA}
    return "## On every event\n\n" + _table(("attribute", "type", "example", "what it says"), _lines(attributes))


def _family(family: Family, references: Sequence[EventReference]) -> str:
    mine = [one for one in references if one.when[0].type.startswith(f"{family}.")]
    rows = [row for row in reference_rows() if row.type.startswith(f"{family}.")]
    parts = [f"## {FAMILY_TITLES[family]}\n", _rows(rows, mine), *_without_state(rows)]
    if mine:
        parts.append(_attributes(mine))
    return "\n".join(parts)


def _rows(rows: Iterable[ReferenceRow], references: Iterable[EventReference]) -> str:
    lines = []
    for row in rows:
        sends = bool(row.key)
        note = f" (now `{RETIRED[row.type]}`)" if row.type in RETIRED else ""
        event = f"`{row.event}`" if sends else row.event
        lines.append((f"`{row.type}`{note}", _when(row.condition), event, _once(row.key) if sends else ""))
    told = {line[2].strip("`") for line in lines}
    for reference in references:
        if reference.event not in told:
            types = ", ".join(f"`{when.type}`" for when in reference.when)
            when = reference.when[0]  # the same for all
            lines.append((types, when.condition, f"`{reference.event}`", _once(when.key)))
    return _table(("Dodo sends", "when", "event", "once for"), lines)


def _when(condition: str) -> str:
    return {ALWAYS: "always", "else": "otherwise"}.get(condition, condition)


def _once(key: str) -> str:
    return "webhook-id" if key == WEBHOOK_ID else ", ".join(f"`{part}`" for part in key.split(", "))


def _without_state(rows: Iterable[ReferenceRow]) -> Iterator[str]:
    told: dict[str, list[str]] = {}
    for row in rows:
        if row.state:
            types = told.setdefault(row.state, [])
            if row.type not in types:
                types.append(row.type)
    if told:
        yield "What the customers' state decides or adds:\n"
        yield "".join(f"- {', '.join(f'`{type_}`' for type_ in types)}: {words}.\n" for words, types in told.items())


def _attributes(references: Sequence[EventReference]) -> str:
    attributes: dict[str, Attribute] = {}
    carriers: dict[str, list[str]] = {}
    for reference in references:
        for name, attribute in reference.attributes.items():
            if name not in COMMON:
                attributes.setdefault(name, attribute)
                carriers.setdefault(name, []).append(reference.event)
    lines = [
        (*line, _carried(carriers[name], references))
        for name, attribute in attributes.items()
        for line in _lines({name: attribute})
    ]
    title = "Their attributes, beside those [on every event](#on-every-event):\n\n"
    if len(references) == 1:
        return title + _table(("attribute", "type", "example", "what it says"), [line[:4] for line in lines])
    return title + _table(("attribute", "type", "example", "what it says", "on"), lines)


def _carried(events: Sequence[str], references: Sequence[EventReference]) -> str:
    others = [reference.event for reference in references if reference.event not in events]
    if not others:
        return "all"
    if len(others) < len(events):
        return "all but " + ", ".join(f"`{event}`" for event in others)
    return ", ".join(f"`{event}`" for event in events)


def _profile() -> str:
    attributes = {**PROFILE, "total_spent_usd": BY_CURRENCY, "metadata_plan_tier": METADATA}
    return (
        "## On the profile\n\nThe one subscription that a profile shows is the best one: active before past due, on "
        "hold, paused and ended; of\nequals the newest. All active ones are in `active_product_ids`.\n\n"
        + _table(("attribute", "type", "example", "what it says"), _lines(attributes))
    )


def _lines(attributes: Mapping[str, Attribute]) -> list[tuple[str, str, str, str]]:
    return [
        (
            "<br>".join(f"`{form}`" for form in attribute.named(name)),
            TYPE_WORDS[attribute.form],
            "<br>".join(f"`{orjson.dumps(example).decode()}`" for example in examples(attribute)),
            attribute.says,
        )
        for name, attribute in attributes.items()
    ]


def examples(attribute: Attribute) -> list[object]:
    """An example of each form of the attribute, in the order of their names."""
    written = attribute.example
    match attribute.form:
        case "money":
            return [written, float(str(written)), int(str(written).replace(".", ""))]
        case "date":
            return [written, int(datetime.fromisoformat(str(written)).timestamp())]
        case "quantity":
            return [written, int(str(written))]
        case _:
            return [written]


def _by_type() -> Iterator[tuple[str, list[ReferenceRow]]]:
    for type_, rows in groupby(reference_rows(), key=lambda row: row.type):
        yield type_, list(rows)


def _slug(title: str) -> str:
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def _table(titles: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    rows = [titles, ["---"] * len(titles), *lines]
    return "".join(f"| {' | '.join(_MARKUP.sub(_escaped, cell) for cell in row)} |\n" for row in rows)


def _escaped(found: re.Match[str]) -> str:
    return "\\|" if found[0] == "|" else " "
