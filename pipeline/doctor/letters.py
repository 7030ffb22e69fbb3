"""Counts dead letters by class, with the command that puts them back."""

from __future__ import annotations

from collections import Counter
from contextlib import aclosing

from pipeline.deadletters.reader import open_letter_reader
from pipeline.deadletters.survey import letters, read_history
from pipeline.doctor.findings import Finding
from pipeline.kafka.cluster.topic_reader import Span
from pipeline.settings import Settings

NEWEST = 20_000
"""How many of the newest letters are read: a topic of millions takes minutes, and `dlq list` can do that."""


async def dead_letters(settings: Settings) -> list[Finding]:
    """The dead letters that were not put back yet."""
    classes: Counter[tuple[str, str]] = Counter()
    async with open_letter_reader(settings) as reader:
        share = max(1, NEWEST // max(1, len(reader.spans)))
        spans = {number: Span(max(span.start, span.end - share), span.end) for number, span in reader.spans.items()}
        is_all = spans == dict(reader.spans)
        history = await read_history(reader, spans)
        async with aclosing(letters(reader, spans)) as found:
            async for _record, letter in found:
                if not history.of(letter.identity).times:
                    classes[letter.stage or "unknown", letter.class_ or "no dead letter"] += 1
    scope = "" if is_all else f" (of the newest {share:,} offsets a partition)"
    if not classes:
        return [Finding("dead-letters", settings.dead_letters_topic, "ok", f"none is open{scope}")]
    return [
        Finding(
            "dead-letters", f"{stage}: {class_}", "warning", f"{count:,} are open{scope}",
            f"`dodo-cio dlq list --class {class_}` says why; mended, `dodo-cio dlq replay --class {class_}`",
        )
        for (stage, class_), count in sorted(classes.items())
    ]  # fmt: skip
