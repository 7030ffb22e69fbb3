"""The checksum that vouches for an operation: its bytes were checked when it was made, so the sink need not parse them.

It is a header with the length and the Adler-32 of the value. If value and checksum do not agree, the sink parses the
value as if there were no header. It is no signature: it guards against accidents (a tool that masks or replaces a value
and keeps the headers), and who may write to the topic can send Customer.io anything anyhow.

Adler-32 takes 0.3 µs for 700 bytes, CRC-32 0.7 and parsing 2. It is weak against bytes that are chosen on purpose; here
they would have to have the same length and the same sums, and not be JSON.
"""

from __future__ import annotations

from typing import Final
from zlib import adler32

MORE: Final = b":more"
"""Appended to the checksum where the delivery must also read the record's other headers."""


def word_for(operation: bytes) -> bytes:
    """The checksum of exactly these bytes: `<length>:<Adler-32 in hexadecimal>`.

    Call it only for one JSON object that is no larger than Customer.io takes: the sink relies on that.
    """
    return b"%d:%x" % (len(operation), adler32(operation))
