"""RabbitMQ: answers of a fake broker."""

import socket
from typing import Any

import pika.frame
import pika.spec
import pytest

from preflight import check
from tests.preflight.fakes import Handler, MakeFake, results

Connection = pika.spec.Connection


def serve_rabbitmq(*, close_at: str, code: int = 0, text: str = "") -> Handler:
    """Run a broker of AMQP 0-9-1 that closes the connection at the login, at the virtual host or at the end."""

    def send(connection: socket.socket, method: Any) -> None:
        connection.sendall(bytes(pika.frame.Method(0, method).marshal()))

    def receive(connection: socket.socket, method: Any) -> None:
        received = b""
        while method.INDEX.to_bytes(4, "big") not in received:
            data = connection.recv(4096)
            if not data:
                raise ConnectionError("the client closed the connection")
            received += data

    def handler(connection: socket.socket) -> None:
        connection.recv(8)
        send(connection, Connection.Start(0, 9, {}, "PLAIN", "en_US"))
        receive(connection, Connection.StartOk)
        if close_at == "login":
            return
        send(connection, Connection.Tune(10, 131072, 0))
        receive(connection, Connection.Open)
        if close_at == "vhost":
            send(connection, Connection.Close(code, text, 0, 0))
            receive(connection, Connection.CloseOk)
            return
        send(connection, Connection.OpenOk())
        receive(connection, Connection.Close)
        send(connection, Connection.CloseOk())

    return handler


@pytest.mark.parametrize(
    ("handler", "result"),
    [
        (serve_rabbitmq(close_at="end"), None),
        (serve_rabbitmq(close_at="login"), "the server rejected the login: "),
        (
            serve_rabbitmq(close_at="vhost", code=530, text="NOT_ALLOWED - vhost shop not found"),
            "login succeeded, but the user cannot access the virtual host shop: ",
        ),
        (
            serve_rabbitmq(close_at="vhost", code=530, text="NOT_ALLOWED - connection limit (1) is reached"),
            "the server accepts no more connections: ",
        ),
    ],
    ids=["accepted", "login", "virtual host", "connection limit"],
)
def test_an_answer_of_the_broker_has_its_result(
    handler: Handler, result: str | None, fake: MakeFake, capfd: pytest.CaptureFixture[str]
) -> None:
    account = {"username": "shop", "password": "c4narY", "vhost": "shop"}
    findings = check([fake(handler).endpoint("rabbitmq", account=account)])
    assert len(findings) == (result is not None)
    assert all(text.startswith(result or "") for text in results(findings))
    assert capfd.readouterr() == ("", "")


def test_a_check_without_an_account_needs_an_answer_only(fake: MakeFake) -> None:
    assert check([fake(serve_rabbitmq(close_at="login")).endpoint("rabbitmq")]) == []
