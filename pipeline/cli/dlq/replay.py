"""`dodo-cio dlq replay`: plans, asks for confirmation, puts letters back, reports."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, replace

import orjson
import typer
from rich.console import Console

from pipeline.cli.progress import bar, reading, share
from pipeline.cli.screen import cell, columns, line, output
from pipeline.deadletters.filters import Filter
from pipeline.deadletters.forgotten import Lookout, Telling
from pipeline.deadletters.letter import Letter
from pipeline.deadletters.plan import Plan, ReplayRules
from pipeline.deadletters.reader import open_letter_reader
from pipeline.deadletters.receipts import History
from pipeline.deadletters.replay import Targets
from pipeline.deadletters.replayer import Replayer
from pipeline.deadletters.report import Report
from pipeline.deadletters.survey import chosen, make_plan, read_history
from pipeline.errors import InputError, PipelineError
from pipeline.kafka.cluster.topic_reader import Span
from pipeline.kafka.cluster.topics import check_topics
from pipeline.kafka.producer.producer import BatchProducer
from pipeline.kafka.records import Record
from pipeline.settings import Settings

INTERRUPTED = 130
"""The exit code that a shell reports for a program that Ctrl-C ended (128 + SIGINT)."""


@dataclass(frozen=True, slots=True)
class ReplayOptions:
    """The options of the command."""

    filter: Filter
    limit: int | None
    rate: float
    max_replays: int
    again: bool
    include_forgotten: bool
    dry_run: bool
    yes: bool
    as_json: bool


@dataclass(frozen=True, slots=True)
class ReplaySurvey:
    """The plan, what was put back before, and how far the topic was read for both."""

    plan: Plan
    history: History
    spans: dict[int, Span]


def perform(settings: Settings, order: ReplayOptions) -> int:
    """Run the replay; return the exit code.

    Raises:
        InputError: there is no terminal to confirm on and `yes` was not given, or a place has no letter.
        PipelineError: the topics or the brokers fail; what was put back until then has its receipts.
    """
    if not (order.yes or order.dry_run or sys.stdin.isatty()):
        raise InputError("without a terminal nobody can be asked: add --yes, or --dry-run to see what would be done")
    survey = asyncio.run(_survey(settings, order))
    plan = survey.plan
    talk = Console(stderr=True, highlight=False) if order.as_json else output()
    report = Report(plan, dry_run=order.dry_run)
    if not (order.as_json and (order.yes or order.dry_run)):
        _print_plan(plan, order, talk)
    if plan.count and not order.dry_run:
        if not (order.yes or _agreed(plan, order)):
            talk.print("Nothing was put back.")
            return 1
        _carry_out(settings, order, survey, report, talk)
    if order.as_json:
        sys.stdout.write(
            orjson.dumps(report.document(), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode()
        )
    if report.error is not None:
        raise report.error
    if report.interrupted:
        return INTERRUPTED
    return 0 if report.ok else 1


async def _survey(settings: Settings, order: ReplayOptions) -> ReplaySurvey:
    targets = Targets(settings.webhooks_topic, settings.operations_topic)
    async with open_letter_reader(settings) as reader:
        for place in sorted(order.filter.places):
            await reader.letter_at(place)
        spans = await reader.since(order.filter.since_ms)
        total = sum(span.length for span in spans.values())
        lookout = Lookout(order.filter)
        with reading(total) as told:
            history = await read_history(reader, spans, told, also=lookout.hear)
        rules = ReplayRules(order.filter, targets, order.max_replays, order.again, order.limit)
        if lookout.found and settings.state and not order.include_forgotten:
            rules = await _heeding_marks(settings, rules)
        with reading(total) as told:
            plan = await make_plan(reader, rules, history, doomed=_doomed(settings), told=told)
    if plan.count:
        await check_topics(settings, {line.topic for line in plan.lines})
    return ReplaySurvey(plan, history, dict(reader.spans))


async def _heeding_marks(settings: Settings, rules: ReplayRules) -> ReplayRules:
    """The rules, with those about people who were forgotten by the marks in the customers' topic."""
    from pipeline.transform.customers.marks import read_marks

    with share("Reading who was forgotten") as told:
        marks = await read_marks(settings, told)

    def is_forgotten(telling: Telling) -> bool:
        return marks.cover(telling.people, telling.at_ms)

    return replace(rules, is_forgotten=is_forgotten, came_back=marks.came_back)


def _doomed(settings: Settings) -> Callable[[Record, Letter], bool]:
    """A function that returns whether the transform would give a letter up again, with these settings."""
    from pipeline.statestore.store import MemoryStore
    from pipeline.transform.decision import decide
    from pipeline.transform.mapping import map_webhook
    from pipeline.transform.policy import Policy
    from pipeline.transform.verdicts import DeadLettered

    policy = Policy.of(settings)

    def doomed(record: Record, letter: Letter) -> bool:
        # An empty state: only the worker knows what is known of the customer.
        store = MemoryStore() if settings.state else None
        return letter.stage == "transform" and isinstance(
            decide(record, policy, map_webhook, store).verdict, DeadLettered
        )

    return doomed


def _print_plan(plan: Plan, order: ReplayOptions, console: Console) -> None:
    if plan.count:
        headers = ("letters", "stage", "class", "type", "go back to")
        rows = [(f"{count:,}", *map(cell, place)) for place, count in plan.lines.items()]
        if not columns(console, headers, rows):
            for count, stage, class_, type_, topic in rows:
                line(console, f"{count}  {stage}, {class_}: {type_}, to {topic}", indent=4)
        console.print()

    def say(text: str, style: str = "") -> None:
        line(console, (text, style), indent=2)

    say(f"{_letters(plan.count)} to put back" if plan.count else "No letter to put back")
    if plan.done:
        say(f"{_letters(plan.done)} left out: put back already (--again puts them back once more)")
    if plan.repeated:
        say(f"{_letters(plan.repeated)} left out: another letter is about the same record")
    if plan.beyond:
        say(f"{_letters(plan.beyond)} left for later: beyond --limit {order.limit}")
    for reason, refusals in plan.refusals.items():
        places = ", ".join(map(str, refusals.places)) + (", …" if refusals.count > len(refusals.places) else "")
        say(f"{_letters(refusals.count)} refused: {reason}: {places}", "yellow")
    if plan.doomed:
        say(
            f"{_letters(plan.doomed)} would become dead letters again, with the settings of this environment and this "
            "version: see `dodo-cio dlq show`",
            "yellow",
        )


def _agreed(plan: Plan, order: ReplayOptions) -> bool:
    took_s = plan.count / order.rate
    about = f"{took_s:,.0f} s" if took_s < 120 else f"{took_s / 60:,.0f} min"  # noqa: PLR2004 - two minutes
    return typer.confirm(f"Put {_letters(plan.count)} back at {order.rate:g} a second, about {about}?", err=True)


def _carry_out(settings: Settings, order: ReplayOptions, survey: ReplaySurvey, report: Report, talk: Console) -> None:
    try:
        asyncio.run(_put_back(settings, order, survey, report, talk))
    except PipelineError as error:
        report.error = error
    except (KeyboardInterrupt, asyncio.CancelledError):
        report.interrupted = True
    for text in report.sentences():
        line(talk, text, indent=2)


async def _put_back(
    settings: Settings, order: ReplayOptions, survey: ReplaySurvey, report: Report, talk: Console
) -> None:
    plan, history = survey.plan, survey.history
    topics = [settings.dead_letters_topic, *sorted({line.topic for line in plan.lines})]
    partitions = await check_topics(settings, topics)
    producer = BatchProducer(settings)
    async with open_letter_reader(settings) as reader:
        since = {number: Span(span.end, reader.spans[number].end) for number, span in survey.spans.items()}
        await read_history(reader, since, known=history)
        await producer.start()
        try:
            await producer.prime(*topics)
            with bar("Putting back", plan.count) as told:
                replayer = report.replayer = Replayer(
                    producer, settings.dead_letters_topic, partitions=partitions, per_second=order.rate, told=told
                )
                with _stopping(replayer, talk):
                    async with aclosing(chosen(reader, plan, history)) as letters:
                        await replayer.run(letters)
        finally:
            await producer.stop()
    report.interrupted = replayer.stopped and report.left > 0


@contextmanager
def _stopping(replayer: Replayer, talk: Console) -> Iterator[None]:
    """The first signal stops after the chunk in flight, the second at once."""
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()

    def stop() -> None:
        if replayer.stopped and task is not None:
            task.cancel()
            return
        replayer.stop()
        if replayer.in_flight:
            talk.print(f"Stopping; waiting for {_letters(replayer.in_flight)} on the way (Ctrl-C again: do not wait)")

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)
    try:
        yield
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


def _letters(count: int) -> str:
    return f"{count:,} letter{'' if count == 1 else 's'}"
