"""Where the page is served, and under which names it answers."""

from __future__ import annotations

import ipaddress
import secrets
import socket
from dataclasses import dataclass, replace
from importlib import import_module

from heme_edge.errors import HemeError

TOKEN_BYTES = 24
ANY_HOST = frozenset({"0.0.0.0", "::"})
LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")


class AddressError(HemeError):
    """An address that is none, or that the page cannot be served at."""


@dataclass(frozen=True)
class Address:
    """Where the page is served.

    Attributes:
        host: an IP address or a name of this machine.
        port: 0 to 65535; 0 takes a free one.
        token: what a browser must show; empty where only this machine can reach the page.
    """

    host: str
    port: int
    token: str = ""

    @classmethod
    def parse(cls, text: str) -> Address:
        """From ``HOST:PORT``; ``HOST`` of IPv6 stands in brackets.

        Raises:
            AddressError: it is no such thing.
        """
        host, colon, port = text.rpartition(":")
        host = host.removeprefix("[").removesuffix("]")
        if not (colon and host and port.isdecimal() and int(port) < 1 << 16):
            raise AddressError(f"'{text}' is not HOST:PORT.", "--web 127.0.0.1:8300")
        return cls(host, int(port), "" if is_local(host) else secrets.token_urlsafe(TOKEN_BYTES))

    @property
    def url(self) -> str:
        """What to open in a browser, with the token."""
        host = socket.gethostname() if self.host in ANY_HOST else self.host
        host = f"[{host}]" if ":" in host else host
        return f"http://{host}:{self.port}/" + (f"?token={self.token}" if self.token else "")

    def answers_to(self, host: str) -> bool:
        """Whether a request's ``Host`` header is a name of this page.

        A page of another site can have its own name resolve to this machine (DNS rebinding), so a
        name must be one of ours; a literal IP address cannot be rebound.
        """
        name, port = _split_host(host)
        if port != self.port:
            return False
        if name in ((*LOCAL_NAMES, self.host) if not self.token else (self.host, *_our_names())):
            return True
        return bool(self.token) and _is_ip(name)


def is_local(host: str) -> bool:
    """Whether only this machine can reach the address."""
    if host == "localhost":
        return True
    return _is_ip(host) and ipaddress.ip_address(host).is_loopback


def _is_ip(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _our_names() -> tuple[str, ...]:
    name = socket.gethostname().lower()
    return (*LOCAL_NAMES, name, f"{name}.local")


def _split_host(host: str) -> tuple[str, int]:
    """``name:port`` of a header; port 80 where it has none, -1 where it is no port."""
    name, colon, port = host.lower().rpartition(":")
    if not colon or host.endswith("]"):
        name, port = host.lower(), "80"
    number = int(port) if port.isascii() and port.isdecimal() and len(port) < 6 else -1
    return name.removeprefix("[").removesuffix("]"), number


@dataclass(frozen=True)
class Listening:
    """An address as it came out, and the socket that listens there."""

    address: Address
    socket: socket.socket


def listen(address: Address) -> Listening:
    """Takes an address; whoever asks meanwhile waits until the page is served.

    Raises:
        AddressError: the port is taken, or the host is not this machine.
        ImportError: the extra ``[web]`` is not installed.
    """
    for package in ("starlette", "uvicorn"):  # a missing extra is said before anything is begun
        import_module(package)

    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    # With its protocol named: else asyncio leaves Nagle's algorithm on, and each answer on a
    # connection that is used again is 40 ms late.
    taken = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        taken.bind((address.host, address.port))
        taken.listen()
    except OSError as error:
        taken.close()
        raise AddressError(
            f"The page cannot be served at {address.host}:{address.port} "
            f"({error.strerror or error}).",
            "--web 127.0.0.1:0 takes a free port",
        ) from error
    return Listening(replace(address, port=taken.getsockname()[1]), taken)
