"""Which machines media are fetched from: public ones, and the networks that were allowed.

A name is looked up here, every address it has is checked, and the connection is made to one of the
checked addresses: a name that means another machine a moment later gains nothing.
"""

import asyncio
import ipaddress
import socket
import typing
from collections.abc import Iterable

import httpcore

from unisono.errors import MediaAccessError

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
_NETWORK = ipaddress.IPv6Network
# In these, an IPv4 address is wrapped that a gateway would go on to.
_WRAPPED_AT_END = (_NETWORK("64:ff9b::/96"), _NETWORK("64:ff9b:1::/48"), _NETWORK("::/96"))

# Azure's machines ask it for their secrets; it looks like any other address.
_INTERNAL = frozenset({ipaddress.ip_address("168.63.129.16")})


class AllowedAddresses:
    """See the module.

    Attributes:
        networks: those that are allowed besides public addresses.
    """

    def __init__(self, networks: Iterable[str] = ()) -> None:
        """Read the networks ("10.1.0.0/16").

        Raises:
            MediaAccessError: one is no network.
        """
        try:
            self.networks = tuple(ipaddress.ip_network(one) for one in networks)
        except ValueError as error:
            raise MediaAccessError(f"networks must be like 10.1.0.0/16: {error}") from None

    def allows(self, address: IpAddress) -> bool:
        """Whether media may be fetched from there."""
        inner = _inner(address)
        if any(one.version == net.version and one in net for one in inner for net in self.networks):
            return True
        return all(map(_public, inner))

    async def of(self, host: str, port: int) -> list[str]:
        """The addresses of a name.

        Raises:
            MediaAccessError: it has none, or one that is not allowed.
        """
        try:
            found = await asyncio.get_running_loop().getaddrinfo(
                host, port, type=socket.SOCK_STREAM
            )
        except (OSError, UnicodeError):
            raise MediaAccessError(f"the host {host!r} is not found") from None
        # A scope ("fe80::1%eth0") is no part of the address; those with one are never public.
        addresses = list(dict.fromkeys(str(one[4][0]) for one in found))
        for text in addresses:
            if not self.allows(ipaddress.ip_address(text.partition("%")[0])):
                raise MediaAccessError(f"the host {host!r} is not a public one; it is not asked")
        return addresses


def _public(address: IpAddress) -> bool:
    if address in _INTERNAL or address.is_multicast or not address.is_global:
        return False
    return isinstance(address, ipaddress.IPv4Address) or not address.is_site_local


def _inner(address: IpAddress) -> tuple[IpAddress, ...]:
    """The address, and the IPv4 addresses that it stands for."""
    if isinstance(address, ipaddress.IPv4Address):
        return (address,)
    if address.ipv4_mapped is not None:
        return (address.ipv4_mapped,)
    wrapped: list[IpAddress] = [address]
    if address.sixtofour is not None:
        wrapped.append(address.sixtofour)
    if address.teredo is not None:
        wrapped.extend(address.teredo)
    if any(address in network for network in _WRAPPED_AT_END):
        wrapped.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    return tuple(wrapped)


class CheckedNetwork(httpcore.AsyncNetworkBackend):
    """Connects to allowed addresses only; httpcore asks it for every connection."""

    def __init__(self, allowed: AllowedAddresses) -> None:
        self._allowed = allowed
        self._network = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: typing.Iterable[typing.Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """A connection to the first of the host's addresses that answers.

        Raises:
            MediaAccessError: the host is not allowed.
        """
        failure: Exception = httpcore.ConnectError("no address")
        for address in await self._allowed.of(host, port):
            try:
                return await self._network.connect_tcp(
                    address, port, timeout, local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,
        socket_options: typing.Iterable[typing.Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Never.

        Raises:
            MediaAccessError: always.
        """
        raise MediaAccessError("sockets of this machine are not opened")

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await self._network.sleep(seconds)
