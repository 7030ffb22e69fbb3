"""`dodo-cio trace`: follows a webhook, a payment's webhooks, or a customer's."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any, Final, Optional

import typer

from pipeline.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console

    from pipeline.settings import Settings
    from pipeline.trace.search import Found
    from pipeline.trace.wanted import Kind, Wanted

TIMES: Final = "30m, 2h, 3d, 1w ago, or ISO 8601 (UTC)"
DEFAULT_SINCE: Final = "3d"
"""Dodo tries for 27.6 hours, and events of more than 72 hours start no campaign: what people ask about is younger."""

DEFAULT_LIMIT: Final = 50
WELL: Final = frozenset({"accepted", "dropped", "nothing-new"})
NOTHING: Final = 1
STEP: Final = 500
"""Records between two updates of the bar."""

COLOURS: Final = {
    "accepted": "green", "dropped": "cyan", "nothing-new": "cyan", "waits": "yellow", "unknown": "yellow",
    "dead-letter": "red",
}  # fmt: skip


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("trace")(trace)


def trace(
    *,
    webhook_id: Annotated[
        Optional[str], typer.Option("--webhook-id", metavar="ID", help="Its `webhook-id` header, as Dodo shows it.")
    ] = None,
    payment_id: Annotated[
        Optional[str], typer.Option("--payment-id", metavar="ID", help="All webhooks that name this payment.")
    ] = None,
    customer: Annotated[
        Optional[str], typer.Option(metavar="ID", help="All webhooks about this customer: Dodo's id, or the address.")
    ] = None,
    since: Annotated[
        str, typer.Option(metavar="TIME", help=f"Only what was received at or after: {TIMES}.")
    ] = DEFAULT_SINCE,
    until: Annotated[Optional[str], typer.Option(metavar="TIME", help="Only what was received before.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="The newest so many webhooks.")] = DEFAULT_LIMIT,
    bodies: Annotated[bool, typer.Option("--bodies", help="Show each operation as it is sent.")] = False,
    reveal: Annotated[bool, typer.Option("--reveal", help="Show addresses, names and other personal data.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")] = False,
) -> None:
    """Follow webhooks through all topics: received when, mapped to what, accepted or why not.

    Reads `dodo.webhooks` and the dead letters since `--since`, and the operations that the webhooks found there caused.
    Joins no group, commits and writes nothing. Why a webhook caused nothing is decided again, by the transform's own
    function with these settings over the customer's webhooks in that time. That an operation was accepted is concluded
    from the sink's committed offset.

    Exit code 0 when everything found was accepted or had nothing to tell; 1 when something failed, waits or is unknown,
    and when nothing was found; 2 for a wrong argument or setting.

    **Examples**

    dodo-cio trace --webhook-id msg_2abcExample

    dodo-cio trace --payment-id pay_0NExamplePayment0001 --since 2w

    dodo-cio trace --customer jane@example.com --json
    """
    import asyncio
    import time

    from pipeline.cli.preparation import prepare
    from pipeline.cli.stopping import INTERRUPTED
    from pipeline.deadletters.times import moment_ms, written
    from pipeline.interruption import until_told

    wanted = _wanted(webhook_id=webhook_id, payment_id=payment_id, customer=customer)
    now_ms = int(time.time() * 1000)
    since_ms = moment_ms(since, now_ms)
    until_ms = None if until is None else moment_ms(until, now_ms)
    if until_ms is not None and until_ms <= since_ms:
        raise InputError("--until lies before --since: nothing can be between them")
    settings = prepare()
    try:
        found = asyncio.run(until_told(_search(settings, wanted, since_ms, until_ms, limit)))
    except asyncio.CancelledError:
        raise typer.Exit(INTERRUPTED) from None
    documents, unknown = _told(found, settings, reveal=reveal)
    if as_json:
        import orjson

        span = {"since": written(since_ms), "until": None if until_ms is None else written(until_ms)}
        whole = {"wanted": {wanted.kind: wanted.value}, **span, "webhooks": documents, "unknown": unknown}
        sys.stdout.write(orjson.dumps(whole, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode())
    else:
        _print(documents, unknown, wanted, since=written(since_ms), bodies=bodies)
    if not documents or any(one["fate"] not in WELL for one in documents):
        raise typer.Exit(NOTHING)


def _wanted(*, webhook_id: str | None, payment_id: str | None, customer: str | None) -> Wanted:
    from pipeline.trace.wanted import Wanted

    asked: tuple[tuple[Kind, str | None], ...] = (
        ("webhook-id", webhook_id),
        ("payment-id", payment_id),
        ("customer", customer),
    )
    given = [Wanted(kind, value.strip()) for kind, value in asked if value is not None]
    if len(given) != 1 or not given[0].value:
        raise InputError("give one of --webhook-id, --payment-id and --customer, and not an empty one")
    return given[0]


async def _search(settings: Settings, wanted: Wanted, since_ms: int, until_ms: int | None, limit: int) -> Found:
    from pipeline.cli.progress import share
    from pipeline.trace.search import search

    with share("Reading") as tell:

        def told(_: str, done: int, total: int) -> None:
            if not done % STEP:
                tell(done, total)

        return await search(settings, wanted, since_ms=since_ms, until_ms=until_ms, limit=limit, told=told)


def _told(found: Found, settings: Settings, *, reveal: bool) -> tuple[list[dict[str, Any]], list[str]]:
    from pipeline.trace.again import Decider
    from pipeline.trace.assembly import stories
    from pipeline.trace.document import document

    decider = Decider(settings)
    told = [document(one, reveal=reveal) for one in stories(found, settings, decider)]
    return told, [*found.unknown, *([decider.fault] if decider.fault else [])]


def _print(documents: list[dict[str, Any]], unknown: list[str], wanted: Wanted, *, since: str, bodies: bool) -> None:
    from pipeline.cli.screen import line, output, visible

    console = output()
    for number, one in enumerate(documents):
        if number:
            console.print()
        _print_one(console, one, bodies=bodies)
    for text in unknown:
        line(console, (visible(f"? {text}"), "yellow"), indent=2)
    if not documents:
        line(console, (visible(f"Nothing of {wanted} was received since {since}."), "bold"))
        line(
            console,
            "Look further back with --since, as far as the topic's retention goes. What ingest refused (a wrong "
            "signature, a body that is too large) lies in no topic: its log and `dodo_cio_ingest_requests_total` "
            "count it, and Dodo's dashboard has the attempts and their answers.",
        )


def _print_one(console: Console, one: dict[str, Any], *, bodies: bool) -> None:
    from rich.text import Text

    from pipeline.cli import screen
    from pipeline.cli.screen import cell, visible

    def line(text: Text, indent: int = 2, hang: int = 2) -> None:
        screen.line(console, " " * indent, text, indent=indent + hang)

    colour = COLOURS[one["fate"]]
    title = " ".join(filter(None, (cell(one["type"] or "no webhook"), one["mode"], cell(one["customer"] or ""))))
    line(Text.assemble((visible(one["webhook_id"]), "bold"), f"  {visible(title)}"), 0)
    line(Text.assemble((one["fate"], f"bold {colour}"), visible(f": {one['reason']}" if one["reason"] else "")))
    for step in one["steps"]:
        at = (step["at"] or "")[:23].replace("T", " ")
        place = f"  {step['place']}" if step["place"] else ""
        line(
            Text.assemble((f"{at:<23}  ", "dim"), visible(f"{step['stage']}: {step['what']}"), (visible(place), "dim")),
            hang=25,
        )
    for operation in one["operations"]:
        name = " ".join(filter(None, (operation["kind"], operation["name"])))
        why = f": {operation['reason']}" if operation["reason"] else ""
        line(
            Text.assemble(
                (visible(name), "bold"), "  ", (operation["fate"], COLOURS[operation["fate"]]), visible(why),
                (visible(f"  {operation['place']}"), "dim"),
            ),
            4,
        )  # fmt: skip
        if bodies:
            import orjson

            line(Text(visible(orjson.dumps(operation["body"]).decode()), style="dim"), 6)
    for text in one["advice"]:
        line(Text(visible(f"→ {text}")))
