"""What is told of bytes that cannot be read never blames the connection."""

from __future__ import annotations

import pytest
from aiokafka.errors import CorruptRecordException, RecordTooLargeError, UnsupportedCodecError

from pipeline.errors import TopicError
from pipeline.kafka.refusals import explained, undecodable


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (UnsupportedCodecError("Unknown compression codec 0x06"), "Unknown compression codec 0x06"),
        (CorruptRecordException(), "CorruptRecordException"),
        (
            RecordTooLargeError("There are some messages at %s=%s", "t/0", 7),
            "RecordTooLargeError: There are some messages at %s=%s, t/0, 7",
        ),
    ],
)
def test_bytes(error: Exception, says: str) -> None:
    """The error names the topic where it is known, and what the client said."""
    assert isinstance(explained(error, "g", 10), TopicError)
    told = str(undecodable("letters", error))
    assert told.startswith("topic letters cannot be read: the broker sent what this version cannot decode")
    assert says in told
