"""Processes a request: checks each operation by itself, applies the valid ones, and makes the answer."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pipeline.customerio.sandbox import answers, bodies
from pipeline.customerio.sandbox.actions import validate
from pipeline.customerio.sandbox.answers import Answer
from pipeline.customerio.sandbox.faults import Fault
from pipeline.customerio.sandbox.rejections import Rejection, invalid
from pipeline.customerio.sandbox.requests import Request
from pipeline.customerio.sandbox.state import Sandbox
from pipeline.customerio.sandbox.workspace import Arrival


@dataclass(frozen=True, slots=True)
class Parsed:
    """The operations of a request, or why it is refused as a whole."""

    operations: list[Any] = field(default_factory=list)
    refusal: bodies.RefusedError | None = None


def process(sandbox: Sandbox, request: Request, parsed: Parsed, fault: Fault | None = None) -> Answer:
    """Apply what is valid and answer as documented; `fault` may name items to refuse all the same."""
    if parsed.refusal is not None:
        sandbox.requests.reasons[_label(parsed.refusal.rejection)] += 1
        return answers.refused(parsed.refusal.status, [parsed.refusal.rejection])
    arrival = Arrival(request.arrived_at_ms, request.number)
    on_purpose = _on_purpose(fault, len(parsed.operations))
    rejections: list[tuple[int, Rejection]] = []
    bad = 0
    for index, operation in enumerate(parsed.operations):
        faults = on_purpose.get(index) or _judge(sandbox, operation, request.size_bytes)
        if faults:
            bad += 1
            rejections.extend((index, rejection) for rejection in faults)
        else:
            sandbox.workspace.apply(operation, arrival, index)
    sandbox.requests.processed(request, len(parsed.operations), bad)
    for _, rejection in rejections:
        sandbox.requests.reasons[_label(rejection)] += 1
    if not rejections:
        return answers.SUCCESS
    whole = bad == len(parsed.operations) and sandbox.config.all_refused_status == 400  # noqa: PLR2004 - the status that the setting names
    if whole or request.path == bodies.ENTITY:
        return answers.refused(400, [rejection for _, rejection in rejections])
    return answers.multi_status(rejections)


def _judge(sandbox: Sandbox, operation: Any, size_bytes: int) -> list[Rejection]:
    config = sandbox.config
    if bodies.oversized(operation, size_bytes, config):
        return [invalid("", f"the item is larger than {config.limits.item_bytes:,} bytes")]
    return validate(operation, lenient=config.lenient)


def _on_purpose(fault: Fault | None, count: int) -> dict[int, list[Rejection]]:
    """Items that the fault script refuses."""
    if fault is None:
        return {}
    error = fault.step.error
    return {index: [Rejection(error.reason, error.field, error.message)] for index in fault.refused_items(count)}


def _label(rejection: Rejection) -> str:
    """A label to count a rejection by; without the members of its field, since their number has no bound."""
    field, _, member = rejection.field.partition(".")
    where = f"{field}.…" if member else field
    return f"{rejection.reason} {where}: {rejection.message}" if where else f"{rejection.reason}: {rejection.message}"
