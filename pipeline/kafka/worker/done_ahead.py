"""The records that are done beyond a partition's committed offset, and their form in the text beside that offset.

A stage that finishes records in any order can commit no more than the contiguous prefix; what it has done beyond would
be done again after a SIGKILL. So the commit carries that as well, in the text that Kafka keeps with the offset, and
whoever begins at that offset passes over those records.

A record that is passed over wrongly is lost, one that is done twice is a repeat. So the text counts only where nothing
speaks against it: it is of the topic that is there (`topic_identity`), of the very offset beside which it lies, and the
last record that its writer had read is still at its offset (`Witness`). Offsets are given a second time by a log that
was cut (an unclean election); a log is cut at its end, so with that record all before it are the same.

Pure.
"""

from __future__ import annotations

import base64
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from pipeline.kafka.records import Record

SPAN: Final = 1 << 18
"""Offsets beyond the committed one of which it is remembered; a sink's memory holds some 30,000 records."""

LEVEL: Final = 6
"""zlib's own: a bitmap of 30,000 offsets takes 0.1 ms to 1 ms."""

_FORM: Final = re.compile(r"done:(\d{1,19}):(\d{1,19}):([0-9a-f]{8}):([A-Za-z0-9_-]+);", re.ASCII)


class Witness(NamedTuple):
    """The last record that was read of a partition."""

    offset: int
    digest: int


def digest_of(record: Record) -> int:
    """What identifies a record: a checksum of its time, key and value."""
    time = str(record.timestamp).encode()
    return zlib.crc32(record.value or b"", zlib.crc32(record.key or b"", zlib.crc32(time)))


@dataclass(frozen=True, slots=True)
class DoneAhead:
    """Offsets of one partition that are done though not all before them are.

    Attributes:
        base: the committed offset.
        bits: bit n is set when the record at `base + n` is done.
        witness: at or behind the last of them.
    """

    base: int
    bits: int
    witness: Witness

    @property
    def count(self) -> int:
        """How many offsets."""
        return self.bits.bit_count()

    def since(self, offset: int) -> int:
        """The bits of offsets from `offset` on, bit 0 being `offset`."""
        return shifted(self.bits, self.base - offset)

    def left_of(self, records: Sequence[Record]) -> Sequence[Record]:
        """Those of `records` (offsets rising) that are not done."""
        if records[0].offset >= self.base + self.bits.bit_length() or records[-1].offset < self.base:
            return records
        begin = records[0].offset
        bits = self.since(begin)
        length = bits.bit_length()
        raw = bits.to_bytes((length + 7) // 8, "little")
        return [one for one in records if (at := one.offset - begin) >= length or not raw[at >> 3] >> (at & 7) & 1]


def shifted(bits: int, by: int) -> int:
    """`bits`, `by` places further on; those that would come below 0 fall away."""
    return bits << by if by >= 0 else bits >> -by


def rendered(ahead: DoneAhead, room: int) -> str:
    """The text, at most `room` characters of ASCII; "" for nothing.

    Where it has no room for all, the offsets furthest from the committed one are left out.
    """
    bits = ahead.bits & ((1 << SPAN) - 1)
    while bits:
        length = bits.bit_length()
        packed = zlib.compress(bits.to_bytes((length + 7) // 8, "little"), LEVEL)
        payload = base64.urlsafe_b64encode(packed).decode().rstrip("=")
        text = f"done:{ahead.base}:{ahead.witness.offset}:{ahead.witness.digest:08x}:{payload};"
        if len(text) <= room:
            return text
        bits &= (1 << min(length - 1, max(room, 0) * length // len(text))) - 1
    return ""


def parted(text: str) -> tuple[DoneAhead | None, str]:
    """What is done ahead by the text beside an offset (`topic_identity.unmarked`), and the rest of that text."""
    found = _FORM.match(text)
    if found is None:
        return None, text
    base, offset, digest, payload = found.groups()
    return _read(int(base), Witness(int(offset), int(digest, 16)), payload), text[found.end() :]


def _read(base: int, witness: Witness, payload: str) -> DoneAhead | None:
    unpacking = zlib.decompressobj()
    try:
        raw = unpacking.decompress(base64.b64decode(payload + "=" * (-len(payload) % 4), b"-_", validate=True), SPAN)
    except (ValueError, zlib.error):
        return None
    bits = int.from_bytes(raw, "little")
    is_whole = unpacking.eof and not unpacking.unused_data
    if not is_whole or not 0 < bits.bit_length() <= SPAN or base + bits.bit_length() - 1 > witness.offset:
        return None
    return DoneAhead(base, bits, witness)
