"""The known faults of recipes: the thirteen of the vendor's page, by number, and those that keep one from running.

The table in docs/javascript.md lists them.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal, NamedTuple

Severity = Literal["error", "fault", "mended"]
"""`error`: records become dead letters, or the worker does not start. `fault`: it is sent as the recipe made it, and is
wrong. `mended`: the pipeline corrects it, whatever the recipe returns."""


class Fault(NamedTuple):
    """One kind of fault.

    Args:
        code: its name.
        number: on the vendor's page, 1 to 13; None for one that is only a fault in this engine.
        severity: its consequence here.
        text: what is wrong.
        right: the right form.
    """

    code: str
    number: int | None
    severity: Severity
    text: str
    right: str


class Finding(NamedTuple):
    """A fault at its place; line and column count from 1, `more` is the text about this place alone."""

    fault: Fault
    file: str
    line: int
    column: int
    more: str = ""

    @property
    def text(self) -> str:
        """What is wrong here."""
        return f"{self.fault.text}{': ' + self.more if self.more else ''}"


_ALL: Final = (
    Fault(
        "invalid-action", 1, "mended",
        "Customer.io has no such action, and refuses the operation",
        'action: "event" with the name; here it is sent as an event of that name',
    ),
    Fault(
        "divided-by-100", 2, "fault",
        "not every currency has two decimals: JPY and KRW come out 100 times too small, KWD 10 times too large",
        "divide by 10 ** the currency's decimals, or leave the amount to the default mapping, which knows ISO 4217",
    ),
    Fault(
        "amount-as-text", 3, "fault",
        "toFixed makes text: conditions of segments compare it letter by letter, so that 9 is more than 49",
        "a number for conditions, beside the text for mails: amount_value: Number(...)",
    ),
    Fault(
        "invented-value", 4, "fault",
        "a value is invented where the webhook has none, and overwrites one that is known",
        "leave the attribute out: undefined is not sent",
    ),
    Fault(
        "overwritten-total", 5, "fault",
        "one webhook's value under a name that means all of them: each payment overwrites it",
        "name it for what it is (last_payment_amount); totals are the default mapping's, which knows every payment",
    ),
    Fault(
        "iso-date", 6, "fault",
        "a date as text: Customer.io's date conditions take seconds",
        "Math.floor(Date.parse(value) / 1000)",
    ),
    Fault(
        "no-event-time", 7, "mended",
        "the event's time is not passed: a retry a day later would be an event of that day",
        "timestamp: Math.floor(Date.parse(webhook.payload.timestamp) / 1000); here it is set, whatever the recipe says",
    ),
    Fault(
        "raw-body", 8, "mended",
        "what is not handled is returned as it came, and Customer.io refuses Dodo's body at every retry",
        "return null to send nothing; here an untouched webhook is the default mapping's",
    ),
    Fault(
        "fixed-host", 9, "mended",
        "the host of one region: accounts of the other one are answered elsewhere",
        "nothing; here PIPELINE_CUSTOMERIO_REGION decides, and url is not looked at",
    ),
    Fault(
        "named-identify", 10, "mended",
        "an identify has no name: Customer.io passes it over",
        "leave it out, or send an event of that name as well; here it is not sent",
    ),
    Fault(
        "types-missing", 11, "mended",
        "types that campaigns are made for are not handled",
        "handle them; here they are the default mapping's",
    ),
    Fault(
        "unchecked-start", 12, "fault",
        "the type also comes when nothing started or was bought, and the campaign starts all the same",
        "payment.succeeded: return null where is_update_payment_method or total_amount === 0; subscription.active: "
        "where previous_billing_date is not created_at (a recovery, a change of plan)",
    ),
    Fault(
        "no-event-id", 13, "mended",
        "the event has no id: each delivery of a webhook is an event of its own",
        "nothing; here every event has the id of its fact",
    ),
    Fault(
        "no-mode", 13, "mended",
        "nothing tells test data from live data",
        "nothing; here test-mode webhooks are dropped, or sent to people apart (PIPELINE_FORWARD_TEST_MODE)",
    ),
    Fault(
        "unguarded", 13, "fault",
        "there is not always a customer in data (credits, licences, checkouts): without one this throws",
        "data.customer?.email, and data.customer?.customer_id ?? data.customer_id",
    ),
    Fault(
        "no-recipe", None, "error",
        "it does not start",
        "a plain script with function handler(webhook)",
    ),
    Fault(
        "fails", None, "error",
        "records of this kind become dead letters",
        "mend it, then dodo-cio dlq replay --class transform-failed",
    ),
    Fault(
        "outside", None, "error",
        "it is not there: a recipe has the language alone, without modules, network, timers, files or locales",
        "write it out; Date is the event's time in UTC, Math.random is the webhook's own",
    ),
)  # fmt: skip

FAULTS: Final[Mapping[str, Fault]] = MappingProxyType({fault.code: fault for fault in _ALL})
"""By code, in the order of the vendor's page."""
