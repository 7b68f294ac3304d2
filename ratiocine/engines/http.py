"""Concurrent HTTP calls with libcurl, at half the CPU time of a client in Python
(`bench.distill calls`).

Proxies come from the environment (https_proxy, no_proxy and so on), certificates from certifi or
SSL_CERT_FILE.
"""

from __future__ import annotations

import os
import re
import socket
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from ratiocine.errors import BadInput

if TYPE_CHECKING:
    from pycurl import AsyncCurlMulti


# What OpenSSL says of an answer in plain text.
NO_TLS = re.compile("wrong version number|packet length too long|record layer failure|http request")


class RetryableError(Exception):
    """A call that may succeed later; not before `after` seconds, if the server has sent
    Retry-After. `busy` states that the server asks for fewer calls, `of_request` that the request
    may be the cause, not the server's state."""

    def __init__(
        self,
        kind: str,
        detail: str = "",
        *,
        after: float = 0.0,
        busy: bool = False,
        of_request: bool = False,
    ) -> None:
        super().__init__(f"{kind} {detail}".strip())
        self.kind, self.after, self.busy, self.of_request = kind, after, busy, of_request


class Connection:
    """One call at a time, over a connection that is kept alive."""

    def __init__(
        self, multi: AsyncCurlMulti, key: str | None, timeout: float, setting: str = "engine"
    ) -> None:
        import certifi
        import pycurl

        self.multi, self.curl, self.url = multi, pycurl.Curl(), ""
        self.setting = setting
        key_header = [f"Authorization: Bearer {key}"] if key else []
        for option, value in (
            (pycurl.HTTPHEADER, ["Content-Type: application/json", "Expect:", *key_header]),
            (pycurl.TIMEOUT_MS, round(timeout * 1000)),
            (pycurl.NOSIGNAL, True),
            (pycurl.ACCEPT_ENCODING, ""),
            (pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1),
            (pycurl.CAINFO, os.environ.get("SSL_CERT_FILE", certifi.where())),
            (pycurl.FOLLOWLOCATION, True),
            (pycurl.MAXREDIRS, 3),
            (pycurl.POSTREDIR, pycurl.REDIR_POST_ALL),
            (pycurl.REDIR_PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS),
        ):
            self.curl.setopt(option, value)

    async def call(self, url: str, body: bytes | None = None) -> tuple[int, str, float]:
        """POST a body, or GET without one; returns status, text and Retry-After in seconds.

        Raises RetryableError if there is no complete answer, BadInput if there can be none.
        """
        import pycurl

        if url != self.url:
            self.curl.setopt(pycurl.URL, url)
            self.curl.setopt(pycurl.PROXY, _proxy(url) or "")
            self.url = url
        if body is None:
            self.curl.setopt(pycurl.HTTPGET, True)
        else:
            self.curl.setopt(pycurl.POSTFIELDS, body)
        parts: list[bytes] = []
        self.curl.setopt(pycurl.WRITEFUNCTION, parts.append)
        try:
            await self.multi.perform(self.curl)
        except pycurl.error as error:
            number, message = error.args
            if number in (
                pycurl.E_URL_MALFORMAT,
                pycurl.E_UNSUPPORTED_PROTOCOL,
                pycurl.E_PEER_FAILED_VERIFICATION,
            ):
                raise BadInput(f"{self.setting}.base_url: {url}: {message}") from None
            if number == pycurl.E_SSL_CONNECT_ERROR and NO_TLS.search(message):
                plain = url.replace("https://", "http://", 1).removesuffix("/chat/completions")
                raise BadInput(
                    f"{self.setting}.base_url: {url}: {message} (no TLS there? try {plain})"
                ) from None
            raise RetryableError(_error_name(number), message) from None
        text = b"".join(parts).decode(errors="replace")
        return (
            self.curl.getinfo(pycurl.RESPONSE_CODE),
            text,
            float(self.curl.getinfo(pycurl.RETRY_AFTER)),
        )


def redacted(text: object, key: str | None) -> str:
    """A message without the key, which a server may repeat."""
    return str(text).replace(key, "[key]") if key else str(text)


def connection_pool(size: int) -> AsyncCurlMulti:
    """The pool that drives up to `size` connections and keeps them alive."""
    import pycurl

    multi = pycurl.AsyncCurlMulti()
    multi.setopt(pycurl.M_MAXCONNECTS, size)
    return multi


def _error_name(number: int) -> str:
    """libcurl's name for an error, such as "operation timedout"."""
    import pycurl

    names = (
        name for name in dir(pycurl) if name.startswith("E_") and getattr(pycurl, name) == number
    )
    return next(names, f"E_{number}")[2:].lower().replace("_", " ")


def check_connection(url: str, timeout: float, setting: str = "engine") -> None:
    """Raise BadInput if a server accepts no connection: a wrong address, not a busy server."""
    try:
        parts = urlsplit(url)
        if _proxy(url):
            return  # only the proxy knows
        port = parts.port or {"http": 80, "https": 443}[parts.scheme]
        address = (parts.hostname or "", port)
        socket.create_connection(address, timeout=min(10, timeout)).close()
    except (KeyError, ValueError):
        raise BadInput(
            f"{setting}.base_url={url} is no address such as http://localhost:8000/v1"
        ) from None
    except OSError as error:
        raise BadInput(
            f"{setting}.base_url={url} does not answer: {error.strerror or error}"
        ) from None


def _proxy(url: str) -> str | None:
    """The environment's proxy for an address; none for this machine itself."""
    parts = urlsplit(url)
    if parts.hostname in ("localhost", "127.0.0.1", "::1") or proxy_bypass(parts.netloc):
        return None
    return getproxies().get(parts.scheme)
