"""Whose request it is before anybody has said so: the address of the client, as far as it can be trusted."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from starlette.requests import Request

Network = IPv4Network | IPv6Network

_IPV6_PREFIX = 64


@dataclass(frozen=True, slots=True)
class Visitor:
    """Where a request comes from.

    Attributes:
        host: the client's address; None where its connection has none, as a Unix socket has none.
        address: what limits are counted by: IPv4 whole, IPv6 by its /64, which one customer has whole.

    """

    host: str | None
    address: str


def visitor(request: Request, trusted: Sequence[Network]) -> Visitor:
    """Say where a request comes from.

    `X-Forwarded-For` is believed from the right for as long as trusted proxies wrote it: the first address that is
    none of theirs is the client. What stands further left, anybody can write.
    """
    peer = request.client.host if request.client else ""
    if not trusted or not _is_trusted(peer, tuple(trusted)):
        return Visitor(peer if _is_address(peer) else None, _subject(peer))
    client = peer
    lines = request.headers.getlist("x-forwarded-for")
    for hop in reversed([hop for line in lines for hop in line.split(",")]):
        host = _host(hop)
        if not _is_address(host):
            break
        client = host
        if not _is_trusted(host, tuple(trusted)):
            break
    return Visitor(client, _subject(client))


def _host(hop: str) -> str:
    """Take off white space, a port, and the brackets of IPv6."""
    hop = hop.strip(" \t")
    if hop.startswith("["):
        return hop[1:].partition("]")[0]
    return hop.partition(":")[0] if hop.count(":") == 1 else hop


@lru_cache(maxsize=4096)
def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


@lru_cache(maxsize=4096)
def _is_trusted(host: str, trusted: tuple[Network, ...]) -> bool:
    if not _is_address(host):
        return False
    address = ip_address(host)
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    return any(address in network for network in trusted)


@lru_cache(maxsize=4096)
def _subject(host: str) -> str:
    if not _is_address(host):
        return "unknown"
    address = ip_address(host)
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped:
            return str(address.ipv4_mapped)
        bare = int(address)  # without a zone
        return str(ip_network((bare, _IPV6_PREFIX), strict=False))
    return str(address)
