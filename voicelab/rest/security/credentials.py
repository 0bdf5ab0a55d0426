"""The key and the logins, compared in constant time, and the cookie that stands for them."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Iterable

from voicelab.rest.security.visit import Visit

__all__ = ["LIFETIME_S", "Credentials"]

LIFETIME_S = 30 * 24 * 3600
COOKIE = re.compile(r"([0-9a-f]{32})\.([0-9]{1,12})\.([0-9a-f]{64})")


class Credentials:
    """What opens the lock.

    The cookie holds a random number, its end and their HMAC under a secret derived from the key or
    login: it survives a restart, is void when that changes, and the key cannot be read from it.

    Args:
        key: of the API; None when there is none.
        users: (name, password) pairs.
    """

    def __init__(self, key: str | None, users: Iterable[tuple[str, str]]):
        self._key = _encoded(key.strip()) if key else b""
        self._users = {_encoded(name): _encoded(password) for name, password in users}
        derived = [_derived(b"login\0" + n + b"\0" + p) for n, p in self._users.items()]
        secret = b"".join([*([_derived(b"key\0" + self._key)] if self._key else []), *derived])
        self._secret = hashlib.sha256(secret).digest()
        # Cookies are shared by all ports of a host: two labs there must not take each other's.
        self.cookie_name = f"voicelab-{hashlib.sha256(self._secret).hexdigest()[:8]}"

    def __bool__(self) -> bool:
        return self.has_key or self.has_users

    @property
    def has_key(self) -> bool:
        """Whether there is a key."""
        return bool(self._key)

    @property
    def has_users(self) -> bool:
        """Whether there are logins."""
        return bool(self._users)

    def is_key(self, given: bytes) -> bool:
        """Whether it is the key, as UTF-8 or Latin-1."""
        return bool(self._key) and any(
            _same(given.strip(), wanted) for wanted in (self._key, _as_latin(self._key))
        )

    def is_login(self, name: bytes, password: bytes) -> bool:
        """Whether the name has this password; any name goes with the key as password."""
        expected = self._users.get(name)
        same = _same(password, expected if expected is not None else b"")
        return (expected is not None and same) or self.is_key(password)

    def sent_key(self, visit: Visit) -> bool | None:
        """Whether a header holds the key; None when none holds any.

        Only headers that a page elsewhere cannot make a browser send: a login (Basic) is none.
        """
        keys = [*_values(visit, b"x-api-key"), *_tokens(visit, b"bearer ")]
        return any(self.is_key(key) for key in keys) if keys else None

    def sent_login(self, visit: Visit) -> bool | None:
        """Whether HTTP Basic holds a login; None when there is none."""
        found = [self._is_basic(token) for token in _tokens(visit, b"basic ")]
        return any(found) if found else None

    def _is_basic(self, token: bytes) -> bool:
        try:
            name, _, password = base64.b64decode(token, validate=True).partition(b":")
        except (binascii.Error, ValueError):
            return False
        return self.is_login(name, password)

    def cookie(self) -> str:
        """A new cookie's value. It is void when any of the credentials it may stand for changes."""
        text = f"{secrets.token_hex(16)}.{int(time.time()) + LIFETIME_S}"
        return f"{text}.{self._seal(text)}"

    def sent_cookie(self, visit: Visit) -> bool:
        """Whether a valid cookie came along."""
        match = COOKIE.fullmatch(visit.cookies.get(self.cookie_name, ""))
        if match is None or int(match[2]) < time.time():
            return False
        return hmac.compare_digest(match[3], self._seal(f"{match[1]}.{match[2]}"))

    def _seal(self, text: str) -> str:
        return hmac.new(self._secret, text.encode(), hashlib.sha256).hexdigest()


def _values(visit: Visit, name: bytes) -> list[bytes]:
    return [value for key, value in visit.scope["headers"] if key == name]


def _tokens(visit: Visit, scheme: bytes) -> list[bytes]:
    values = [value.strip() + b" " for value in _values(visit, b"authorization")]
    return [v[len(scheme) :].strip() for v in values if v[: len(scheme)].lower() == scheme]


def _same(one: bytes, other: bytes) -> bool:
    # compare_digest tells lengths apart by its time; digests have one length.
    return hmac.compare_digest(hashlib.sha256(one).digest(), hashlib.sha256(other).digest())


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _as_latin(key: bytes) -> bytes:
    """As clients send it that write headers so; itself when it has other letters."""
    try:
        return key.decode().encode("latin-1")
    except UnicodeError:
        return key


def _derived(password: bytes) -> bytes:
    # Slow on purpose: a cookie that leaks shall not let a short key be guessed.
    return hashlib.scrypt(password, salt=b"voicelab cookie", n=1 << 14, r=8, p=1, dklen=32)
