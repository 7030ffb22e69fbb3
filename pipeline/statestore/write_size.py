"""How much one transaction of a restore writes: little, and more on a disk that lets each one wait.

A transaction costs memory by what it touches, and a slow disk (a throttled volume, a network file system) some tenths
of a second whatever it holds: 1.5 million facts at 0.34 s for every thousand are 8 minutes.
"""

from __future__ import annotations

from typing import Final

MOST: Final = 8
"""Times as much as on a disk that does not let it wait: 8,000 keys, of which LMDB keeps 64 MB of pages at worst.
Of 600,000 facts in one file it took 35 MB more than 1,000 keys do, mostly of mapped pages, which the kernel can take
back; 40,000 took 230 MB more, and made the file twice as large."""

SLOW_S: Final = 0.05
"""What a disk that is well needs for a thousand keys is a fraction of that."""

LONGEST_S: Final = 2.0
"""No more is written at once when it takes so long: a rebalance that overtakes the restore waits for the end of the
transaction, and the group with it."""


def next_size(times: int, worked_s: float, waited_s: float) -> int:
    """How many times the least the next one writes, after one of `times` that has worked and waited for so long."""
    took_s = worked_s + waited_s
    if took_s > 2 * LONGEST_S or waited_s < worked_s / 4:
        return max(times // 2, 1)
    if waited_s > max(worked_s, SLOW_S) and took_s < LONGEST_S:
        return min(2 * times, MOST)
    return times
