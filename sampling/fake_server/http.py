"""HTTP/1.1 as a server sees it: a request off a connection, and the head of a reply. Nothing else, and within bounds.

It is written out here, and not left to a library, since the replies of a fake server must be able to break the rules
that libraries keep.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from http.client import responses
from typing import NamedTuple
from urllib.parse import parse_qsl, urlsplit

from stillroom.sampling.fake_server.exchange import Reply

LONGEST_BODY = 64 * 2**20
_MOST_HEADERS = 200


class BadRequest(Exception):
    """A request that cannot be read: `status` says so to the client."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


class HttpRequest(NamedTuple):
    """A request. Names of headers are in lower case; `closes`: the client wants the connection closed."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    closes: bool


async def read_request(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> HttpRequest | None:
    """The next request; None where the client has gone. Raises BadRequest."""
    line = await _line(reader)
    if not line:
        return None
    method, target, version = (*line.split(" ", 2), "", "")[:3]
    if not version.startswith("HTTP/1"):
        raise BadRequest(400, f"not a request of HTTP/1.1: {line[:100]!r}")
    headers: dict[str, str] = {}
    while line := await _line(reader):
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
        if len(headers) > _MOST_HEADERS:
            raise BadRequest(431, f"more than {_MOST_HEADERS} headers")
    if headers.get("expect", "").lower() == "100-continue":
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    try:
        parts = urlsplit(target)
        body = await _body(reader, headers)
    except asyncio.IncompleteReadError:
        return None
    except ValueError as bad:
        raise BadRequest(400, str(bad)[:200]) from None
    closes = headers.get("connection", "").lower() == "close" or version == "HTTP/1.0"
    return HttpRequest(method, parts.path, dict(parse_qsl(parts.query)), headers, body, closes)


async def _line(reader: asyncio.StreamReader) -> str:
    try:
        line = await reader.readline()
    except ValueError:  # longer than the reader's limit
        raise BadRequest(431, "a line of the head is longer than 64 KiB") from None
    return line.decode("latin-1").strip()


async def _body(reader: asyncio.StreamReader, headers: Mapping[str, str]) -> bytes:
    if headers.get("transfer-encoding", "").lower() != "chunked":
        length = int(headers.get("content-length") or 0)
        if not 0 <= length <= LONGEST_BODY:
            raise BadRequest(413, f"a body of {length:,} bytes: at most {LONGEST_BODY:,} are read")
        return await reader.readexactly(length)
    body = bytearray()
    while size := int((await _line(reader)).partition(";")[0], 16):
        if len(body) + size > LONGEST_BODY or size < 0:
            raise BadRequest(413, f"more than {LONGEST_BODY:,} bytes")
        body += await reader.readexactly(size)
        await _line(reader)
    while await _line(reader):
        pass
    return bytes(body)


def head_of(reply: Reply) -> bytes:
    """The head of a reply, up to the body."""
    headers = {"Server": "stillroom-fake", **reply.headers}
    if reply.chunked:
        headers["Transfer-Encoding"] = "chunked"
    elif reply.length is None or reply.length >= 0:
        headers["Content-Length"] = str(len(reply.body) if reply.length is None else reply.length)
    if reply.after != "keep":
        headers.setdefault("Connection", "close")
    lines = [f"HTTP/1.1 {reply.status} {responses.get(reply.status, 'Unknown')}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")
