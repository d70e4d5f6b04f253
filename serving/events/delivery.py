"""One signed POST to an address that somebody else chose.

Signed as Standard Webhooks 1.0 says (standardwebhooks.com): HMAC-SHA256 over id, time and body. The
address is resolved once, each of its addresses is checked, and that very address is connected to,
so that a name which points into our own network, or comes to do so between check and connection,
reaches nothing there. Redirects are not followed. Of the answer only the status is read.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import ipaddress
import os
import re
import secrets
import socket
import ssl
from urllib.parse import SplitResult, urlsplit

from models.contracts import FelsinaError

TIMEOUT_SECONDS = 10.0
"""For all of it: name, connection, request and the answer's first line."""
MOST_LINE = 4096
SECRET = "whsec_"
_MARKED = (
    *("192.0.0.0/24", "::/96", "::ffff:0:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48"),
    *("2001::/32", "2002::/16", "fec0::/10"),
)
_INDIRECT = tuple(ipaddress.ip_network(text) for text in _MARKED)
"""Addresses that lead to others, or that not every Python knows to be private."""
_STATUS = re.compile(rb"HTTP/1\.[01] ([1-5]\d\d)[ \r\n]")


def local_allowed() -> bool:
    """Whether plain http and private addresses are allowed: in tests, never in the open."""
    return os.environ.get("FELSINA_WEBHOOK_LOCAL") == "1"


def checked(url: str) -> SplitResult:
    """The parts of an address that may be posted to.

    Raises:
        FelsinaError: saying what is wrong with it.
    """
    if len(url) > 2000 or not re.fullmatch(r"[!-~]+", url):
        raise FelsinaError("url: at most 2000 printable ASCII characters without spaces")
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise FelsinaError(f"url {url!r}: {error}") from error
    schemes = ("https", "http") if local_allowed() else ("https",)
    if parts.scheme not in schemes or not host or "@" in parts.netloc:
        raise FelsinaError(f"url {url!r}: give one like https://example.org/hook, without a login")
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return parts
    _refuse_private(str(address), host)
    return parts


def public(address: str) -> bool:
    """Whether an IP address lies in the open, whatever notation it hides in."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped:
        ip = ip.ipv4_mapped
    indirect = any(ip.version == net.version and ip in net for net in _INDIRECT)
    return ip.is_global and not ip.is_multicast and not indirect


def new_secret() -> str:
    """A secret that one webhook's messages are signed with."""
    return SECRET + base64.b64encode(secrets.token_bytes(24)).decode()


def signature(secret: str, name: str, seconds: int, body: bytes) -> str:
    """The ``webhook-signature`` of a message."""
    key = base64.b64decode(secret.removeprefix(SECRET))
    content = f"{name}.{seconds}.".encode() + body
    return "v1," + base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()


async def post(url: str, secret: str, name: str, seconds: int, body: bytes) -> int:
    """Post a message; the status of the answer.

    Raises:
        OSError, TimeoutError, FelsinaError: if there was none.
    """
    async with asyncio.timeout(TIMEOUT_SECONDS):
        parts = checked(url)
        host = str(parts.hostname).encode("idna").decode()
        secure = parts.scheme == "https"
        port = parts.port or (443 if secure else 80)
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        addresses = list(dict.fromkeys(str(info[4][0]) for info in found))
        for address in addresses:
            _refuse_private(address, host)
        reader, writer = await asyncio.open_connection(
            addresses[0],
            port,
            limit=MOST_LINE,
            ssl=ssl.create_default_context() if secure else None,
            server_hostname=host if secure else None,
        )
        try:
            target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            lines = (
                f"POST {target} HTTP/1.1",
                f"Host: {parts.netloc}",
                "User-Agent: Felsina",
                "Content-Type: application/json",
                f"Content-Length: {len(body)}",
                f"webhook-id: {name}",
                f"webhook-timestamp: {seconds}",
                f"webhook-signature: {signature(secret, name, seconds, body)}",
                "Connection: close",
            )
            writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
            await writer.drain()
            return await _status(reader)
        finally:
            writer.transport.abort()


async def _status(reader: asyncio.StreamReader) -> int:
    """The status of an answer; one below 200 only announces the next."""
    for number in range(100):  # lines of announcements count too
        try:
            line = await reader.readline()
        except ValueError as error:
            raise OSError(f"the answer has a line of more than {MOST_LINE} bytes") from error
        match = _STATUS.match(line)
        if match and int(match[1]) >= 200:
            return int(match[1])
        if not line or (not match and number == 0):
            break
    raise OSError("no HTTP answer")


def _refuse_private(address: str, host: str) -> None:
    if not local_allowed() and not public(address):
        raise FelsinaError(f"url: {host} is not at a public address")
