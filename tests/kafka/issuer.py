"""A stand-in for an issuer of OAuth 2.0 tokens: the client credentials grant (RFC 6749 §4.4), signed JWTs, a JWKS."""

from __future__ import annotations

import base64
import json
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

NAME = "https://issuer.example.com"
AUDIENCE, SCOPE, CLIENT, SECRET = "kafka", "webhooks.all", "pipeline", "s3cret/of+the=client"


class Issuer:
    """What it gives, and what it was asked; the switches may be turned while it runs."""

    def __init__(self, port: int) -> None:
        self.url = f"https://127.0.0.1:{port}/token"
        self.life_s = 3600
        self.starts_s = 0
        """From when the token is good, from now on: below zero it may have run out."""
        self.audience = AUDIENCE
        self.status = 200
        self.asked: list[dict[str, list[str]]] = []
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)

    def write_jwks(self, file: Path) -> None:
        """The public key, as brokers read it."""
        numbers = self._key.public_key().public_numbers()
        key = {"kty": "RSA", "kid": "k", "alg": "RS256", "use": "sig", "n": _number(numbers.n), "e": _number(numbers.e)}
        file.write_text(json.dumps({"keys": [key]}), encoding="ascii")

    def answer(self, authorization: str, form: dict[str, list[str]]) -> tuple[int, dict[str, Any]]:
        """Status and JSON."""
        self.asked.append(form)
        if self.status != 200:
            return self.status, {}
        if authorization != "Basic " + base64.b64encode(f"{CLIENT}:{SECRET}".encode()).decode():
            return 401, {"error": "invalid_client", "error_description": "Bad credentials"}
        if form.get("grant_type") != ["client_credentials"] or form.get("scope") != [SCOPE]:
            return 400, {"error": "invalid_scope"}
        return 200, {"access_token": self.token(), "token_type": "Bearer", "expires_in": self.life_s}

    def token(self) -> str:
        """A signed token."""
        now = int(time.time()) + self.starts_s
        claims = {
            "iss": NAME,
            "sub": CLIENT,
            "aud": self.audience,
            "scope": SCOPE,
            "iat": now,
            "exp": now + self.life_s,
        }
        text = f"{_part({'alg': 'RS256', 'kid': 'k'})}.{_part(claims)}"
        return f"{text}.{_base64(self._key.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256()))}"


@contextmanager
def issuing(pem: Path) -> Iterator[Issuer]:
    """A running issuer, whose certificate and key `pem` has."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"])).decode()
            status, answer = issuer.answer(self.headers.get("authorization", ""), parse_qs(body))
            payload = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(payload)))
            self.end_headers()
            self.wfile.write(payload)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pem)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        issuer = Issuer(server.server_address[1])
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield issuer
        finally:
            server.shutdown()
            thread.join()


def _part(fields: dict[str, Any]) -> str:
    return _base64(json.dumps(fields).encode())


def _number(number: int) -> str:
    return _base64(number.to_bytes((number.bit_length() + 7) // 8))


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
