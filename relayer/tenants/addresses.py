"""Where a key may be used from: networks in CIDR notation (RFC 4632, RFC 4291); no network means anywhere."""

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Network = IPv4Network | IPv6Network

MAX_NETWORKS = 50


def parse_network(text: str) -> Network:
    """Read a network, or an address as the network of it alone.

    Raises:
        ValueError: it is neither, or has bits beside its prefix.

    """
    network = ip_network(text)
    if isinstance(network, IPv6Network) and network.network_address.scope_id is not None:
        raise ValueError("an address with a zone belongs to one machine only")
    return network


def admits(networks: Sequence[Network], address: str | None) -> bool:
    """Whether a client at an address may come in; `address` is None where it has none, as on a Unix socket."""
    if not networks:
        return True
    try:
        client = ip_address(address or "")
    except ValueError:
        return False
    # A socket that takes both families shows IPv4 as ::ffff:a.b.c.d.
    if isinstance(client, IPv6Address) and client.ipv4_mapped is not None:
        client = client.ipv4_mapped
    return any(client in network for network in networks)


def outside(inner: Iterable[Network], outer: Sequence[Network]) -> list[int]:
    """Give the positions of the networks that lie in none of `outer`; of none where `outer` is empty, which is anywhere."""
    if not outer:
        return []
    return [
        position for position, one in enumerate(inner) if not any(_lies_in(one, other) for other in outer)
    ]


def _lies_in(inner: Network, outer: Network) -> bool:
    if isinstance(inner, IPv4Network):
        return isinstance(outer, IPv4Network) and inner.subnet_of(outer)
    return isinstance(outer, IPv6Network) and inner.subnet_of(outer)
