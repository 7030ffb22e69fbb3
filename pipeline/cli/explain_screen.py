"""Prints the results of `dodo-cio explain` for people; rich leaves colours out without a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from pipeline.cli import screen

if TYPE_CHECKING:
    from rich.console import Console

    from pipeline.transform.explain import Explanation
    from pipeline.transform.real_state import RealState
    from pipeline.transform.verdicts import MappedOperation

COLOURS: Final = {"operations": "green", "dropped": "yellow", "dead_letter": "red"}
WORDS: Final = {"operations": "operations", "dropped": "dropped", "dead_letter": "dead letter"}
NO_BROKERS: Final = "begins with nothing: PIPELINE_KAFKA_BOOTSTRAP_SERVERS is not set, so no topic was read"


class Known(NamedTuple):
    """What a journey began with; `state` is None if it was not asked for, or no brokers are named."""

    topic: str
    asked: bool
    state: RealState | None


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


def show_step(number: int, source: str, explanation: Explanation, console: Console) -> None:
    """Print one webhook of a journey, in a few lines."""
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


def show_known(known: Known, console: Console) -> None:
    """Print what the state knew before the first webhook."""
    import orjson

    from pipeline.transform.timestamps import iso

    if known.state is None:
        _line(console, "state", NO_BROKERS, "yellow")
        return
    for customer in known.state.customers:
        where = f"{known.topic}/{customer.partition}"
        if not customer.facts:
            _line(
                console, "state", f"nothing is known of {customer.id} in {where}: totals begin with nothing", "yellow"
            )
        elif customer.forgotten_s:
            at = iso(customer.forgotten_s * 1000)
            _line(console, "state", f"{customer.id} was forgotten at {at}: what happened before is dropped", "yellow")
        else:
            facts = f"{customer.facts} fact{'' if customer.facts == 1 else 's'}"
            _line(console, "state", f"{customer.id}, {facts} in {where}", "bold")
        if customer.attributes:
            screen.document(console, orjson.dumps(customer.attributes, option=orjson.OPT_INDENT_2).decode())
    if not known.state.customers:
        _line(console, "state", "no webhook names a customer: nobody was looked for", "yellow")


def show_people(people: list[dict[str, Any]], console: Console) -> None:
    import orjson

    for person in people:
        console.print()
        address = f" ({person['email']})" if person["email"] not in {None, person["person"]} else ""
        _line(console, "profile", f"{person['person']}{address}", "bold cyan")
        pretty = orjson.dumps(person["attributes"], option=orjson.OPT_INDENT_2).decode()
        screen.document(console, pretty)


def _kind_of(operation: MappedOperation) -> str:
    return {"identify": "profile update"}.get(operation.kind, operation.kind)


def show(explanation: Explanation, console: Console) -> None:
    """Print an explanation for people; rich leaves colours out without a terminal and with NO_COLOR."""
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
