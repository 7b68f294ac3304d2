"""No test reaches beyond loopback. Python imports this by itself in every process a test starts,
because `conftest` puts this folder on PYTHONPATH; `conftest` imports it for the test process."""

import ipaddress
import socket

_connect, _connect_ex, _lookup = socket.socket.connect, socket.socket.connect_ex, socket.getaddrinfo


def _local(host: object) -> bool:
    try:
        return (
            host in (None, "", "localhost", b"localhost")
            or ipaddress.ip_address(str(host)).is_loopback
        )
    except ValueError:
        return False


def _guard(sock: socket.socket, address: object) -> None:
    internet = sock.family in (socket.AF_INET, socket.AF_INET6)
    if internet and not _local(address[0]):  # type: ignore[index]
        raise OSError(f"tests open no connection beyond loopback: {address}")


def connect(sock, address):
    _guard(sock, address)
    return _connect(sock, address)


def connect_ex(sock, address):
    _guard(sock, address)
    return _connect_ex(sock, address)


def getaddrinfo(host, *args, **kwargs):
    if not _local(host):
        raise socket.gaierror(f"tests look up no name: {host}")
    return _lookup(host, *args, **kwargs)


socket.socket.connect, socket.socket.connect_ex, socket.getaddrinfo = (
    connect,
    connect_ex,
    getaddrinfo,
)
