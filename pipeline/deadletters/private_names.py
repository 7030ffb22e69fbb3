"""Which fields are private by their name: the only list of such names.

A name is compared by its letters and digits alone: what a shop writes as `firstName`, `First-Name` or `FIRST_NAME` is
one name. This is broad on purpose: better a word too many is masked than an address too few.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import Final

PERSONAL: Final = re.compile(
    r"(?P<email>.*email.*)"
    r"|(?P<phone>.*phone.*|(?:.*(?:customer|user|buyer))?mobile(?:number)?|fax(?:number)?)"
    r"|(?P<name>.*names?|.*holder.*)"
    r"|(?P<private>.*address.*"
    r"|(?:.*(?:billing|shipping|delivery|invoice|mailing|home|customer|buyer|user))?"
    r"(?:street[12]?|line[123]|city|town|state|province|county|zip|zipcode|post(?:al)?code)"
    r"|.*(?:tax|vat)(?:id|number|idnumber)"
    r"|.*last(?:four|4)(?:digits)?|(?:card)?exp(?:iry|iration)?(?:month|year)|cardnumber|pan|cv[cv]|iban|accountnumber"
    r"|(?:.*(?:licen[cs]e|api|access|secret|private|session|auth))?keys?"
    r"|.*(?:token|secret|password|passwd|passphrase)|pwd|pin|authorization|cookies?|credentials?"
    r"|.*birth.*|dob|ssn|socialsecuritynumber|passport.*"
    r"|.*(?:comments?|remarks?|instructions?)|customfieldresponses"
    r"|(?:client|remote|customer|user|buyer|source)?ip)"
)

NAMES_OF_THINGS: Final = re.compile(
    r".*(?:product|plan|credit|entitlement|meter|(?<!pro)file|event|feature|addon|brand|host|discount)names?"
)

NO_LETTER: Final = re.compile(r"[\W_]+")


@lru_cache(maxsize=4096)  # bodies have the same few hundred names: a look-up costs a tenth of the patterns
def mask_of(name: str) -> str | None:
    """What stands for the value of a field of this name; None where it may be shown."""
    letters = NO_LETTER.sub("", unicodedata.normalize("NFKC", name).casefold())
    found = PERSONAL.fullmatch(letters)
    return None if found is None or NAMES_OF_THINGS.fullmatch(letters) else f"[{found.lastgroup}]"
