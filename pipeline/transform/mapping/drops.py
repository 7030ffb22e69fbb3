"""Why a webhook ends here: each code in words."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from pipeline.transform.verdicts import DropCode, Dropped

DROPS: Final[Mapping[DropCode, str]] = MappingProxyType(
    {
        "test-mode": "a test-mode webhook; PIPELINE_FORWARD_TEST_MODE=true sends them on as people prefixed test_",
        "vendor-example": "the vendor's fixed example or a test checkout, signed with a live secret: nobody's payment",
        "payout": "a payout is the merchant's own money, no customer's event",
        "credit-deducted": "one a usage: high volume; PIPELINE_EMIT_CREDIT_DEDUCTED=true sends them",
        "opted-out": "the customer wants no recovery mail",
        "forgotten": "the customer was forgotten after this had happened: nothing is remembered or sent",
        "command": "the command was carried out, and there is nothing to send",
        "no-change": "no event by the rules, and nothing about the person that an identify could tell",
    }
)


def drop(code: DropCode) -> Dropped:
    """The drop with this code."""
    return Dropped(code, DROPS[code])
