"""What could not go on, kept whole, with the reason and a way back.

Promises: a dead letter holds the original record byte for byte (`envelope`), so that the record which failed can be
rebuilt exactly; its reason names no address and quotes no value (`reasons`). Every stage writes them to one topic and
goes on. From there they are read without a trace (`reader`), told apart (`letter`, `filters`), and put back to the
start of the stage that failed, once (`replay` decides, `plan` counts, `replayer` sends, `receipts` remember).
Open `envelope` next.
"""

from __future__ import annotations
