"""The API key and the logins, compared in constant time, and the session cookie."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Iterable

from voicelab.rest.security.connection import Connection

__all__ = ["LIFETIME_S", "Credentials"]

LIFETIME_S = 30 * 24 * 3600
COOKIE = re.compile(r"([0-9a-f]{32})\.([0-9]{1,12})\.([0-9a-f]{64})")


class Credentials:
    """The API key and logins of a server.

    A session cookie holds a random number, its expiry and an HMAC of both under a secret derived
    from key and logins. It survives a restart, becomes void when a key or login changes, and does
    not reveal the key.

    Args:
        key: the API key; None when there is none.
        users: (name, password) pairs.
    """

    def __init__(self, key: str | None, users: Iterable[tuple[str, str]]):
        self._key = _encode(key.strip()) if key else b""
        self._users = {_encode(name): _encode(password) for name, password in users}
        derived = [_derive(b"login\0" + n + b"\0" + p) for n, p in self._users.items()]
        secret = b"".join([*([_derive(b"key\0" + self._key)] if self._key else []), *derived])
        self._secret = hashlib.sha256(secret).digest()
        # All ports of a host share their cookies: two servers there need different names.
        self.cookie_name = f"voicelab-{hashlib.sha256(self._secret).hexdigest()[:8]}"

    def __bool__(self) -> bool:
        return self.has_key or self.has_users

    @property
    def has_key(self) -> bool:
        """Whether an API key is set."""
        return bool(self._key)

    @property
    def has_users(self) -> bool:
        """Whether logins are set."""
        return bool(self._users)

    def is_key(self, candidate: bytes) -> bool:
        """Whether the bytes are the API key, encoded as UTF-8 or Latin-1."""
        return bool(self._key) and any(
            _equal(candidate.strip(), key) for key in (self._key, _as_latin_1(self._key))
        )

    def is_login(self, name: bytes, password: bytes) -> bool:
        """Whether name and password are a login; the API key is a password for every name."""
        expected = self._users.get(name)
        same = _equal(password, expected if expected is not None else b"")
        return (expected is not None and same) or self.is_key(password)

    def sent_key(self, connection: Connection) -> bool | None:
        """Whether X-API-Key or a Bearer token is the API key; None when neither header is sent.

        Another site's page cannot make a browser send these headers, unlike HTTP Basic.
        """
        keys = [*_header_values(connection, b"x-api-key"), *_tokens(connection, b"bearer ")]
        return any(self.is_key(key) for key in keys) if keys else None

    def sent_login(self, connection: Connection) -> bool | None:
        """Whether the HTTP Basic header is a login; None when it is not sent."""
        found = [self._is_basic(token) for token in _tokens(connection, b"basic ")]
        return any(found) if found else None

    def _is_basic(self, token: bytes) -> bool:
        try:
            name, _, password = base64.b64decode(token, validate=True).partition(b":")
        except (binascii.Error, ValueError):
            return False
        return self.is_login(name, password)

    def cookie(self) -> str:
        """A new value for the session cookie, valid for LIFETIME_S seconds."""
        text = f"{secrets.token_hex(16)}.{int(time.time()) + LIFETIME_S}"
        return f"{text}.{self._sign(text)}"

    def sent_cookie(self, connection: Connection) -> bool:
        """Whether a valid session cookie was sent."""
        match = COOKIE.fullmatch(connection.cookies.get(self.cookie_name, ""))
        if match is None or int(match[2]) < time.time():
            return False
        return hmac.compare_digest(match[3], self._sign(f"{match[1]}.{match[2]}"))

    def _sign(self, text: str) -> str:
        return hmac.new(self._secret, text.encode(), hashlib.sha256).hexdigest()


def _header_values(connection: Connection, name: bytes) -> list[bytes]:
    return [value for key, value in connection.scope["headers"] if key == name]


def _tokens(connection: Connection, scheme: bytes) -> list[bytes]:
    values = [value.strip() + b" " for value in _header_values(connection, b"authorization")]
    return [v[len(scheme) :].strip() for v in values if v[: len(scheme)].lower() == scheme]


def _equal(one: bytes, other: bytes) -> bool:
    # The time of compare_digest depends on the lengths; digests have equal ones.
    return hmac.compare_digest(hashlib.sha256(one).digest(), hashlib.sha256(other).digest())


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _as_latin_1(key: bytes) -> bytes:
    """The key in Latin-1, as some clients encode headers; unchanged if that is not possible."""
    try:
        return key.decode().encode("latin-1")
    except UnicodeError:
        return key


def _derive(password: bytes) -> bytes:
    # Slow on purpose: a short key cannot be guessed from a leaked cookie.
    return hashlib.scrypt(password, salt=b"voicelab cookie", n=1 << 14, r=8, p=1, dklen=32)
