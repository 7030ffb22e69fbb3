"""`dodo-cio explain`: webhooks in, the exact Customer.io operations out, offline."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Optional

import typer
from typer.core import TyperCommand

from pipeline.cli import screen
from pipeline.errors import InputError, UnreadableBodyError

if TYPE_CHECKING:
    from rich.console import Console

    from pipeline.transform.copies import Copy
    from pipeline.transform.explain import Explanation
    from pipeline.transform.journey import Journey
    from pipeline.transform.verdicts import MappedOperation

STDIN = Path("-")

MAX_BYTES = 4_000_000
"""Four times what ingest takes: a file beyond that is no webhook, and was given by mistake."""

COLOURS = {"operations": "green", "dropped": "yellow", "dead_letter": "red"}
WORDS = {"operations": "operations", "dropped": "dropped", "dead_letter": "dead letter"}


class BareSample(TyperCommand):
    """`--sample` without words lists the samples: click has no option whose value may be left out."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Give a bare `--sample` its empty value."""
        for index, argument in enumerate(args):
            if argument == "--sample" and (index + 1 == len(args) or args[index + 1].startswith("--")):
                args = [*args[: index + 1], "", *args[index + 1 :]]
                break
        return super().parse_args(ctx, args)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("explain", cls=BareSample)(explain)


def explain(
    *,
    files: Annotated[
        Optional[list[Path]],
        typer.Argument(
            metavar="FILE…|-",
            help="Webhooks as JSON, JSON lines or copies of a log, in their order; - reads standard input.",
            show_default=False,
        ),
    ] = None,
    sample: Annotated[
        Optional[str],
        typer.Option(
            metavar="WORDS", help="Explain a built-in sample instead, e.g. license, refund partial; alone: list them."
        ),
    ] = None,
    webhook_id: Annotated[
        Optional[str],
        typer.Option(metavar="ID", help="The webhook-id header; unset: a hash of the body stands in."),
    ] = None,
    mode: Annotated[
        Literal["live", "test"], typer.Option(help="Which endpoint's secret the webhook would match.")
    ] = "live",
    state: Annotated[
        bool, typer.Option("--state", help="Know the customer also with one webhook, as with several.")
    ] = False,
    rules: Annotated[
        Optional[Path],
        typer.Option(metavar="FILE", help="Rules that shape the operations, instead of PIPELINE_RULES."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")] = False,
) -> None:
    """Show what webhooks become: the exact operations, or why there are none. Offline.

    One webhook is explained by itself: where the customer's state would decide, a note says so. Several are a journey:
    they are taken in order with a state in memory, and the profiles at the end are shown. A webhook inside a log line
    or another wrapping is found, and where it was found is said. Settings (PIPELINE_PERSON_ID, …) are read from the
    environment. Exit code 0 also for a drop or a dead letter, which are answers; 2 when there is nothing to explain (no
    such file, not a webhook, no such sample).

    **Examples**

    dodo-cio explain --sample payment.succeeded

    dodo-cio explain --sample

    dodo-cio explain webhook.json --webhook-id msg_2mX4

    dodo-cio explain paid.json renewed.json cancelled.json

    curl -s localhost/last-webhooks.jsonl | dodo-cio explain - --json

    PIPELINE_CURRENCY_EXPONENTS=CLP=2 dodo-cio explain clp-payment.json

    dodo-cio explain --rules rules.yaml --sample payment.succeeded
    """
    import time

    from pipeline.settings import Settings
    from pipeline.transform.explain import explain as work_out
    from pipeline.transform.journey import Journey

    if sample == "" and not files:
        _list_samples(as_json=as_json)
        return
    identifier = webhook_id.encode("utf-8", "replace").decode().strip() if webhook_id is not None else None
    if identifier == "":
        raise InputError("--webhook-id is empty: give the header's value, or leave the option out")
    found = given(files, sample)
    settings, now_ms = Settings.load(**({} if rules is None else {"rules": rules})), time.time_ns() // 1_000_000
    if len(found) > 1 or state:
        if identifier is not None and len(found) > 1:
            raise InputError("--webhook-id names one webhook, and several were given")
        _journey(Journey(settings, mode=mode, now_ms=now_ms), found, identifier, as_json=as_json)
        return
    ((source, copy),) = found
    name = identifier or copy.webhook_id
    explanation = work_out(copy, settings, webhook_id=name, mode=mode, now_ms=now_ms)
    if as_json:
        _print_json(explanation.document())
    elif explanation.webhook_type is not None:
        _show(explanation, screen.output())
    if explanation.webhook_type is None:
        raise _unreadable(source, explanation)


def _unreadable(source: str, explanation: Explanation) -> UnreadableBodyError:
    return UnreadableBodyError(
        f"{source} is not a webhook: {explanation.reason}. The pipeline would keep it as a dead letter "
        "of class unreadable."
    )


def _list_samples(*, as_json: bool) -> None:
    from pipeline.dodo import samples

    if as_json:
        _print_json({"samples": list(samples.names())})
        return
    for name in samples.names():
        typer.echo(name)


def given(files: list[Path] | None, sample: str | None) -> list[tuple[str, Copy]]:
    """The webhooks that were given, each with where it came from."""
    from pipeline.transform.copies import Copy, copies

    if bool(files) == (sample is not None):
        raise InputError("give either files (- for standard input) or --sample WORDS; see dodo-cio explain --help")
    if sample is not None:
        from pipeline.dodo import samples

        meant = samples.find(sample)
        main = [name for name in meant if "--" not in name]
        name = meant[0] if len(meant) == 1 else main[0] if len(main) == 1 else sample
        if name != sample and samples.load(name):
            typer.echo(f"sample {name}", err=True)
        return [(f"sample {name}", Copy(samples.load(name)))]
    found = []
    for file in files or ():
        source = "standard input" if file == STDIN else str(file)
        found += [(f"{source}, {copy.place}" if copy.place else source, copy) for copy in copies(_read(file))]
    return found


def _read(file: Path) -> bytes:
    if file == STDIN:
        body = sys.stdin.buffer.read(MAX_BYTES + 1)
    else:
        try:
            with Path(str(file)).open("rb") as opened:
                body = opened.read(MAX_BYTES + 1)
        except OSError as error:
            raise InputError(f"{file} cannot be read: {error.strerror}") from None
    if len(body) > MAX_BYTES:
        raise InputError(f"{file} has over {MAX_BYTES:,} bytes: no webhook is that large")
    return body


def _journey(journey: Journey, found: list[tuple[str, Copy]], webhook_id: str | None, *, as_json: bool) -> None:
    """All of them in order, and the profiles at the end."""
    explanations = [(source, journey.feed(copy, webhook_id)) for source, copy in found]
    people = journey.people()
    if as_json:
        documents = [{"source": source, **explanation.document()} for source, explanation in explanations]
        _print_json({"webhooks": documents, "people": people})
    else:
        console = screen.output()
        for number, (source, explanation) in enumerate(explanations, 1):
            _show_step(number, source, explanation, console)
        _show_people(people, console)
    unreadable = [pair for pair in explanations if pair[1].webhook_type is None]
    if unreadable:
        raise _unreadable(*unreadable[0])


def _print_json(document: object) -> None:
    import orjson

    sys.stdout.write(orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode())


def _line(console: Console, label: str, value: str, style: str = "") -> None:
    screen.line(console, (f"{label:<11}", "dim"), (screen.safe(value), style), indent=11)


def _verdict(explanation: Explanation) -> str:
    word = WORDS[explanation.verdict]
    if explanation.class_ is not None:
        return f"{word}, {explanation.class_}"
    if explanation.code is not None:
        return f"{word}, {explanation.code}"
    count = len(explanation.operations)
    return f"{count} operation{'' if count == 1 else 's'}" if count else "nothing to send"


def _show_step(number: int, source: str, explanation: Explanation, console: Console) -> None:
    """One webhook of a journey, in a few lines."""
    title = f"{number}  {explanation.webhook_type or 'no webhook'}"
    where = f"{explanation.webhook_id} · {explanation.event_time or 'time unknown'} · {source}"
    if explanation.found_at is not None:
        where += f" · found at {explanation.found_at}"
    screen.line(console, (screen.safe(title), "bold"), (f"  {screen.safe(where)}", "dim"), indent=11)
    for operation in explanation.operations:
        what = f"event {operation.name}" if operation.kind == "event" else _kind_of(operation)
        _line(console, "   sends", what, "green")
    if not explanation.operations:
        _line(console, "   verdict", _verdict(explanation), COLOURS[explanation.verdict])
    if explanation.reason is not None:
        _line(console, "   reason", explanation.reason)
    for warning in explanation.warnings:
        _line(console, "   note", warning, "yellow")


def _show_people(people: list[dict[str, Any]], console: Console) -> None:
    import orjson

    for person in people:
        console.print()
        address = f" ({person['email']})" if person["email"] not in {None, person["person"]} else ""
        _line(console, "profile", f"{person['person']}{address}", "bold cyan")
        pretty = orjson.dumps(person["attributes"], option=orjson.OPT_INDENT_2).decode()
        screen.document(console, pretty)


def _kind_of(operation: MappedOperation) -> str:
    return {"identify": "profile update"}.get(operation.kind, operation.kind)


def _show(explanation: Explanation, console: Console) -> None:
    """The form for people; rich leaves colours out without a terminal and under NO_COLOR."""
    import orjson

    _line(console, "webhook", explanation.webhook_type or "", "bold")
    _line(console, "webhook-id", explanation.webhook_id)
    if explanation.found_at is not None:
        _line(console, "found at", explanation.found_at)
    _line(console, "event time", explanation.event_time or "unknown")
    _line(console, "kafka key", explanation.kafka_key)
    if explanation.shaped is not None:
        _line(console, "rules", f"version {explanation.shaped}")
    _line(console, "verdict", _verdict(explanation), f"bold {COLOURS[explanation.verdict]}")
    if explanation.reason is not None:
        _line(console, "reason", explanation.reason)
    for number, operation in enumerate(explanation.operations, start=1):
        title = f"{number}  {_kind_of(operation) if operation.name is None else f'{operation.kind} {operation.name}'}"
        details = [f"{len(operation.body):,} bytes"]
        details.insert(0, f"ULID {operation.op_id}" if operation.kind == "event" else "safe to repeat")
        if operation.barrier:
            details.append("sent first, this person's later operations wait")
        console.print()
        screen.line(console, (title, "bold cyan"), (f"  {' · '.join(details)}", "dim"), indent=3)
        pretty = orjson.dumps(orjson.loads(operation.body), option=orjson.OPT_INDENT_2).decode()
        screen.document(console, pretty)
    if explanation.warnings:
        console.print()
    for warning in explanation.warnings:
        _line(console, "note", warning, "yellow")
    if explanation.request is not None:
        request = explanation.request
        console.print()
        _line(console, "request", f"{request.method} {request.url} · {request.bytes:,} bytes")
