"""What a request says of itself: read once, from the raw scope, never from a URL put together."""

from __future__ import annotations

import ipaddress
import re
from functools import cached_property
from http.cookies import CookieError, SimpleCookie

from starlette.types import Scope

__all__ = ["SAFE_METHODS", "Visit", "origin_parts"]

SAFE_METHODS = frozenset(("GET", "HEAD", "OPTIONS"))
CHANGING_GETS = frozenset(("/logout", "/memory", "/gradio_api/deep_link", "/gradio_api/deep_link/"))
"""Addresses that change something although they are asked with GET."""

PLACE = r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::([0-9]{1,5}))?"
HOST = re.compile(PLACE)
ORIGIN = re.compile(rf"(https?)://{PLACE}", re.IGNORECASE)
PORTS = {"http": 80, "https": 443}


class Visit:
    """One request or websocket.

    Args:
        scope: of ASGI.
        behind_proxy: X-Forwarded-Host and -Proto are the proxy's word, and count.
        addresses: X-Forwarded-For counts, too.
    """

    def __init__(self, scope: Scope, behind_proxy: bool = False, addresses: bool = False):
        self.scope = scope
        self._behind_proxy = behind_proxy
        self._addresses = addresses

    def header(self, name: str) -> str:
        """A header's value; several are joined, so that what may stand once only is malformed."""
        wanted = name.encode()
        return ", ".join(
            value.decode("latin-1") for key, value in self.scope["headers"] if key == wanted
        )

    @cached_property
    def path(self) -> str:
        """What the router goes by: the decoded path, without the prefix that a proxy put before."""
        path: str = self.scope["path"]
        root: str = self.scope.get("root_path", "")
        if root and (path == root or path.startswith(f"{root.rstrip('/')}/")):
            return path[len(root.rstrip("/")) :]
        return path

    @property
    def method(self) -> str:
        """Of HTTP; a websocket has none."""
        return self.scope.get("method", "")

    @property
    def changes(self) -> bool:
        """Whether something may be another afterwards; all that a websocket brings may."""
        return self.method not in SAFE_METHODS or self.path in CHANGING_GETS

    @property
    def wants_page(self) -> bool:
        """Whether a person asks, by a browser's address line."""
        return (
            self.method in ("GET", "HEAD")
            and "text/html" in self.header("accept")
            and self.header("sec-fetch-mode") in ("", "navigate")
        )

    @cached_property
    def secure(self) -> bool:
        """Whether the visitor's end speaks https."""
        forwarded = self.header("x-forwarded-proto").split(",")[0].strip().lower()
        scheme = forwarded if self._behind_proxy and forwarded else self.scope.get("scheme", "http")
        return scheme in ("https", "wss")

    @property
    def has_host(self) -> bool:
        """Whether the Host header, when there is one, can be read."""
        host = self.header("host")
        return not host or HOST.fullmatch(host) is not None

    @cached_property
    def address(self) -> str:
        """Who asks: an IPv4 address, the /64 of an IPv6 one; empty when it is not known."""
        client = self.scope.get("client")
        address = client[0] if client else ""
        forwarded = self.header("x-forwarded-for").split(",")[-1].strip()
        if self._addresses and forwarded:
            # What the nearest proxy wrote is last; before it stands what the client said.
            address = forwarded
        return _network(address)

    @cached_property
    def cookies(self) -> dict[str, str]:
        """By name; nothing when they cannot be read."""
        try:
            jar = SimpleCookie(self.header("cookie").replace(", ", "; "))
        except CookieError:
            return {}
        return {name: morsel.value for name, morsel in jar.items()}

    @property
    def origin(self) -> str:
        """The site whose page asks; empty for all that is no browser."""
        return self.header("origin")

    @cached_property
    def is_own(self) -> bool:
        """Whether our own page asks, or no page at all."""
        site = self.header("sec-fetch-site").strip().lower()
        if not self.origin:
            return site in ("", "none", "same-origin")
        return site != "cross-site" and self._is_here(self.origin)

    def _is_here(self, origin: str) -> bool:
        parts = origin_parts(origin)
        if parts is None:
            return False
        scheme, name, port = parts
        if (self.secure or self._has_forwarded_scheme) and (scheme == "https") != self.secure:
            return False
        hosts = [self.header("host")]
        if self._behind_proxy:
            hosts.append(self.header("x-forwarded-host").split(",")[0].strip())
        return (name, port) in {_host_parts(host, scheme) for host in hosts}

    @property
    def _has_forwarded_scheme(self) -> bool:
        return self._behind_proxy and bool(self.header("x-forwarded-proto"))


def origin_parts(origin: str) -> tuple[str, str, int] | None:
    """(scheme, host, port) of an Origin; None when it is none ("null" among them)."""
    match = ORIGIN.fullmatch(origin)
    if match is None:
        return None
    scheme, name, port = match[1].lower(), match[2].lower(), match[3]
    return scheme, name, int(port) if port else PORTS[scheme]


def _host_parts(host: str, scheme: str) -> tuple[str, int] | None:
    match = HOST.fullmatch(host)
    if match is None:
        return None
    return match[1].lower(), int(match[2]) if match[2] else PORTS[scheme]


def _network(address: str) -> str:
    bare = address.rsplit(":", 1)[0] if address.count(":") == 1 else address
    bare = bare.partition("]")[0].removeprefix("[")
    try:
        known = ipaddress.ip_address(bare)
    except ValueError:
        return bare[:64]
    if isinstance(known, ipaddress.IPv4Address):
        return str(known)
    if known.ipv4_mapped:
        return str(known.ipv4_mapped)
    # A household has 2**64 addresses of IPv6.
    return str(ipaddress.ip_network((known, 64), strict=False))
