"""`dodo-cio preview`: shows what new rules would change about what is sent, on webhooks that came."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Optional

import typer

from pipeline.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console

    from pipeline.preview.preview import Previewed, Wanted
    from pipeline.settings import Settings
    from pipeline.transform.policy import Policy

TIMES: Final = "30m, 2h, 3d, 1w ago, or ISO 8601 (UTC)"
DEFAULT_LAST: Final = 1000
CHANGED: Final = 3
"""Exit code: something would change. 1 and 2 are those of errors."""

COLOURS: Final = {"newly-fails": "bold red", "fails-otherwise": "red", "no-longer-fails": "green"}


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("preview")(preview)


def preview(
    *,
    rules: Annotated[
        Optional[Path], typer.Option(metavar="FILE", help="The candidate, in place of PIPELINE_RULES.")
    ] = None,
    transform: Annotated[
        Optional[str],
        typer.Option(metavar="MODULE:FUNCTION", help="A candidate in place of PIPELINE_TRANSFORM."),
    ] = None,
    javascript: Annotated[
        Optional[Path], typer.Option(metavar="FOLDER", help="A candidate in place of PIPELINE_JAVASCRIPT.")
    ] = None,
    last: Annotated[
        Optional[int],
        typer.Option(
            min=1, metavar="N", help="The newest N records, evenly from all partitions.", show_default=str(DEFAULT_LAST)
        ),
    ] = None,
    since: Annotated[Optional[str], typer.Option(metavar="TIME", help=f"What came since instead: {TIMES}.")] = None,
    types: Annotated[
        Optional[list[str]],
        typer.Option("--type", metavar="TYPE", help="Compare this type of Dodo's alone; may be given again."),
    ] = None,
    empty_state: Annotated[
        bool, typer.Option("--empty-state", help="Know nobody at the first record: the customers' topic is not read.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")] = False,
) -> None:
    """Compare what candidates would send with what is sent now, on real webhooks.

    Reads `dodo.webhooks` and decides each record twice: with what the settings name (without rules: the default
    mapping), and with the candidate. Joins no group, commits and writes nothing, asks nobody but the brokers.
    Addresses, names and other personal data are masked.

    With PIPELINE_STATE both begin with a copy in memory of what `dodo.customers` knows of the span's customers, without
    what the span itself told, so that totals are real. That topic is read whole for it, which can take minutes;
    --empty-state does without: then totals are those of the span.

    Exit code 0 when nothing would change; 3 when something would; 2 for a wrong argument, setting or file of rules; 1
    when the brokers do not answer.

    **Examples**

    dodo-cio preview --rules new.yaml

    dodo-cio preview --rules new.yaml --since 7d --type payment.succeeded

    dodo-cio preview --transform shop.events:shape --last 5000 --json
    """
    import asyncio

    from pipeline.cli.preparation import prepare
    from pipeline.cli.stopping import INTERRUPTED
    from pipeline.interruption import until_told
    from pipeline.preview.document import document
    from pipeline.transform.policy import Policy

    named = {"rules": rules, "transform": transform, "javascript": javascript}
    given = {name: value for name, value in named.items() if value is not None}
    if not given:
        raise InputError("give a candidate: --rules FILE, --transform MODULE:FUNCTION or --javascript FOLDER")
    wanted = _wanted(last, since, types or [])
    settings = prepare()
    current = Policy.of(settings)
    candidate = Policy.of(settings.model_copy(update=given))
    _check_types(wanted.types, current, candidate)
    try:
        found = asyncio.run(until_told(_read(settings, current, candidate, wanted, past=not empty_state)))
    except asyncio.CancelledError:
        raise typer.Exit(INTERRUPTED) from None
    whole = document(found, wanted, current, candidate)
    if as_json:
        import orjson

        sys.stdout.write(orjson.dumps(whole, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode())
    else:
        _print(whole)
    if found.report.changed:
        raise typer.Exit(CHANGED)


def _wanted(last: int | None, since: str | None, types: list[str]) -> Wanted:
    import time

    from pipeline.deadletters.times import moment_ms
    from pipeline.preview.preview import Wanted

    if last is not None and since is not None:
        raise InputError("give either --last or --since")
    since_ms = None if since is None else moment_ms(since, int(time.time() * 1000))
    return Wanted(None if since_ms is not None else last or DEFAULT_LAST, since_ms, frozenset(types))


def _check_types(types: Any, current: Policy, candidate: Policy) -> None:
    from pipeline.dodo.catalogue import TYPES
    from pipeline.transform.shaping.rules.document import meant

    shapers = (current.shaper, candidate.shaper)
    known = {*TYPES, *(type_ for one in shapers if one is not None for type_ in one.claims)}
    for type_ in sorted(types):
        if type_ not in known:
            raise InputError(f"--type {type_!r} is no type of Dodo's{meant(type_, sorted(known))}")


async def _read(settings: Settings, current: Policy, candidate: Policy, wanted: Wanted, *, past: bool) -> Previewed:
    from contextlib import contextmanager

    from pipeline.cli.progress import STEP, share
    from pipeline.preview.preview import Step
    from pipeline.preview.preview import preview as read

    @contextmanager
    def progress(step: Step) -> Iterator[Callable[[int, int], None]]:
        shown = 0
        with share(step) as tell:

            def told(done: int, total: int) -> None:
                nonlocal shown
                if done - shown >= STEP or done == total:
                    shown = done
                    tell(done, total)

            yield told

    return await read(settings, current, candidate, wanted, progress=progress, past=past)


def _print(whole: dict[str, Any]) -> None:
    from pipeline.cli.screen import line, output, visible

    console = output()
    records, state = whole["records"], whole["state"]
    line(console, (visible(f"{whole['current'] or 'the default mapping'} → {whole['candidate']}"), "bold"))
    counts = f"{records['read']:,} records read, {records['compared']:,} compared, {records['changed']:,} would change"
    line(console, counts + ("" if state["known"] else ", without the customers' state"))
    if state["customers"]:
        line(console, f"{state['customers']:,} customers known before, by {state['facts']:,} facts")
    if records["unreadable"]:
        line(console, f"{records['unreadable']:,} of them cannot be read under any rules")
    if not state["complete"]:
        line(console, ("? too many customers for memory: some of them are taken for new ones", "yellow"))
    if state["begun_anew"]:
        line(console, (f"? too many facts for memory: the state began anew {state['begun_anew']} times", "yellow"))
    if not records["compared"]:
        line(console, "Nothing to compare: read more with --last or --since.")
    for name, one in whole["types"].items():
        if one["changed"]:
            kinds = ", ".join(f"{kind} {count:,}" for kind, count in one["kinds"].items())
            line(console, (visible(name), "bold"), f": {one['changed']:,} of {one['webhooks']:,}: {kinds}", indent=2)
    for change in whole["changes"]:
        console.print()
        _print_change(console, change)
    if whole["uncounted"]:
        line(console, f"{whole['uncounted']:,} more changes are counted by type alone")


def _print_change(console: Console, change: dict[str, Any]) -> None:
    import orjson

    from pipeline.cli.screen import cell, line, visible

    names = " → ".join(dict.fromkeys(cell(one) for one in (change["event"], change["becomes"]) if one))
    title = f"  {change['type']}  {names}".rstrip()
    head = (change["kind"], COLOURS.get(change["kind"], "bold cyan"))
    line(console, head, title, (f"  {change['count']:,}", "bold"), indent=2)
    if (failure := change["failure"]) is not None:
        where = f" ({failure['field']})" if failure["field"] else ""
        line(console, visible(f"  {failure['class']}: {failure['reason']}{where}"), indent=4)
    for name, fates in change["attributes"].items():
        counts = ", ".join(f"{fate} {count:,}" for fate, count in fates.items())
        line(console, f"  {cell(name)}: {counts}", indent=4)
    for sample in change["samples"]:
        line(console, (f"  {cell(sample['webhook_id'])}  {visible(sample['place'])}", "dim"), indent=4)
        for sign, style, side in (("-", "red", "before"), ("+", "green", "after")):
            body = sample[side]
            if body is not None:
                shown = orjson.dumps(_shown(body, change)).decode()
                line(console, (visible(f"    {sign} {shown}"), style), indent=6)


def _shown(body: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    """The part of an operation that changes; the whole operation if only one side has it."""
    if change["kind"] == "event-renamed":
        return {"name": body.get("name")}
    if not change["attributes"]:
        return body
    names = {name.removeprefix(".") for name in change["attributes"]}
    held = body if change["kind"] == "operation-changed" else body.get("attributes") or {}
    return {name: value for name, value in held.items() if name in names}
