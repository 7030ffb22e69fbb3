"""Lets a process of a test have a clock that is `CLOCK_AHEAD_S` seconds ahead; Python loads it by its name."""

import os
import time

_ahead_s = float(os.environ.get("CLOCK_AHEAD_S", "0"))
_time = time.time

if _ahead_s:
    time.time = lambda: _time() + _ahead_s
