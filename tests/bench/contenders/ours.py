"""Our transform as it runs in production, with the shared function in place of the decision where asked.

`--mapping shared`: the real worker, flow and headers; `shared-bare`: without the headers, so that the records are those
of every other contender; `real`: nothing replaced. Settings come from the environment, as always.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from pipeline.kafka.records import OutRecord, Record
from pipeline.transform import flow, read_ahead, worker
from pipeline.transform.decision import Decision
from pipeline.transform.verdicts import MappedOperation, Operations
from tests.bench.contenders.work import operation_of


def decide(record: Record, *_: Any, **__: Any) -> Decision:
    """What the shared function makes of a record, in the flow's terms."""
    operation = operation_of(record.value or b"")
    mapped = MappedOperation(operation.id, operation.value, False, "event", "payment_completed")
    return Decision(Operations(operation.key, (mapped,), operation.time_ms), "payment.succeeded", operation.id)


def as_it_is(record: Record) -> Record:
    """The shared function reads the record itself."""
    return record


def bare_records(record: Record, decision: Decision, operations: Operations) -> Sequence[OutRecord]:  # noqa: ARG001
    """Key and value alone."""
    return [OutRecord(operations.person_key, operation.body) for operation in operations.operations]


def main() -> None:
    """Run until a signal."""
    parser = argparse.ArgumentParser(description="Our transform as a contender.")
    parser.add_argument("--mapping", choices=("shared", "shared-bare", "real"), required=True)
    mapping = parser.parse_args().mapping
    if mapping != "real":
        vars(worker)["judge"] = decide
        vars(read_ahead)["read"] = as_it_is
    if mapping == "shared-bare":
        vars(flow)["operation_records"] = bare_records
    worker.run({})


if __name__ == "__main__":
    main()
