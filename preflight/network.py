"""Host names and connections: the DNS lookup of a host, and the first address that accepts a connection."""

import errno
import re
import socket
from collections.abc import Callable

from preflight.errors import ProbeError
from preflight.models import AddressKeys

__all__ = ["connect_first", "resolve_host"]

CONNECT_TIMEOUT_SECONDS = 4.0
FIREWALL_FIX = (
    "A firewall probably drops the packets. Allow this machine's address and the port in the server's firewall or in "
    "its cloud's security group. {}."
)
CLUSTER_NAME_RE = re.compile(r"\.svc(\.|$)")
"""The name of a Service (Kubernetes: "DNS for Services and Pods")."""
RESET = (
    "the connection was reset immediately",
    "A firewall or a proxy rejects the connection. Allow this machine's address and the port there.",
)
NO_ROUTE = (
    "no route to the server's network",
    "Run Pulumi where the server's network is reachable: inside the network, through a VPN or through a tunnel. For a "
    "tunnel, set `administrator.host` and `administrator.port` to its local end.",
)
NO_SOCKETS = ("this process has reached its limit of open files", "Increase the limit of open files:\n  ulimit -n 4096")
BLOCKED_LOCALLY = ("this machine blocks the connection", "Allow the connection in the firewall of this machine.")
RESULT_AND_FIX_BY_ERRNO = {
    errno.ECONNRESET: RESET,
    errno.ECONNABORTED: RESET,
    errno.ENETUNREACH: NO_ROUTE,
    errno.EHOSTUNREACH: NO_ROUTE,
    errno.EHOSTDOWN: NO_ROUTE,
    errno.ENETDOWN: NO_ROUTE,
    errno.EADDRNOTAVAIL: NO_ROUTE,
    errno.EAFNOSUPPORT: NO_ROUTE,
    errno.EMFILE: NO_SOCKETS,
    errno.ENFILE: NO_SOCKETS,
    errno.EACCES: BLOCKED_LOCALLY,
    errno.EPERM: BLOCKED_LOCALLY,
}


def resolve_host(host: str, port: int, keys: AddressKeys) -> list[str]:
    """Return the IP addresses of a host without duplicates. Raises ProbeError if the lookup fails."""
    try:
        results = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        raise _explain_lookup_error(host, error, keys) from None
    except (UnicodeError, ValueError):
        raise ProbeError("the host name is invalid", f"{keys.host_correction}.") from None
    return list(dict.fromkeys(str(address[0]) for *_, address in results))


def _explain_lookup_error(host: str, error: socket.gaierror, keys: AddressKeys) -> ProbeError:
    if keys.in_cluster and CLUSTER_NAME_RE.search(host):
        fix = "No action is necessary: the update fails if the cluster cannot use it."
        return ProbeError("not checked: only Pods can resolve the name of a Service", fix, is_warning=True)
    if error.errno == socket.EAI_AGAIN:
        return ProbeError(
            "the DNS servers of this machine do not answer",
            "Check the DNS servers of this machine, and whether only a private network (VPN) resolves the name:\n"
            f"  getent hosts {host}",
        )
    hint = " If `tls` is not `verify-full`, an IP address works too." if keys.tls else ""
    return ProbeError(
        "the host name does not exist",
        f"{keys.host_correction}, or add the name to the DNS of this machine.{hint}\n  getent hosts {host}",
    )


def connect_first(
    addresses: list[str],
    port: int,
    timeout_seconds: float,
    *,
    listen_setting_hint: str,
    keys: AddressKeys,
    on_attempt: Callable[[str], None] = lambda _address: None,
) -> str:
    """Return the first address that accepts a connection. Raises ProbeError if none does.

    `on_attempt` is called with each address before the connection attempt.
    """
    failure = ProbeError("the host name has no IP address", f"{keys.host_correction}.")
    timeout = min(CONNECT_TIMEOUT_SECONDS, timeout_seconds) / max(len(addresses), 1)
    for address in addresses:
        on_attempt(address)
        try:
            socket.create_connection((address, port), timeout).close()
        except OSError as error:
            check = f"connecting to {', '.join(addresses)}, port {port}"
            failure = ProbeError(*_explain_connect_error(error, port, listen_setting_hint, keys), check=check)
        else:
            return address
    raise failure


def _explain_connect_error(error: OSError, port: int, listen_setting_hint: str, keys: AddressKeys) -> tuple[str, str]:
    """Return the result and the fix."""
    firewall_fix = FIREWALL_FIX.format(keys.correction)
    if isinstance(error, ConnectionRefusedError):
        fix = (
            f"Start the server, correct {keys.port} in the stack file, or configure the server to listen on the "
            f"network: {listen_setting_hint}.\nOn the server:\n  ss -ltnp 'sport = :{port}'"
        )
        result = "connection refused: the host is up, but no program listens on this address and port"
        return result, fix if listen_setting_hint else firewall_fix
    if isinstance(error, TimeoutError):
        return "no answer: the connection timed out", firewall_fix
    unknown = (f"the connection failed: {error.strerror or type(error).__name__}", firewall_fix)
    return RESULT_AND_FIX_BY_ERRNO.get(error.errno or 0, unknown)
