"""A small OpenID Connect provider in this process: it knows one person, and signs them in without asking."""

import json
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm


@dataclass
class Provider:
    url: str
    client_id: str = "cacheservice"
    client_secret: str = field(default_factory=lambda: secrets.token_hex(16), repr=False)
    person: dict[str, Any] = field(default_factory=dict)  # claims: sub, email, email_verified
    key: rsa.RSAPrivateKey = field(default_factory=lambda: rsa.generate_private_key(65537, 2048), repr=False)
    codes: dict[str, dict[str, str]] = field(default_factory=dict)

    def answer(self, path: str, query: dict[str, str]) -> dict[str, Any] | str:
        """A document, or where to redirect to."""
        if path == "/.well-known/openid-configuration":
            names = {"authorization_endpoint": "authorize", "token_endpoint": "token", "jwks_uri": "jwks"}
            return {
                "issuer": self.url,
                **{name: f"{self.url}/{end}" for name, end in names.items()},
                "userinfo_endpoint": f"{self.url}/userinfo",
                "token_endpoint_auth_methods_supported": ["client_secret_post"],
            }
        if path == "/jwks":
            return {"keys": [{**json.loads(RSAAlgorithm.to_jwk(self.key.public_key())), "kid": "1", "alg": "RS256"}]}
        if path == "/authorize":
            code = secrets.token_hex(8)
            self.codes[code] = query
            return f"{query['redirect_uri']}?{urlencode({'code': code, 'state': query['state']})}"
        if path == "/token":
            asked = self.codes.pop(query["code"])
            assert query["client_secret"] == self.client_secret
            assert asked["code_challenge_method"] == "S256"
            claims = {"iss": self.url, "aud": self.client_id, "iat": time.time(), "exp": time.time() + 60}
            if "nonce" in asked:
                claims["nonce"] = asked["nonce"]
            token = jwt.encode({**claims, **self.person}, self.key, "RS256", {"kid": "1"})
            return {"access_token": "of no use", "token_type": "Bearer", "id_token": token}
        return self.person


@contextmanager
def running_provider() -> Iterator[Provider]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(urlsplit(self.path).query)

        def do_POST(self) -> None:
            self._answer(self.rfile.read(int(self.headers["content-length"])).decode())

        def _answer(self, query: str) -> None:
            found = provider.answer(
                urlsplit(self.path).path, {name: values[0] for name, values in parse_qs(query).items()}
            )
            self.send_response(302 if isinstance(found, str) else 200)
            if isinstance(found, str):
                self.send_header("location", found)
            self.send_header("content-type", "application/json")
            self.end_headers()
            self.wfile.write(b"" if isinstance(found, str) else json.dumps(found).encode())

        def log_message(self, *arguments: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        provider = Provider(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield provider
        finally:
            server.shutdown()
            thread.join()
