"""`dodo-cio dlq show`: shows all of one dead letter."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import orjson
from rich.console import Console
from rich.text import Text

from pipeline.cli import screen
from pipeline.cli.screen import output, visible
from pipeline.deadletters.advice import ADVICE
from pipeline.deadletters.document import details
from pipeline.deadletters.envelope import CLASSES
from pipeline.deadletters.letter import Letter, Place, read_letter
from pipeline.deadletters.masking import mask_text, private_in
from pipeline.deadletters.reader import open_letter_reader
from pipeline.deadletters.receipts import PutBack
from pipeline.deadletters.replay import DEFAULT_MAX_REPLAYS, Refused, Targets, decide
from pipeline.deadletters.survey import read_history
from pipeline.kafka.records import Record
from pipeline.settings import Settings

LABELS = {
    "reason": "reason",
    "field": "field",
    "status": "status",
    "source": "source",
    "attempts": "attempts",
    "replays": "replays",
    "key": "key",
    "type": "type",
    "customer": "customer",
    "name": "name",
    "email": "email",
}


def perform(settings: Settings, place_text: str, *, reveal: bool, raw: bool, as_json: bool) -> None:
    """Print the letter at `place_text`.

    Raises:
        InputError: there is none.
    """
    record, put_back = asyncio.run(_read(settings, Place.parse(place_text)))
    if raw:
        sys.stdout.buffer.write(record.value or b"")
        return
    letter = read_letter(record)
    document = details(record, letter, put_back, reveal=reveal)
    now = _now(settings, record, letter)
    document["now"] = now if reveal or now is None else mask_text(now, private_in(record.value))
    document["replay"] = _replay(settings, record, letter, put_back)
    document["advice"] = next((ADVICE[class_] for class_ in CLASSES if class_ == letter.class_), None)
    if as_json:
        text = orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode()
        sys.stdout.write(text)
    else:
        _print(document, settings, output())


async def _read(settings: Settings, place: Place) -> tuple[Record, PutBack]:
    async with open_letter_reader(settings) as reader:
        record = await reader.letter_at(place)
        letter = read_letter(record)
        # A receipt may lie before the letter in its own partition, too: of the same letter, written once before.
        history = await read_history(reader, await reader.since(letter.at_ms))
        return record, history.of(letter.identity)


def _now(settings: Settings, record: Record, letter: Letter) -> str | None:
    """What the transform would make of the letter now; None for letters of other stages."""
    if letter.stage != "transform":
        return None
    from pipeline.transform.decision import decide as decide_webhook
    from pipeline.transform.mapping import map_webhook
    from pipeline.transform.policy import Policy
    from pipeline.transform.verdicts import DeadLettered, Dropped, Operations, SentOn

    match decide_webhook(record, Policy.of(settings), map_webhook).verdict:
        case Operations(operations=operations):
            names = ", ".join(o.kind if o.name is None else f"{o.kind} {o.name}" for o in operations)
            return f"{len(operations)} operation{'' if len(operations) == 1 else 's'}: {names}"
        case Dropped(reason=code, text=text):
            return f"dropped, {code}: {text}"
        case DeadLettered(class_=class_, reason=reason):
            return f"a dead letter again, {class_}: {reason}"
        case SentOn(partition=partition):
            return f"sent on to its customer's partition {partition}"


def _replay(settings: Settings, record: Record, letter: Letter, put_back: PutBack) -> str:
    targets = Targets(settings.webhooks_topic, settings.operations_topic)
    match decide(record, letter, targets, max_replays=DEFAULT_MAX_REPLAYS, put_back=put_back.times):
        case Refused(reason=reason):
            return f"refused: {reason}"
        case back:
            again = " (with --again: it was put back already)" if put_back.times else ""
            unless = ", unless its person was forgotten since" if letter.stage == "sink" and settings.state else ""
            return f"to {back.topic}{again}{unless}"


def _print(document: dict[str, Any], settings: Settings, console: Console) -> None:
    def line(label: str, value: object, style: str = "") -> None:
        screen.line(console, (f"{label:<10}", "dim"), (visible(str(value)), style), indent=10)

    line("letter", f"{document['letter']} of {settings.dead_letters_topic}", "bold")
    line("failed", f"{document['at']} at {document['stage'] or '? (it has no header dlq-stage)'}")
    line("class", document["class"] or "?", "bold red")
    for name, label in LABELS.items():
        if document[name] is not None:
            line(label, document[name])
    times = document["put_back"]
    often = "once" if times == 1 else f"{times} times, last"
    line("put back", f"{often} at {document['put_back_at']}" if times else "never")
    line("replay", document["replay"])
    if document["now"] is not None:
        line("now", document["now"], "yellow")
    if document["advice"] is not None:
        line("advice", document["advice"])
    console.print()
    console.print(Text("headers", "bold cyan"))
    for name, value in document["headers"]:
        screen.line(console, (f"  {visible(name)}: ", "dim"), visible("null" if value is None else value), indent=4)
    console.print()
    console.print(Text(f"body, {document['bytes']:,} bytes", "bold cyan"))
    if "body" in document:
        pretty = orjson.dumps(document["body"], option=orjson.OPT_INDENT_2).decode()
        screen.document(console, pretty)
    elif (text := document.get("text") or document.get("base64")) is not None:
        screen.line(console, screen.safe(text))
    elif document["bytes"]:
        console.print("  no JSON object, so nobody can tell what in it is personal: --reveal shows it")
