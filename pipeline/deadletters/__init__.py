"""Dead letters: records that a stage could not process, kept whole, with the reason and a way back.

Promises: a dead letter holds the original record byte for byte (`envelope`), so that the record which failed can be
rebuilt exactly; its reason names no address and quotes no value (`pipeline.reasons`). Every stage writes them to one
topic and continues. Commands read that topic without a commit (`reader`), select letters (`letter`, `filters`), and put
each back once, to the start of the stage that failed (`replay` decides, `plan` counts, `replayer` sends, `receipts` are
the record of it). Open `envelope` next.
"""

from __future__ import annotations
