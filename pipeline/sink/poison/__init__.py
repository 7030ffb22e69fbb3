"""Poison isolation: a record that nobody can deliver is found, and all others get on.

`patience` decides from the results of others whether a group of operations is to blame for its failures: it is sent
again, halved, or given up. `suspects` chooses whose operation goes next while that cannot be known, since nobody
succeeds. Both are pure; `judge` beside this folder asks them, and `delivery` carries out what it rules.
"""
