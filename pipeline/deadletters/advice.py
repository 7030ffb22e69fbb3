"""The meaning of each class of dead letter, and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from pipeline.deadletters.envelope import DeadLetterClass

ADVICE: Final[Mapping[DeadLetterClass, str]] = {
    "unreadable": "The bytes are not what the stage reads. Find out who wrote them; a replay helps only after an "
    "upgrade that reads them, or where the name of a header was at fault, which a replay writes anew.",
    "unknown-type": "This version does not know the type. Replay after an upgrade that does.",
    "unmappable": "The webhook lacks what the mapping or the identity policy (PIPELINE_PERSON_ID) needs. Replay after "
    "changing the setting, or after an upgrade.",
    "refused": "Customer.io said no. The operation goes out again exactly as it is: replay if something changed at "
    "Customer.io. After a change here, have Dodo send the webhook again from its dashboard.",
    "oversize": "It is larger than Customer.io takes. At the transform a replay maps the webhook anew; at the sink the "
    "operation goes out again exactly as it is.",
    "undeliverable": "It failed alone for minutes while others succeeded. Replay when Customer.io is well.",
    "transform-failed": "Your rules or your code (PIPELINE_RULES, PIPELINE_TRANSFORM, PIPELINE_JAVASCRIPT) could not "
    "shape it; the field says where. Mend them, then replay: nothing of it was sent or remembered.",
}
