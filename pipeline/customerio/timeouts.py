"""How long each phase of a request may take."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.plain_httpx import httpx


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds.

    With these figures a request that nobody answers ends by itself within 11 s of its start when a connection is open
    or opens at once. A server that is merely slow may use the whole deadline.

    Attributes:
        deadline_s: when the caller gets an answer or an error. Below the 9 s of grace that a hand-over of partitions
            gives to requests in flight.
        connect_s: to open a connection, TLS included.
        pool_s: to wait for a free connection.
        write_s: for one write to make progress.
        read_s: for one read to return.
        answer_s: from the start of a request to the end of its answer. Guards the connection pool against an answer
            that trickles, its headers included: each byte restarts the read timeout, which alone would let a request
            live for ever (`pipeline.deadline`).
        close_s: what closing waits for requests in flight before their connections go. Above all of the other figures.
    """

    deadline_s: float = 8.0
    connect_s: float = 3.0
    pool_s: float = 3.0
    write_s: float = 5.0
    read_s: float = 8.0
    answer_s: float = 12.0
    close_s: float = 30.0

    @property
    def by_phase(self) -> httpx.Timeout:
        """The four phases that httpx counts, each per operation."""
        return httpx.Timeout(connect=self.connect_s, pool=self.pool_s, write=self.write_s, read=self.read_s)
