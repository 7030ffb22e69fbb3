"""`dodo-cio explain`: one webhook in, the exact Customer.io operations out, offline."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Optional

import typer

from pipeline.errors import InputError, UnreadableBodyError

if TYPE_CHECKING:
    from rich.console import Console

    from pipeline.transform.explain import Explanation

STDIN = Path("-")

MAX_BYTES = 4_000_000
"""Four times what ingest takes: a file beyond that is no webhook, and was given by mistake."""

COLOURS = {"operations": "green", "dropped": "yellow", "dead_letter": "red"}
WORDS = {"operations": "operations", "dropped": "dropped", "dead_letter": "dead letter"}

# What a terminal would obey instead of show: C0, DEL and C1 controls, bidirectional overrides.
CONTROLS = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("explain")(explain)


def explain(
    file: Annotated[
        Optional[Path],
        typer.Argument(metavar="FILE|-", help="A webhook body as JSON; - reads standard input.", show_default=False),
    ] = None,
    sample: Annotated[
        Optional[str],
        typer.Option(metavar="TYPE", help="Explain a built-in sample of this type instead, e.g. payment.succeeded."),
    ] = None,
    webhook_id: Annotated[
        Optional[str],
        typer.Option(metavar="ID", help="The webhook-id header; unset: a hash of the body stands in."),
    ] = None,
    mode: Annotated[
        Literal["live", "test"], typer.Option(help="Which endpoint's secret the webhook would match.")
    ] = "live",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")] = False,
) -> None:
    """Show what one webhook becomes: the exact operations, or why there are none. Offline.

    Settings (PIPELINE_PERSON_ID, PIPELINE_CURRENCY_EXPONENTS, …) are read from the environment. Where the customer's
    state would decide, a warning says so. Exit code 0 also for a drop or a dead letter, which are answers; 2 when there
    is nothing to explain (no such file, not a webhook, no such sample).

    **Examples**

    dodo-cio explain --sample payment.succeeded

    dodo-cio explain webhook.json --webhook-id msg_2mX4

    curl -s localhost/last-webhook | dodo-cio explain - --json

    PIPELINE_CURRENCY_EXPONENTS=CLP=2 dodo-cio explain clp-payment.json
    """
    from pipeline.settings import Settings
    from pipeline.transform.explain import explain as work_out

    body = _read(file, sample)
    identifier = webhook_id.encode("utf-8", "replace").decode().strip() if webhook_id is not None else None
    if identifier == "":
        raise InputError("--webhook-id is empty: give the header's value, or leave the option out")
    explanation = work_out(body, Settings.load(), webhook_id=identifier, mode=mode)
    if as_json:
        import orjson

        document = orjson.dumps(explanation.document(), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
        sys.stdout.write(document.decode())
    elif explanation.webhook_type is not None:
        from rich.console import Console

        _show(explanation, Console(highlight=False))
    if explanation.webhook_type is None:
        source = "standard input" if file == STDIN else file
        raise UnreadableBodyError(
            f"{source} is not a webhook: {explanation.reason}. The pipeline would keep it as a dead letter "
            "of class unreadable."
        )


def _read(file: Path | None, sample: str | None) -> bytes:
    if (file is None) == (sample is None):
        raise InputError("give either a file (- for standard input) or --sample TYPE; see dodo-cio explain --help")
    if sample is not None:
        from pipeline.dodo.samples import load

        return load(sample)
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


def _show(explanation: Explanation, console: Console) -> None:
    """The form for people; rich leaves colours out without a terminal and under NO_COLOR."""
    import orjson
    from rich.json import JSON
    from rich.text import Text

    def line(label: str, value: str, style: str = "") -> None:
        console.print(
            Text.assemble((f"{label:<11}", "dim"), (CONTROLS.sub("\N{REPLACEMENT CHARACTER}", value), style)),
            soft_wrap=True,
        )

    line("webhook", explanation.webhook_type or "", "bold")
    line("webhook-id", explanation.webhook_id)
    line("event time", explanation.event_time or "unknown")
    line("kafka key", explanation.kafka_key)
    word = WORDS[explanation.verdict]
    if explanation.class_ is not None:
        word = f"{word}, {explanation.class_}"
    elif explanation.operations:
        word = f"{len(explanation.operations)} operation{'s' if len(explanation.operations) > 1 else ''}"
    line("verdict", word, f"bold {COLOURS[explanation.verdict]}")
    if explanation.reason is not None:
        line("reason", explanation.reason)
    for number, operation in enumerate(explanation.operations, start=1):
        what = operation.kind if operation.name is None else f"{operation.kind} {operation.name}"
        title = f"{number}  {what}"
        details = [f"{len(operation.body):,} bytes"]
        details.insert(0, f"ULID {operation.op_id}" if operation.kind == "event" else "no id: it can be repeated")
        if operation.barrier:
            details.append("barrier: accepted before the person's next operations are sent")
        console.print()
        console.print(Text.assemble((title, "bold cyan"), (f"  {' · '.join(details)}", "dim")), soft_wrap=True)
        pretty = orjson.dumps(orjson.loads(operation.body), option=orjson.OPT_INDENT_2).decode()
        console.print(JSON(CONTROLS.sub("\N{REPLACEMENT CHARACTER}", pretty)), soft_wrap=True)
    if explanation.warnings:
        console.print()
    for warning in explanation.warnings:
        line("warning", warning, "yellow")
    if explanation.request is not None:
        request = explanation.request
        console.print()
        line("request", f"{request.method} {request.url} · {request.bytes:,} bytes")
