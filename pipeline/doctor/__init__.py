"""`dodo-cio doctor`: everything that can be looked at from outside, each with what to do when it is wrong.

Promises: it reads and asks only. No operation is sent, no offset committed, no group joined, nothing written, and what
it may not see is unknown, never a fault. `findings` says what a finding is; each other module looks at one thing and
returns findings, whatever fails; `examination` runs them. Open `examination` next.
"""
