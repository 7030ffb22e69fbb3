"""`dodo-cio dlq list|show|replay`: look at dead letters, and put them back."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from pipeline.cli.numbers import finite

if TYPE_CHECKING:
    from pipeline.deadletters.filters import Filter
    from pipeline.deadletters.letter import Place


class Stage(StrEnum):
    """The stage that gave up."""

    ingest = "ingest"
    transform = "transform"
    sink = "sink"


class Class(StrEnum):
    """Kinds of fault."""

    unreadable = "unreadable"
    unknown_type = "unknown-type"
    unmappable = "unmappable"
    refused = "refused"
    oversize = "oversize"
    undeliverable = "undeliverable"
    transform_failed = "transform-failed"


TIMES = "30m, 2h, 3d, 1w ago, or ISO 8601 (UTC)"

Stages = Annotated[
    Optional[list[Stage]],
    typer.Option("--stage", metavar="STAGE", help="Only of this stage: ingest, transform, sink. Repeatable."),
]
Classes = Annotated[
    Optional[list[Class]],
    typer.Option(
        "--class",
        metavar="CLASS",
        help="Only of this class: unreadable, unknown-type, unmappable, refused, oversize, undeliverable, "
        "transform-failed. Repeatable.",
    ),
]
Types = Annotated[
    Optional[list[str]],
    typer.Option("--type", metavar="TYPE", help="Only of this Dodo type; subscription.* fits several. Repeatable."),
]
Customers = Annotated[
    Optional[list[str]],
    typer.Option("--customer", metavar="ID", help="Only of this customer or person: id, key or address. Repeatable."),
]
Since = Annotated[Optional[str], typer.Option(metavar="TIME", help=f"Only what failed at or after: {TIMES}.")]
Until = Annotated[Optional[str], typer.Option(metavar="TIME", help="Only what failed before: the same forms.")]
Reveal = Annotated[bool, typer.Option("--reveal", help="Show addresses, names and other personal data.")]

GROUP_HELP = """Dead letters: what could not go on, why, and the way back.

`list` shows them, `show` shows one whole, `replay` puts the original records back to the start of the stage that
failed. None of them deletes anything: the topic's retention does that, and `dodo-cio forget --dead-letters` for one
customer.
"""


def register(app: typer.Typer) -> None:
    """Add the group."""
    group = typer.Typer(no_args_is_help=True, rich_markup_mode="markdown", help=GROUP_HELP)
    group.command("list")(list_letters)
    group.command("show")(show_letter)
    group.command("replay")(replay_letters)
    app.add_typer(group, name="dlq")


def list_letters(
    *,
    stage: Stages = None,
    class_: Classes = None,
    type_: Types = None,
    customer: Customers = None,
    since: Since = None,
    until: Until = None,
    only_open: Annotated[bool, typer.Option("--open", help="Leave out what was put back already.")] = False,
    limit: Annotated[
        Optional[int], typer.Option(min=1, help="Show the newest so many. [default: 50; with --json all]")
    ] = None,
    reveal: Reveal = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line, nothing else.")] = False,
) -> None:
    """List dead letters, the newest last, with their number by class.

    Addresses and names are masked unless `--reveal`. With `--json` and no `--limit` the letters come as they are read,
    in order within each partition of the topic. Exit code 0, also when there are none.

    **Examples**

    dodo-cio dlq list --since 2h

    dodo-cio dlq list --class unmappable --type "subscription.*" --open

    dodo-cio dlq list --customer cus_0NExampleCustomer0001 --reveal

    dodo-cio dlq list --json | jq -r .reason | sort | uniq -c | sort -rn
    """
    from pipeline.cli.dlq.listing import perform
    from pipeline.cli.preparation import prepare

    filter_ = _filter(stages=stage, classes=class_, types=type_, customers=customer, since=since, until=until)
    perform(prepare(), filter_, only_open=only_open, limit=limit, reveal=reveal, as_json=as_json)


def show_letter(
    place: Annotated[str, typer.Argument(metavar="PARTITION/OFFSET", help="Which one, as `list` shows it.")],
    *,
    reveal: Reveal = False,
    raw: Annotated[
        bool, typer.Option("--raw", help="Write the original value alone, byte for byte, to standard output.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """Show all of one dead letter: reason, headers, body, what became of it, and what a replay would do now.

    For what the transform gave up, it also says what the transform makes of it now, with the settings of this
    environment. Exit code 2 when there is no such letter.

    **Examples**

    dodo-cio dlq show 0/12

    dodo-cio dlq show 0/12 --reveal --json

    dodo-cio dlq show 0/12 --raw | dodo-cio explain -
    """
    from pipeline.cli.dlq.show import perform
    from pipeline.cli.preparation import prepare
    from pipeline.errors import InputError

    if raw and as_json:
        raise InputError("--raw and --json exclude each other")
    perform(prepare(), place, reveal=reveal, raw=raw, as_json=as_json)


def replay_letters(
    *,
    stage: Stages = None,
    class_: Classes = None,
    type_: Types = None,
    customer: Customers = None,
    since: Since = None,
    until: Until = None,
    offset: Annotated[
        Optional[list[str]],
        typer.Option("--offset", metavar="PARTITION/OFFSET", help="Only this letter, as `list` shows it. Repeatable."),
    ] = None,
    limit: Annotated[Optional[int], typer.Option(min=1, help="At most so many, the oldest. [default: all]")] = None,
    rate: Annotated[float, typer.Option(min=0.001, max=1_000_000, callback=finite, help="Letters a second.")] = 500.0,
    max_replays: Annotated[
        int, typer.Option(min=1, max=1000, help="Refuse what was put back so often already and died again.")
    ] = 3,
    again: Annotated[bool, typer.Option("--again", help="Put back also what was put back already.")] = False,
    include_forgotten: Annotated[
        bool, typer.Option("--include-forgotten", help="Put back also what would bring a forgotten person back.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be done, and change nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask; needed without a terminal.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as one JSON document.")] = False,
) -> None:
    """Put dead letters back to the start of the stage that failed: webhooks for transform, operations for sink.

    The original record goes back byte for byte, key and headers included; only `dlq-replays` grows. What was put back
    is noted in the dead-letter topic and left out the next time, so after Ctrl-C the same command goes on where it
    stopped. A letter that dies again is a new letter. The first Ctrl-C waits for what is on its way, a second does not.

    What the sink gave up goes to Customer.io as it is. So with the customers' state on, letters of the sink about what
    happened before their person was forgotten (`dodo-cio forget`) are refused; all of `dodo.customers` is read to know
    whom, if such letters are meant. A person who is another customer as well counts as forgotten, too.

    Exit codes: 0 all that was meant is back, 1 some were refused or failed, 2 something must be changed (or `--yes`
    is missing without a terminal), 130 stopped by Ctrl-C.

    **Examples**

    dodo-cio dlq replay --class unknown-type --dry-run

    dodo-cio dlq replay --stage sink --class undeliverable --since 1d --rate 50

    dodo-cio dlq replay --offset 0/12 --offset 2/7 --yes

    dodo-cio dlq replay --class unmappable --limit 1
    """
    from pipeline.cli.dlq.replay import ReplayOptions, perform
    from pipeline.cli.preparation import prepare
    from pipeline.deadletters.letter import Place

    places = frozenset(Place.parse(text) for text in offset or ())
    filter_ = _filter(
        stages=stage, classes=class_, types=type_, customers=customer, since=since, until=until, places=places
    )
    order = ReplayOptions(
        filter_,
        limit,
        rate,
        max_replays,
        again=again,
        include_forgotten=include_forgotten,
        dry_run=dry_run,
        yes=yes,
        as_json=as_json,
    )
    raise typer.Exit(perform(prepare(), order))


def _filter(
    *,
    stages: list[Stage] | None,
    classes: list[Class] | None,
    types: list[str] | None,
    customers: list[str] | None,
    since: str | None,
    until: str | None,
    places: frozenset[Place] = frozenset(),
) -> Filter:
    import time

    from pipeline.deadletters.filters import Filter
    from pipeline.deadletters.times import moment_ms
    from pipeline.errors import InputError

    now_ms = time.time_ns() // 1_000_000
    since_ms = moment_ms(since, now_ms) if since is not None else None
    until_ms = moment_ms(until, now_ms) if until is not None else None
    if since_ms is not None and until_ms is not None and since_ms >= until_ms:
        raise InputError(f"--since {since} is not before --until {until}: nothing can lie between")
    return Filter(
        stages=frozenset(map(str, stages or ())),
        classes=frozenset(map(str, classes or ())),
        types=tuple(types or ()),
        customers=frozenset(customers or ()),
        since_ms=since_ms,
        until_ms=until_ms,
        places=places,
    )
