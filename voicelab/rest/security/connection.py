"""What the headers of a request say about its sender, read from the ASGI scope."""

from __future__ import annotations

import ipaddress
import re
from functools import cached_property
from http.cookies import CookieError, SimpleCookie

from starlette.types import Scope

__all__ = ["SAFE_METHODS", "Connection", "origin_parts"]

SAFE_METHODS = frozenset(("GET", "HEAD", "OPTIONS"))
CHANGING_GETS = frozenset(("/logout", "/memory", "/gradio_api/deep_link", "/gradio_api/deep_link/"))
"""Paths where a GET request changes something."""

HOST_AND_PORT = r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::([0-9]{1,5}))?"
HOST = re.compile(HOST_AND_PORT)
ORIGIN = re.compile(rf"(https?)://{HOST_AND_PORT}", re.IGNORECASE)
PORTS = {"http": 80, "https": 443}


class Connection:
    """A request or a websocket.

    Args:
        scope: of ASGI.
        behind_proxy: trust X-Forwarded-Host and -Proto.
        forwarded_addresses: trust X-Forwarded-For, too.
    """

    def __init__(self, scope: Scope, behind_proxy: bool = False, forwarded_addresses: bool = False):
        self.scope = scope
        self._behind_proxy = behind_proxy
        self._forwarded_addresses = forwarded_addresses

    def header(self, name: str) -> str:
        """A header's value; repeated headers are joined, which makes single-valued ones invalid."""
        wanted = name.encode()
        return ", ".join(
            value.decode("latin-1") for key, value in self.scope["headers"] if key == wanted
        )

    @cached_property
    def path(self) -> str:
        """The decoded path as the router sees it, without the prefix of a proxy."""
        path: str = self.scope["path"]
        root: str = self.scope.get("root_path", "")
        if root and (path == root or path.startswith(f"{root.rstrip('/')}/")):
            return path[len(root.rstrip("/")) :]
        return path

    @property
    def method(self) -> str:
        """The HTTP method; empty for a websocket."""
        return self.scope.get("method", "")

    @property
    def changes(self) -> bool:
        """Whether the request may change something; a websocket may."""
        return self.method not in SAFE_METHODS or self.path in CHANGING_GETS

    @property
    def wants_page(self) -> bool:
        """Whether a person opens the address in a browser."""
        return (
            self.method in ("GET", "HEAD")
            and "text/html" in self.header("accept")
            and self.header("sec-fetch-mode") in ("", "navigate")
        )

    @cached_property
    def secure(self) -> bool:
        """Whether the client uses https, or wss."""
        forwarded = self.header("x-forwarded-proto").split(",")[0].strip().lower()
        scheme = forwarded if self._behind_proxy and forwarded else self.scope.get("scheme", "http")
        return scheme in ("https", "wss")

    @property
    def has_host(self) -> bool:
        """Whether the Host header is absent or well-formed."""
        host = self.header("host")
        return not host or HOST.fullmatch(host) is not None

    @cached_property
    def address(self) -> str:
        """The client's IPv4 address or IPv6 /64 network; empty when it is not known."""
        client = self.scope.get("client")
        address = client[0] if client else ""
        forwarded = self.header("x-forwarded-for").split(",")[-1].strip()
        if self._forwarded_addresses and forwarded:
            # The nearest proxy appends the address; what stands before may be forged by the client.
            address = forwarded
        return _network(address)

    @cached_property
    def cookies(self) -> dict[str, str]:
        """Cookies by name; empty when they cannot be parsed."""
        try:
            jar = SimpleCookie(self.header("cookie").replace(", ", "; "))
        except CookieError:
            return {}
        return {name: morsel.value for name, morsel in jar.items()}

    @property
    def origin(self) -> str:
        """The Origin header: the site whose page sent the request; empty without a browser."""
        return self.header("origin")

    @cached_property
    def is_own(self) -> bool:
        """Whether this server's page sent the request, or no page at all."""
        site = self.header("sec-fetch-site").strip().lower()
        if not self.origin:
            return site in ("", "none", "same-origin")
        return site != "cross-site" and self._is_same_origin(self.origin)

    def _is_same_origin(self, origin: str) -> bool:
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
    """(scheme, host, port) of an Origin; None when it is malformed or "null"."""
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
        parsed = ipaddress.ip_address(bare)
    except ValueError:
        return bare[:64]
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped:
        return str(parsed.ipv4_mapped)
    # A household has 2**64 addresses of IPv6.
    return str(ipaddress.ip_network((parsed, 64), strict=False))
