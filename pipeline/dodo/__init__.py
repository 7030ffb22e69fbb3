"""What Dodo Payments sends: types, bodies, signatures.

Promises: a body that is a webhook is read whatever fields come or go (`envelope`); a signature is right or raises
`SignatureError`, for any bytes an attacker can send (`signature`); the 48 types and their families are one table
(`catalogue`); `samples` and `simulator` give invented bodies of the true shape. Knows neither Kafka nor Customer.io.
Open `envelope` next.
"""

from __future__ import annotations
