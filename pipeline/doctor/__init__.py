"""`dodo-cio doctor`: checks all that can be seen from outside the stages, each finding with what to do about it.

Promises: it only reads. No operation is sent, no offset committed, no group joined, nothing written, and what it may
not see is unknown, never a fault. `findings` defines a finding; each other module checks one thing and returns
findings; `examination` runs them, and one that fails hides no other. Open `examination` next.
"""
