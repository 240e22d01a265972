"""Where a spec's addresses may lead: to the internet, and not into the cluster or to the machine's own services.

Who writes a spec may not be allowed to call the cluster's services, the node's metadata or a host of the company's
network, but the job's pod is. So private, loopback and link-local addresses, and names that only a cluster knows, are
refused unless the job's environment allows them. The peer of each connection is compared, not only the name: what a
name stands for can change between a check and the connection (DNS rebinding). Endpoints that the environment itself
sets (S3, the Hub) do not come here.
"""

import ipaddress
import os
import socket
from typing import Any
from urllib.parse import urlsplit

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from job.errors import SpecInvalid

VARIABLE = "FINETUNE_ALLOW_PRIVATE_HOSTS"
HINT = f"If it is meant, allow it in the job's environment: {VARIABLE}, a list of names, addresses and networks."
_INTERNAL = ("localhost", "local", "internal", "svc", "cluster.local", "in-addr.arpa", "ip6.arpa", "home.arpa")
_METADATA = {ipaddress.ip_address("168.63.129.16")}  # Azure's, in the range of the internet
_LOCAL = [ipaddress.ip_network("64:ff9b:1::/48"), ipaddress.ip_network("fec0::/10"), ipaddress.ip_network("3fff::/20")]
"""Not of the internet, though `is_global` says so: of the first in Pythons before 3.11.10, of the others in all."""
_NAT64 = ipaddress.ip_network("64:ff9b::/96")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def pool_for(url: str, *, timeout: urllib3.Timeout) -> urllib3.PoolManager:
    """Connections for an address and what it redirects to, all of one class: the internet, or private and allowed.
    Raises SpecInvalid for a private host that is not allowed."""
    private = check_host(_host(url))

    class Plain(HTTPConnection):
        def _new_conn(self) -> socket.socket:
            _check_name(self.host, private=private)
            return _checked(super()._new_conn(), self.host, private=private)

    class Secure(HTTPSConnection):
        def _new_conn(self) -> socket.socket:
            _check_name(self.host, private=private)
            return _checked(super()._new_conn(), self.host, private=private)

    class PlainPool(HTTPConnectionPool):
        ConnectionCls = Plain

    class SecurePool(HTTPSConnectionPool):
        ConnectionCls = Secure

    pool = urllib3.PoolManager(timeout=timeout)
    pool.pool_classes_by_scheme = {"http": PlainPool, "https": SecurePool}
    return pool


def check_host(host: str) -> bool:
    """Whether a host is private and allowed; False for one in the internet. Raises SpecInvalid for one that is private
    and not allowed. A name that cannot be resolved here passes: connecting to it will fail, or be compared then."""
    if _is_internal_name(host):
        _check_allowed(host, None)
        return True
    found = _resolved(host)
    private = [one for one in found if not _is_public(one)]
    for one in private:
        _check_allowed(host, one)
    return bool(private)


def _check_name(host: str, *, private: bool) -> None:
    """Compares what a name stands for before it is connected to, so that no port of a private host is tried."""
    for address in _resolved(host):
        _check_class(host, address, private=private)


def _checked(connection: socket.socket, host: str, *, private: bool) -> socket.socket:
    """The connection, before a byte is sent: its peer is compared, which the name may not have stood for before."""
    try:
        peer = _address(connection.getpeername()[0])
        assert peer
        _check_class(host, peer, private=private)
    except BaseException:
        connection.close()
        raise
    return connection


def _check_class(host: str, address: Address, *, private: bool) -> None:
    """Raises SpecInvalid for an address that is not allowed, or not of the first address's class."""
    if not _is_public(address) or _is_internal_name(host):
        _check_allowed(host, address)
        if not private:
            raise SpecInvalid(f"an address in the internet leads to {host} ({address}), which is private", hint=HINT)
    elif private:
        raise SpecInvalid(f"a private address leads to {host} ({address}) in the internet", hint="Name the last one.")


def _check_allowed(host: str, address: Address | None) -> None:
    for one in os.environ.get(VARIABLE, "").replace(",", " ").split():
        if one == "*" or one.lower() == host.lower().rstrip(".") or (one.startswith(".") and host.endswith(one)):
            return
        network = _network(one)
        if address and network and address in network:
            return
    shown = host if address is None or str(address) == host else f"{host} ({address})"
    raise SpecInvalid(f"{shown} is not a host of the internet: private, of this machine, or of the cluster", hint=HINT)


def _host(url: str) -> str:
    return (urlsplit(url).hostname or "").strip("[]")


def _is_internal_name(host: str) -> bool:
    """Whether only a machine, a cluster or a company's own DNS knows a name: those without a dot, too."""
    name = host.lower().rstrip(".")
    if _address(name):
        return False
    return "." not in name or ".svc." in name or any(name == one or name.endswith(f".{one}") for one in _INTERNAL)


def _is_public(address: Address) -> bool:
    """Whether it is an address of the internet; of one that carries an IPv4 address, whether that is."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner:
            return _is_public(inner)
    if any(address in network for network in _LOCAL):
        return False
    return address.is_global and not address.is_multicast and address not in _METADATA


def _address(host: str) -> Address | None:
    """The address that a text stands for, also in the forms that the system's resolver takes: 127.1, 0x7f000001."""
    try:
        return ipaddress.ip_address(host.split("%")[0])
    except ValueError:
        pass
    try:
        return ipaddress.ip_address(socket.inet_aton(host)) if host[:1].isdigit() else None
    except OSError:
        return None


def _network(text: str) -> Any:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None


def _resolved(host: str) -> list[Address]:
    """What a host stands for now; empty if that is not known here."""
    if literal := _address(host):
        return [literal]
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    return [address for one in found if (address := _address(str(one[4][0])))]
