"""Every bound of the HTTP server, with its reason.

Together: a connection holds at most a head and two reads (`HEAD_BYTES`, `READ_BYTES`), or a share of `incoming_bytes`,
or one complete request, of which there are at most `held_bytes`. A deadline of each phase is looked at twice a second.
"""

from __future__ import annotations

import resource
from dataclasses import dataclass
from typing import Final

HEAD_BYTES: Final = 32 * 2**10
"""Request line and header fields. Dodo's have 1 kB; nginx takes 32 kB, most other servers 8 to 64. Checked before
anything is parsed."""

HEADERS: Final = 200
"""Fields of a head: what each costs is a call back from the parser. Apache takes 100, nginx no number."""

HEAD_WITHIN_S: Final = 10.0
"""From a head's first byte to its last. A balancer sends it in one packet."""

READ_BYTES: Final = 64 * 2**10
"""Most that is taken from a socket at once while a body with a length arrives; the rest waits in the kernel, and the
other connections get their turn."""

AHEAD_BYTES: Final = 16 * 2**10
"""Most that is taken from a socket at once otherwise, so what a connection can have in memory beyond the request that
is being answered."""

FRAMING_BYTES: Final = 16 * 2**10
"""Chunk sizes, extensions and trailers of one body, beside an eighth of the body's own length: a chunk of one byte
costs six to send and a thousand times that to take. Senders' chunks have kilobytes."""

SEND_WITHIN_S: Final = 10.0
"""For a client to take the answer that it asked for."""

LINGER_S: Final = 2.0
LINGER_BYTES: Final = 8 * 2**20
"""After a refusal the rest of what the client sends is read and thrown away, so long and so much: a socket that is
closed with unread data resets the connection, and the client would never see why (RFC 9112 §9.6)."""

SWEEP_S: Final = 0.5
"""How often deadlines are looked at: one timer for all connections."""

SPARE_DESCRIPTORS: Final = 128
"""Of the process's file descriptors, for brokers, files and the accepting itself."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The bounds that differ from port to port.

    Attributes:
        body_bytes: of one request's body.
        body_within_s: from a head's last byte to its body's.
        connections: open at once.
        idle_s: how long a connection may ask for nothing, used or not.
        incoming_bytes: of all bodies that are not complete yet: anybody can begin one.
        held_bytes: of all bodies, those included that wait for their answer.
    """

    body_bytes: int
    body_within_s: float = 5.0
    connections: int = 100
    idle_s: float = 75.0
    incoming_bytes: int = 24 * 2**20
    held_bytes: int = 64 * 2**20


def affordable(connections: int) -> int:
    """So many of them as the process has file descriptors for."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return connections
    return min(connections, max(soft - SPARE_DESCRIPTORS, soft // 4, 1))
