"""A relay on the loopback interface, through which a driver reads a server's answers with a limit.

Drivers store an answer of any size. Another service, or a hostile server, could send data without end.
"""

import selectors
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from preflight.errors import UnexpectedProtocolError
from preflight.probe_context import LOOPBACK, ProbeContext
from preflight.tls import explain_tls_failure

__all__ = ["MAX_ANSWER_BYTES", "open_relay"]

MAX_ANSWER_BYTES = 16 * 1024 * 1024
"""Per connection. The list of 100,000 databases needs half of it."""
GRACE_SECONDS = 1.0
"""Time for the report of a check that did not end before its deadline."""
CHUNK_BYTES = 64 * 1024


@contextmanager
def open_relay(context: ProbeContext, ssl_context: ssl.SSLContext | None = None) -> Iterator[None]:
    """Open a relay. In the block, `context.connect` and `context.target` use it instead of the server.

    The relay closes a connection after the deadline of the check, and after `MAX_ANSWER_BYTES` from the server. With
    `ssl_context`, it uses TLS to the server and plain text to the driver. An error of the block that the relay can
    explain is replaced: by UnexpectedProtocolError, or by ProbeError for a failure of TLS.
    """
    with socket.create_server((LOOPBACK, 0)) as listener:
        relay = _Relay(context, listener, ssl_context)
        threading.Thread(target=relay.run, daemon=True).start()
        context.relay_port = listener.getsockname()[1]
        try:
            yield
        except Exception:
            if relay.failure:
                raise relay.failure from None
            raise
        finally:
            context.relay_port = None
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)  # ends `accept`


class _Relay:
    def __init__(self, context: ProbeContext, listener: socket.socket, ssl_context: ssl.SSLContext | None) -> None:
        self.context, self.listener, self.ssl_context = context, listener, ssl_context
        self.server_address = context.target
        self.failure: Exception | None = None
        """Why a connection to the server ended, if the driver cannot know it."""

    def run(self) -> None:
        with suppress(OSError):
            while True:
                driver, _ = self.listener.accept()
                threading.Thread(target=self._run_connection, args=(driver,), daemon=True).start()

    def _run_connection(self, driver: socket.socket) -> None:
        with driver, suppress(OSError):
            try:
                server = self._connect()
            except ssl.SSLError as error:
                self.failure = explain_tls_failure(error)
                return
            with server:
                self._join_connections(driver, server)

    def _connect(self) -> socket.socket:
        connection = socket.create_connection(self.server_address, self.context.login_timeout)
        if self.ssl_context is None:
            return connection
        with suppress(OSError):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            return self.ssl_context.wrap_socket(connection, server_hostname=self.context.endpoint.host)
        except BaseException:
            connection.close()
            raise

    def _join_connections(self, driver: socket.socket, server: socket.socket) -> None:
        """Forward data in both directions until one side ends the connection, or a limit is reached."""
        received = 0
        with selectors.DefaultSelector() as selector:
            for side in (driver, server):
                selector.register(side, selectors.EVENT_READ)
            while (remaining := self.context.deadline + GRACE_SECONDS - time.monotonic()) > 0:
                # TLS can hold data that the selector does not see.
                has_data = isinstance(server, ssl.SSLSocket) and server.pending()
                ready = [server] if has_data else [key.fileobj for key, _ in selector.select(remaining)]
                if driver in ready:
                    data = driver.recv(CHUNK_BYTES)
                    if not data:
                        return
                    with suppress(OSError):  # the server closed the connection; its last data has the reason
                        server.sendall(data)
                if server in ready:
                    data = self._read(server)
                    received += len(data)
                    if received > MAX_ANSWER_BYTES:
                        size = MAX_ANSWER_BYTES // 1024 // 1024
                        self.failure = UnexpectedProtocolError(f"it sent more than {size} MiB")
                        return
                    if not data:
                        return
                    driver.sendall(data)

    def _read(self, server: socket.socket) -> bytes:
        """Receive data of the server. Empty at the end of the connection."""
        try:
            return server.recv(CHUNK_BYTES)
        except ssl.SSLEOFError:
            return b""
        except ssl.SSLError as error:
            self.failure = explain_tls_failure(error)
        except ConnectionResetError:
            self.failure = self.failure or UnexpectedProtocolError("the server reset the connection")
        return b""
