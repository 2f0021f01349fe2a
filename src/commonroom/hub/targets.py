"""Targets: whom the hub may call. It must never be led to a machine that only the hub can reach.

An address is allowed when it is public, or in a network that the operator lists (`push_allow_networks`). A name is looked
up once for a connection, every address it has must be allowed, and the connection goes to one of just these addresses,
so a name that means something else a moment later changes nothing. Redirects are never followed.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

import aiohttp
import msgspec
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from commonroom.hub import codes  # noqa: F401 - registers the hub's problem codes
from commonroom.problems import Problem

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
LookUp = Callable[[str, int], Any]  # awaited: what `loop.getaddrinfo` gives

MAX_URL = 2048
CONNECTIONS = 100
ANSWER_BYTES = 64 * 1024  # more of an answer is not read
HEADER_BYTES = 8 * 1024

_NAT64 = IPv6Network("64:ff9b::/96")  # RFC 6052
_NAT64_LOCAL = IPv6Network("64:ff9b:1::/48")  # RFC 8215
_IPV4_COMPATIBLE = IPv6Network("::/96")


class ForbiddenTarget(OSError):
    """The target has an address that the hub must not call. An OSError, as every other reason not to get through."""


class Answer(msgspec.Struct, frozen=True):
    """What a target answered; `headers` by their names in small letters."""

    status: int
    headers: dict[str, str]


def networks(text: str) -> tuple[Network, ...]:
    """The networks of the setting `push_allow_networks`, with commas between. Raises Problem CR-002."""
    try:
        return tuple(ip_network(part) for part in text.replace(",", " ").split())
    except ValueError as error:
        remedy = "Write each as an address and the length of its prefix: 10.20.0.0/16."
        raise Problem("CR-002", str(error), where="push_allow_networks", remedy=remedy) from error


def is_allowed(address: Address, allowed: Sequence[Network]) -> bool:
    """Whether the hub may connect to this address."""
    return is_listed(address, allowed) or all(_is_public(seen) for seen in _meanings(address))


def is_listed(address: Address, allowed: Sequence[Network]) -> bool:
    """Whether the operator lists the address; one that only wraps an IPv4 address is that IPv4 address."""
    meant = _meanings(address)[-1]
    return any(meant.version == network.version and meant in network for network in allowed)


def check_url(url: str, allowed: Sequence[Network]) -> URL:
    """The URL when it has the form of a target and names no forbidden address. Raises Problem CR-150.

    What its name stands for is checked with each connection, and so is that plain http goes to listed networks alone.
    """
    if len(url) > MAX_URL or not url.isascii() or not url.isprintable() or " " in url:
        raise _refusal(f"The URL must be ASCII without spaces, at most {MAX_URL} characters.")
    try:
        found = URL(url, encoded=True)
        host, port = found.host, found.port
    except ValueError as error:
        raise _refusal("The URL cannot be read.") from error
    if found.scheme not in ("https", "http") or not host or not port:
        raise _refusal("The URL must begin with https:// and name a host.")
    if found.user is not None or found.password is not None or "#" in url:
        raise _refusal("The URL must have no user, password or fragment.")
    if (literal := _literal(host)) is not None:
        if not is_allowed(literal, allowed):
            raise _refusal("The address is not public.")
        if found.scheme == "http" and not is_listed(literal, allowed):
            raise _refusal(_NEEDS_HTTPS)
    elif found.scheme == "http" and not allowed:
        raise _refusal(_NEEDS_HTTPS)
    return found


class Caller:
    """Calls targets. Made by `open_caller`."""

    def __init__(self, allowed: Sequence[Network], secure: Any, plain: Any) -> None:
        self.allowed = allowed
        self._sessions = {"https": secure, "http": plain}

    async def call(
        self, method: str, url: str, headers: dict[str, str], body: bytes = b"", seconds: float = 20.0
    ) -> Answer:
        """One request, no redirects, over in so many seconds. Raises Problem CR-150, OSError, TimeoutError or
        aiohttp.ClientError; ForbiddenTarget is among the causes of the last."""
        target = check_url(url, self.allowed)
        async with self._sessions[target.scheme].request(
            method,
            target,
            headers=headers,
            data=body or None,
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(total=seconds),
        ) as response:
            await response.content.read(ANSWER_BYTES)
            return Answer(response.status, {name.lower(): value for name, value in response.headers.items()})


@asynccontextmanager
async def open_caller(allowed: Sequence[Network], look_up: LookUp | None = None) -> AsyncIterator[Caller]:
    """A caller with its connections, until the context ends. No proxies of the environment, no cookies."""
    async with (
        _session(lambda address: is_allowed(address, allowed), look_up) as secure,
        _session(lambda address: is_listed(address, allowed), look_up) as plain,
    ):
        yield Caller(allowed, secure, plain)


class CheckedResolver(AbstractResolver):
    """Looks a name up and gives its addresses when every one of them passes."""

    def __init__(self, passes: Callable[[Address], bool], look_up: LookUp | None = None) -> None:
        self._passes = passes
        self._look_up = look_up or _system_look_up

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Addresses of the host. Raises ForbiddenTarget, or OSError when there are none."""
        found: list[ResolveResult] = []
        for kind, _, protocol, _, place in await self._look_up(host, port):
            text = str(place[0])
            if not self._passes(ip_address(text)):
                raise ForbiddenTarget("the name has an address that is not allowed")
            found.append(
                ResolveResult(
                    hostname=host,
                    host=text,
                    port=port,
                    family=kind,
                    proto=protocol,
                    flags=socket.AI_NUMERICHOST,
                )
            )
        if not found:
            raise OSError("the name has no address")
        return found

    async def close(self) -> None:
        """Nothing to close."""


def _session(passes: Callable[[Address], bool], look_up: LookUp | None) -> aiohttp.ClientSession:
    def make_socket(info: Any) -> socket.socket:
        # The last gate, for addresses written in the URL too: nothing is connected that did not pass.
        family, kind, protocol, _, place = info
        if not passes(ip_address(str(place[0]))):
            raise ForbiddenTarget("the address is not allowed")
        made = socket.socket(family, kind, protocol)
        made.setblocking(False)
        return made

    connector = aiohttp.TCPConnector(
        resolver=CheckedResolver(passes, look_up),
        use_dns_cache=False,
        limit=CONNECTIONS,
        socket_factory=make_socket,
    )
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        trust_env=False,
        max_line_size=HEADER_BYTES,
        max_field_size=HEADER_BYTES,
        requote_redirect_url=False,
        skip_auto_headers=("Accept", "Accept-Encoding"),
        headers={"User-Agent": "commonroom-hub"},
    )


async def _system_look_up(host: str, port: int) -> Any:
    return await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)


def _literal(host: str) -> Address | None:
    try:
        return ip_address(host.strip("[]"))
    except ValueError:
        return None


def _meanings(address: Address) -> list[Address]:
    """The address, and the IPv4 address that it carries inside when a translator or tunnel would take it out."""
    if isinstance(address, IPv4Address):
        return [address]
    inner = address.ipv4_mapped or address.sixtofour
    if inner is None and address.teredo is not None:
        inner = address.teredo[1]
    if inner is None and (address in _NAT64 or (address in _IPV4_COMPATIBLE and int(address) > 1)):
        inner = IPv4Address(int(address) & 0xFFFFFFFF)
    if inner is None:
        return [address]
    # Mapped and translated addresses are the IPv4 address; the wrapping itself says nothing.
    return [inner] if address.ipv4_mapped or address in _NAT64 else [address, inner]


def _is_public(address: Address) -> bool:
    if isinstance(address, IPv6Address) and (address.is_site_local or address in _NAT64_LOCAL):
        return False
    return (
        address.is_global
        and not address.is_multicast
        and not address.is_reserved
        and not address.is_unspecified
    )


_NEEDS_HTTPS = "Pushes travel over https; plain http is for networks that the operator lists."


def _refusal(detail: str) -> Problem:
    remedy = "Give an https:// URL whose name stands for public addresses, or ask the operator to list your network."
    return Problem("CR-150", detail, status=422, where="url", remedy=remedy)
