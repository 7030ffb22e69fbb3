"""Vouching: whoever has made an operation says of its bytes that they may go into a batch, so that nobody parses them.

A word vouches for one value: its length and its Adler-32. Whoever puts it beside other bytes vouches for nothing, and
those are parsed as if it were not there. It is no signature: it guards against what happens by accident (a tool that
masks or replaces a value and keeps the headers), and who may write the topic may tell Customer.io anything anyhow.

Adler-32 takes 0.3 µs of 700 bytes, CRC-32 0.7 and parsing 2. It is weak for bytes that are chosen; here those would
have to be of the same length, of the same sums, and no JSON.
"""

from __future__ import annotations

from typing import Final
from zlib import adler32

MORE: Final = b":more"
"""Behind the word where the record's other headers tell something that its delivery must heed."""


def word_for(operation: bytes) -> bytes:
    """What vouches for exactly these bytes: `<length>:<Adler-32 in hexadecimal>`.

    Only for one JSON object that is no larger than Customer.io takes.
    """
    return b"%d:%x" % (len(operation), adler32(operation))
