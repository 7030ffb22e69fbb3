"""`dodo-cio explain`: shows the exact operations that webhooks become; offline, unless the real state is asked for."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Optional

import typer
from typer.core import TyperCommand

from pipeline.cli import screen
from pipeline.cli.explain_screen import NO_BROKERS, Known, show, show_known, show_people, show_step
from pipeline.errors import InputError, SettingsError, UnreadableBodyError

if TYPE_CHECKING:
    from pipeline.settings import Settings
    from pipeline.transform.copies import Copy
    from pipeline.transform.explain import Explanation
    from pipeline.transform.journey import Journey
    from pipeline.transform.real_state import RealState

STDIN = Path("-")

MAX_BYTES = 4_000_000
"""Four times what ingest accepts: a larger file is no webhook, and was given by mistake."""


class BareSample(TyperCommand):
    """Lets `--sample` without words list the samples: click has no option whose value may be left out."""

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
        bool,
        typer.Option("--state", help="Begin with what the customers' topic knows of the webhooks' customers by now."),
    ] = False,
    rules: Annotated[
        Optional[Path],
        typer.Option(metavar="FILE", help="Rules that shape the operations, instead of PIPELINE_RULES."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")] = False,
) -> None:
    """Show what webhooks become: the exact operations, or why there are none. Offline, but for --state.

    One webhook is explained by itself: where the customer's state would decide, a note says so. Several are a journey:
    they are taken in order with a state in memory, and the profiles at the end are shown. A webhook inside a log line
    or another wrapping is found, and where it was found is said. Settings (PIPELINE_PERSON_ID, …) are read from the
    environment.

    With --state the journey begins with the real facts of the webhooks' customers, so that totals are real and what was
    sent already is said. They are read from their owners' partitions of the customers' topic, which can take a minute;
    no group is joined, nothing is committed or written. Where PIPELINE_KAFKA_BOOTSTRAP_SERVERS is not set, nobody is
    asked and nothing is known, which is said as well.

    Exit code 0 also for a drop or a dead letter, which are answers; 2 when there is nothing to explain (no
    such file, not a webhook, no such sample) or the state cannot be read; 1 when no broker answers.

    **Examples**

    dodo-cio explain --sample payment.succeeded

    dodo-cio explain --sample

    dodo-cio explain webhook.json --webhook-id msg_2mX4

    dodo-cio explain paid.json renewed.json cancelled.json

    dodo-cio explain webhook.json --state

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
        known = _real_state(settings, [copy for _, copy in found], mode=mode, now_ms=now_ms) if state else None
        store = None if known is None else known.store
        told = Known(settings.customers_topic, asked=state, state=known)
        _journey(Journey(settings, mode=mode, now_ms=now_ms, store=store), found, identifier, told, as_json=as_json)
        return
    ((source, copy),) = found
    name = identifier or copy.webhook_id
    explanation = work_out(copy, settings, webhook_id=name, mode=mode, now_ms=now_ms)
    if as_json:
        _print_json(explanation.document())
    elif explanation.webhook_type is not None:
        show(explanation, screen.output())
    if explanation.webhook_type is None:
        raise _unreadable(source, explanation)


def _real_state(settings: Settings, webhooks: list[Copy], *, mode: str, now_ms: int) -> RealState | None:
    """The facts of the webhooks' customers in the topic; None where no brokers are named."""
    import asyncio

    from pipeline.cli.preparation import prepare_logs
    from pipeline.cli.progress import share
    from pipeline.cli.stopping import INTERRUPTED
    from pipeline.interruption import until_told
    from pipeline.transform.real_state import read_state

    if not settings.state:
        raise SettingsError("PIPELINE_STATE=false: nothing is remembered of customers, leave --state out")
    if mode == "test":
        raise InputError("--state with --mode test: events of the test mode never touch the customers' state")
    if "kafka_bootstrap_servers" not in settings.model_fields_set:
        return None
    prepare_logs(settings)
    with share("Reading facts") as tell:
        try:
            return asyncio.run(until_told(read_state(settings, webhooks, now_ms=now_ms, told=tell)))
        except asyncio.CancelledError:
            raise typer.Exit(INTERRUPTED) from None


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
        screen.say(name)


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
            screen.say(f"sample {name}", err=True)
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


def _journey(
    journey: Journey, found: list[tuple[str, Copy]], webhook_id: str | None, known: Known, *, as_json: bool
) -> None:
    """Show what was known, all webhooks in order, and the profiles at the end."""
    explanations = [(source, journey.feed(copy, webhook_id)) for source, copy in found]
    people = journey.people()
    if as_json:
        documents = [{"source": source, **explanation.document()} for source, explanation in explanations]
        state = known.state
        customers = None if state is None else [customer.document() for customer in state.customers]
        began = None if customers is None else {"topic": known.topic, "customers": customers}
        if known.asked and began is None:
            screen.say(f"The state {NO_BROKERS}", err=True)
        _print_json({"state": began, "webhooks": documents, "people": people})
    else:
        console = screen.output()
        if known.asked:
            show_known(known, console)
        for number, (source, explanation) in enumerate(explanations, 1):
            show_step(number, source, explanation, console)
        show_people(people, console)
    unreadable = [pair for pair in explanations if pair[1].webhook_type is None]
    if unreadable:
        raise _unreadable(*unreadable[0])


def _print_json(document: object) -> None:
    import orjson

    sys.stdout.write(orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode())
