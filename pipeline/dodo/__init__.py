"""What Dodo Payments sends: types, bodies, signatures.

Promises: a webhook's body is read even if Dodo adds or leaves out fields (`envelope`); a signature is right or raises
`SignatureError`, for any bytes that an attacker can send (`signature`); the 48 types and their families are one table
(`catalogue`); `samples` and `simulator` give invented bodies of the true shape. Knows neither Kafka nor Customer.io.
Open `envelope` next.
"""

from __future__ import annotations
