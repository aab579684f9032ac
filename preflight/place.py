"""A host and a port: whether the name is known, and whether anything takes connections there."""

import errno
import socket
from collections.abc import Callable

from preflight.attempt import Trouble

__all__ = ["reached", "resolved"]

Address = tuple[str, int]

CONNECT_SECONDS = 4.0
UNROUTED = {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EHOSTDOWN, errno.ENETDOWN, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}
EXHAUSTED = {errno.EMFILE, errno.ENFILE}
FORBIDDEN = {errno.EACCES, errno.EPERM}
FIREWALL = (
    "Whatever is in between drops the packets: admit this machine's address to the port in the server's firewall (or its cloud's security "
    "group), and see that "
    "host and port are right."
)


def resolved(host: str, port: int) -> list[str]:
    """The IP addresses of a host, each once. Raises Trouble where there are none."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        raise _unknown(host, error) from None
    except (UnicodeError, ValueError):
        raise Trouble("this can be no name of a host", "Correct the name in the stack file.") from None
    return list(dict.fromkeys(str(address[4][0]) for address in found))


def _unknown(host: str, error: socket.gaierror) -> Trouble:
    if error.errno == socket.EAI_AGAIN:
        return Trouble(
            "the name servers of this machine give no answer",
            f"See whether they work at all, and whether this machine must be in a private network (VPN) to know the name:\n  getent hosts {host}",
        )
    return Trouble(
        "no such name",
        "Correct the name in the stack file, or have it put into the DNS that this machine asks. An IP address does as well, where no "
        "certificate is verified."
        f"\n  getent hosts {host}",
    )


def reached(addresses: list[str], port: int, seconds: float, listening: str, note: Callable[[str], None]) -> str:
    """The first address that takes a connection; `note` is told of each before it is tried. Raises Trouble where none does."""
    trouble = Trouble("there is no address", "Correct the name in the stack file.")
    patience = min(CONNECT_SECONDS, seconds) / max(len(addresses), 1)
    for address in addresses:
        note(address)
        try:
            socket.create_connection((address, port), patience).close()
        except OSError as error:
            trouble = _unreachable(error, port, listening)
            trouble.tried = f"connecting to {', '.join(addresses)}, port {port}"
        else:
            return address
    raise trouble


def _unreachable(error: OSError, port: int, listening: str) -> Trouble:
    """Why there is no connection, each in its own words."""
    if isinstance(error, ConnectionRefusedError):
        return Trouble(
            "the connection was refused: the machine is there, and nothing listens on this address and port",
            f"Start the server, correct the port in the stack file, or let it listen to other machines than its own: {listening}\nOn the "
            f"server:\n  ss -ltnp 'sport = :{port}'",
        )
    if isinstance(error, TimeoutError):
        return Trouble("no answer: the connection timed out", FIREWALL)
    if isinstance(error, ConnectionResetError | ConnectionAbortedError):
        return Trouble("the connection was cut at once", "A firewall or a proxy in between refuses it: admit this machine's address to the port there.")
    return _unable(error)


def _unable(error: OSError) -> Trouble:
    """What this machine says itself."""
    if error.errno in UNROUTED:
        return Trouble(
            "there is no way to that network from here (no route)",
            "Run this where the database network is reachable: inside it, through a VPN, or with a tunnel that is named as the "
            "administrator's own host and port.",
        )
    if error.errno in EXHAUSTED:
        return Trouble("this machine has no sockets left", "Let a process have more of them:\n  ulimit -n 4096")
    if error.errno in FORBIDDEN:
        return Trouble("this machine forbids the connection itself", "Admit it in this machine's own firewall.")
    return Trouble(f"no connection: {error.strerror or type(error).__name__}", FIREWALL)
