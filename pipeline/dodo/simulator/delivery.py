"""One request to ingest: of the payment provider, or of a forger."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Final, Literal

from pipeline.dodo.signature import sign

Kind = Literal["first", "redelivery", "forged", "unreadable"]
Forgery = Literal["secret", "signature", "tampered", "stale", "unsigned"]

FORGERIES: Final[tuple[Forgery, ...]] = ("secret", "signature", "tampered", "stale", "unsigned")
"""Signed with another secret, with garbage, over another body, an hour ago, or not at all."""

WRONG_SECRET: Final = "whsec_" + base64.b64encode(b"not the secret of this endpoint.").decode()
STALE_S: Final = 3600


@dataclass(frozen=True, slots=True)
class Delivery:
    """A request, not yet signed."""

    body: bytes
    webhook_id: str
    timestamp: int
    """Seconds of this attempt, as of the shop's `now`."""

    kind: Kind
    type: str | None
    """None of an unreadable one."""

    customer_id: str | None
    """Whose event it is; None of payouts and of unreadable ones. A forged one names the customer that it imitates."""

    forgery: Forgery | None = None

    def headers(self, secret: str, *, elapsed_s: float = 0) -> dict[str, str]:
        """The headers that come with the body, content type included.

        Args:
            secret: the endpoint's signing secret; a forged delivery does not use it honestly.
            elapsed_s: seconds since the shop's `now`, so that the timestamps of a long run stay fresh.
        """
        at = self.timestamp + int(elapsed_s)
        match self.forgery:
            case "secret":
                signed = sign(WRONG_SECRET, self.webhook_id, at, self.body)
            case "tampered":
                signed = sign(secret, self.webhook_id, at, self.body + b" ")
            case "stale":
                signed = sign(secret, self.webhook_id, at - STALE_S, self.body)
            case _:
                signed = sign(secret, self.webhook_id, at, self.body)
        if self.forgery == "signature":
            signed["webhook-signature"] = "v1,AAAA== v1a,=== garbage v1,"
        if self.forgery == "unsigned":
            del signed["webhook-signature"]
        return {"content-type": "application/json", **signed}
