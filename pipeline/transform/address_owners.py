"""Which customer an address was seen with first: for the word that two of them share one.

People who go by the customer's id are two, and Customer.io gives an address to one profile only: the first has it, the
other's identify is taken, its address logged as a failed change (docs.customer.io, Track API, identify), and no mail
reaches that one. Nothing here changes what is sent. It is the memory of one worker since its start: enough to see that
it happens, and not to count how often.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from pipeline import logs
from pipeline.transform.decision import Decision
from pipeline.transform.verdicts import Operations

REMEMBERED: Final = 50_000
"""Addresses; about 150 bytes each."""

log = logs.get(__name__)


class AddressOwners:
    """The addresses that were sent last, by their hashes, each with the customer whom it was seen with first.

    Hashes of 61 bits that hold for this process alone: among so many addresses two are one once in a billion.
    """

    def __init__(self, remembered: int = REMEMBERED) -> None:
        self._remembered = remembered
        self._owners: OrderedDict[int, tuple[bytes, bool]] = OrderedDict()

    def is_shared(self, decision: Decision) -> bool:
        """Whether an identify goes out with an address that another customer was seen with; logged once an address."""
        verdict, customer = decision.verdict, decision.whose
        if type(verdict) is not Operations or verdict.address is None or customer is None:
            return False
        key = hash(verdict.address.lower())
        first, was_said = self._owners.setdefault(key, (customer, False))
        self._owners.move_to_end(key)
        if len(self._owners) > self._remembered:
            self._owners.popitem(last=False)
        if first == customer:
            return False
        if not was_said:
            self._owners[key] = (first, True)
            log.warning(
                "Two customers have one e-mail address: Customer.io gives it to the first, and no mail reaches the "
                "other (PIPELINE_PERSON_ID=email makes them one person)",
                customer=customer.decode("utf-8", "replace"), first=first.decode("utf-8", "replace"),
            )  # fmt: skip
        return True
