"""`dodo-cio events`: lists what can be sent to Customer.io, from the mapping's own rows."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from pipeline.cli import screen

if TYPE_CHECKING:
    from rich.console import Console

    from pipeline.transform.mapping.reference import EventReference
    from pipeline.transform.mapping.vocabulary import Attribute

PROFILE = "profile"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("events")(events)


def events(
    type_: Annotated[
        Optional[str],
        typer.Argument(
            metavar="TYPE",
            help="An event, a Dodo type or words of either: everything about those. `profile`: a profile's attributes.",
            show_default=False,
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")] = False,
) -> None:
    """List the events that can be sent: when, with which attributes, for which campaign. Offline.

    Names are those of PIPELINE_EVENT_NAME_STYLE. Exit code 2 when nothing is called so.

    **Examples**

    dodo-cio events

    dodo-cio events payment_completed

    dodo-cio events trial

    dodo-cio events profile --json
    """
    from pipeline.settings import Settings
    from pipeline.transform.mapping.events import title_of
    from pipeline.transform.mapping.reference import event_references

    if type_ is not None and type_.strip().lower() == PROFILE:
        _profile(as_json=as_json)
        return
    titled = Settings.load().event_name_style == "title"
    name_of = title_of if titled else str
    found = event_references() if type_ is None else _found(type_)
    if as_json:
        _print_json({"events": [_document(reference, name_of(reference.event)) for reference in found]})
        return
    console = screen.output()
    if type_ is None:
        _list(console, [(name_of(reference.event), reference) for reference in found])
    else:
        for number, reference in enumerate(found):
            if number:
                console.print()
            _show(console, name_of(reference.event), reference)


def _found(words: str) -> tuple[EventReference, ...]:
    """The events that match `words`: by name, by type, or all that have each word in either."""
    import difflib

    from pipeline.errors import InputError
    from pipeline.transform.mapping.reference import event_references

    references = event_references()
    wanted = words.strip().lower()
    name = "_".join(wanted.replace(".", " ").replace("_", " ").replace("-", " ").split())
    exact = tuple(one for one in references if wanted in {when.type for when in one.when})
    exact = exact or tuple(one for one in references if one.event == name)
    if exact:
        return exact
    parts = name.split("_")
    said = {one: f"{one.event} {' '.join(when.type for when in one.when)}" for one in map(_Named, references)}
    alike = tuple(one.reference for one, text in said.items() if name and all(part in text for part in parts))
    if alike:
        return alike
    near = difflib.get_close_matches(name, [one.event for one in references], n=3, cutoff=0.4)
    hint = f"did you mean {', '.join(near)}? " if near else ""
    raise InputError(f"no event is called {words!r}; {hint}dodo-cio events lists all")


class _Named:
    """A reference that is compared by identity: its attributes cannot be hashed."""

    def __init__(self, reference: EventReference) -> None:
        self.reference = reference
        self.event = reference.event
        self.when = reference.when


def _list(console: Console, references: list[tuple[str, EventReference]]) -> None:
    rows = [
        (name, ", ".join(dict.fromkeys(when.type for when in reference.when)), ", ".join(reference.campaigns))
        for name, reference in references
    ]
    if not screen.columns(console, ("event", "when Dodo sends", "campaigns"), rows):
        for name, types, campaigns in rows:
            screen.line(console, (name, "bold"), f"  {types}", (f"  {campaigns}", "dim"), indent=4)
    text = (
        f"\n{len(references)} events. dodo-cio events NAME shows conditions and attributes, dodo-cio events profile "
        "what profiles carry; docs/campaigns.md has the campaigns."
    )
    screen.line(console, (text, "dim"))


def _show(console: Console, name: str, reference: EventReference) -> None:
    console.print(name, style="bold cyan")
    types: dict[tuple[str, str], list[str]] = {}
    for when in reference.when:
        types.setdefault((when.condition, when.key), []).append(when.type)
    for (condition, key), of in types.items():
        words = {"": "always", "else": "otherwise"}.get(condition, condition)
        screen.line(console, f"  when      {', '.join(of)}: {words}", indent=12)
        screen.line(console, f"  once for  {key}", indent=12)
    if reference.campaigns:
        screen.line(console, f"  campaign  {', '.join(reference.campaigns)}", indent=12)
    _attributes(console, reference.attributes)


def _attributes(console: Console, attributes: dict[str, Attribute]) -> None:
    import orjson

    rows = []
    for name, attribute in attributes.items():
        example = attribute.example if isinstance(attribute.example, str) else orjson.dumps(attribute.example).decode()
        rows += [(called, attribute.form, example, attribute.says) for called in attribute.named(name)]
    if not screen.columns(console, ("attribute", "type", "example", "tells"), rows):
        for called, form, example, says in rows:
            screen.line(console, "  ", (called, "bold"), (f"  {form}  ", "dim"), example, indent=4)
            screen.line(console, f"    {says}", indent=4)


def _profile(*, as_json: bool) -> None:
    from pipeline.transform.mapping.vocabulary import BY_CURRENCY, METADATA, PROFILE

    attributes = {**PROFILE, "total_spent_usd": BY_CURRENCY, "metadata_plan_tier": METADATA}
    if as_json:
        _print_json({"profile": _listed(attributes)})
        return
    _attributes(screen.output(), attributes)


def _document(reference: EventReference, name: str) -> dict[str, Any]:
    return {
        "event": name,
        "when": [when._asdict() for when in reference.when],
        "campaigns": list(reference.campaigns),
        "attributes": _listed(reference.attributes),
    }


def _listed(attributes: dict[str, Attribute]) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "names": list(attribute.named(name)),
            "type": attribute.form,
            "example": attribute.example,
            "tells": attribute.says,
        }
        for name, attribute in attributes.items()
    ]


def _print_json(document: dict[str, Any]) -> None:
    import orjson

    sys.stdout.write(orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode())
