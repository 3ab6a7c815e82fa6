"""HTTP to an OpenAI-compatible server: one pool of connections, JSON out, bytes back, every failure named.

It goes through aiohttp and not through the openai SDK: for 2,000 answers the SDK took 5.7 s of processor time, 1 s of
it to be imported, where this takes 1.2 s. It asks once; whether to ask again is decided elsewhere. A request that is
cancelled, or is not answered in time, closes its connection, which is how a server learns to stop.

    http = Http(key="", timeout_s=600.0)
    reply = await http.ask("http://localhost:8000/v1/chat/completions", b"{…}")
    await http.close()
"""

from __future__ import annotations

import asyncio
import functools
import math
import os
from collections.abc import Awaitable, Callable, Mapping
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urljoin, urlsplit

from stillroom.common.secrets import keep_key
from stillroom.errors import MissingKey
from stillroom.sampling.rate_limit import End
from stillroom.sampling.teachers.openai.network import Proxies, Proxy, certificates, why_untrusted

if TYPE_CHECKING:
    from pathlib import Path

    from aiohttp import ClientSession, FormData, StreamReader
    from aiohttp.connector import BaseConnector

# A server that accepts no connection for this long is not there; answers may take far longer.
CONNECT_TIMEOUT_S = 10.0
# Below the 5 s after which uvicorn, under vLLM and most gateways, closes an idle connection: a request that is sent
# while it closes would be lost.
KEEP_ALIVE_S = 4.0
# No answer is this long; a body without an end must not fill the memory.
LONGEST_BODY = 64 * 2**20
# Seconds and bytes for a list of models, which a run can do without: some servers hang there.
LOOK_S, LONGEST_LOOK = 10.0, 8 * 2**20
# A server may move its paths about (a slash at the end, say), but not in a circle.
_MOST_REDIRECTS = 5


class HttpReply(NamedTuple):
    """What the server answered, whatever its status. Names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class NoAnswer(Exception):
    """There was none: how it ended, and why in words; `fix`: what to do, where the settings are at fault. Holds no
    key."""

    def __init__(self, end: End, why: str, fix: str = "") -> None:
        super().__init__(why)
        self.end, self.fix = end, fix


class Patience:
    """Seconds to wait while an answer streams: for its first part, then for each next one; `whole_s`: in the place of
    both, for all of it. None: no limit."""

    def __init__(self, first_s: float | None, idle_s: float | None, whole_s: float | None = None) -> None:
        self.first_s, self.idle_s, self.whole_s = first_s, idle_s, whole_s
        self._timer: asyncio.Timeout | None = None
        self._heard = False

    def start(self) -> asyncio.Timeout:
        """The time limit to wait under, from the sending of a request on."""
        self._heard, self._timer = False, asyncio.timeout(self.first_s if self.whole_s is None else self.whole_s)
        return self._timer

    def heard(self) -> None:
        """Another part came."""
        self._heard = True
        if self.whole_s is not None:
            return
        if self._timer is not None and (self.idle_s is not None or self.first_s is not None):
            now = asyncio.get_running_loop().time()
            self._timer.reschedule(None if self.idle_s is None else now + self.idle_s)

    @property
    def why(self) -> str | None:
        """What ran out, or None."""
        if self._timer is None or not self._timer.expired():
            return None
        if self.whole_s is not None:
            return f"no answer within {self.whole_s:g} s"
        return f"nothing more within {self.idle_s:g} s" if self._heard else f"nothing within {self.first_s:g} s"


Reader = Callable[["StreamReader", Patience], Awaitable[bytes]]


class Http:
    """A pool of connections, opened when used; it belongs to the event loop it is made in.

    How many are open at once is for the caller to bound. Proxies are those of the environment. `more`: further
    headers, which come before those of the same name. `ca_file`: of an authority that is trusted, too.
    """

    def __init__(
        self, key: str, timeout_s: float, more: Mapping[str, str] | None = None, ca_file: Path | None = None
    ) -> None:
        import aiohttp

        headers = {"Accept": "application/json", "User-Agent": "stillroom"}
        if key:
            headers["Authorization"] = f"Bearer {key}"
        # The organisation and project are read where OpenAI's own clients read them.
        for name, variable in (("OpenAI-Organization", "OPENAI_ORG_ID"), ("OpenAI-Project", "OPENAI_PROJECT_ID")):
            if value := os.environ.get(variable, "").strip():
                if not (value.isascii() and value.isprintable()):
                    raise MissingKey(
                        f"the environment variable {variable} holds characters that fit in no HTTP header"
                    )
                keep_key(value)
                headers[name] = value
        own = {name.lower() for name in more or {}}
        headers = {name: value for name, value in headers.items() if name.lower() not in own} | dict(more or {})
        self._timeout_s, self._connect_s = timeout_s, min(timeout_s, CONNECT_TIMEOUT_S)
        self._headers, self._ca_file, self._proxies = headers, ca_file, Proxies()
        self._session = self._open(aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE_S))
        self._through: dict[Proxy, ClientSession] = {}  # SOCKS proxies
        self._proxy_errors: tuple[type[Exception], ...] = ()  # what these raise

    def _open(self, connector: BaseConnector) -> ClientSession:
        import aiohttp

        return aiohttp.ClientSession(
            connector=connector,
            timeout=aiohttp.ClientTimeout(total=self._timeout_s, sock_connect=self._connect_s),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=self._headers,
        )

    async def close(self) -> None:
        """Closes all connections."""
        for session in (self._session, *self._through.values()):
            await session.close()

    async def look(self, url: str) -> HttpReply:
        """Gets what is there, if it comes soon and is not long: what a run can do without."""
        return await self.ask(url, patience=Patience(None, None, whole_s=LOOK_S), most=LONGEST_LOOK)

    async def ask(
        self,
        url: str,
        body: bytes | None = None,
        stream: Reader | None = None,
        patience: Patience | None = None,
        most: int = LONGEST_BODY,
    ) -> HttpReply:
        """Posts JSON, or gets what is there without a `body`. `stream` reads the answer where the server streams one.
        `most`: bytes of an answer that is not streamed.

        The reply is the one after redirects within the server; one that leads away is the reply. Raises NoAnswer.
        """
        method = "GET" if body is None else "POST"
        for _ in range(_MOST_REDIRECTS):
            read = functools.partial(_whole, most=most)
            reply = await self._once(method, url, body, stream, read, patience or Patience(None, None))
            further = _redirect(method, url, reply)
            if further is None:
                return reply
            url = further
        raise NoAnswer(End.BROKEN, f"more than {_MOST_REDIRECTS} redirects")

    async def upload(self, url: str, fields: Mapping[str, str], name: str, file: Path) -> HttpReply:
        """Posts a file as a form does, with these fields, under the name `name`. Raises NoAnswer; OSError where the
        file cannot be read."""
        import aiohttp

        with file.open("rb") as data:
            form = aiohttp.FormData(dict(fields))
            form.add_field("file", data, filename=name, content_type="application/jsonl")
            return await self._once("POST", url, form, None, _whole, Patience(None, None))

    async def fetch(self, url: str, into: Reader) -> HttpReply:
        """Gets what is there, which `into` reads where it was found: for what is too long to be held. Raises as `ask`
        does."""
        for _ in range(_MOST_REDIRECTS):
            reply = await self._once("GET", url, None, None, _whole, Patience(None, None), into)
            further = _redirect("GET", url, reply)
            if further is None:
                return reply
            url = further
        raise NoAnswer(End.BROKEN, f"more than {_MOST_REDIRECTS} redirects")

    async def _once(
        self,
        method: str,
        url: str,
        body: bytes | FormData | None,
        stream: Reader | None,
        whole: Reader,
        patience: Patience,
        into: Reader | None = None,
    ) -> HttpReply:
        import aiohttp

        proxy = self._proxies.of(url)
        session = self._session_for(proxy)
        way = "" if proxy is None else f" (through the proxy {proxy.name} of {proxy.variable})"
        how: dict[str, Any] = {"data": body, "allow_redirects": False}
        if isinstance(body, bytes):
            how["headers"] = {"Content-Type": "application/json"}
        if proxy is not None and not proxy.socks:
            how["proxy"] = proxy.address
        if url.startswith("https:"):
            how["ssl"] = certificates(self._ca_file)
        try:
            async with patience.start(), session.request(method, url, **how) as response:
                streams = response.ok and response.content_type == "text/event-stream"
                read = stream if stream is not None and streams else whole
                read = into if into is not None and response.ok else read
                headers = {name.lower(): value for name, value in response.headers.items()}
                return HttpReply(response.status, headers, await read(response.content, patience))
        except aiohttp.ConnectionTimeoutError:
            raise NoAnswer(End.UNREACHED, f"no connection within {self._connect_s:g} s{way}") from None
        except TimeoutError:
            why = patience.why or f"no answer within {self._timeout_s:g} s"
            raise NoAnswer(End.TIMED_OUT, f"{why}{way}") from None
        except aiohttp.ClientSSLError as error:
            why, fix = why_untrusted(error.os_error)
            raise NoAnswer(End.UNREACHED, f"{why}{way}", fix) from None
        except aiohttp.ClientConnectorError as error:
            raise NoAnswer(End.UNREACHED, f"{error.os_error or type(error).__name__}{way}") from None
        except aiohttp.ClientResponseError as error:  # of a proxy, say; its text holds addresses
            raise NoAnswer(End.BROKEN, f"HTTP {error.status}: {error.message}{way}") from None
        except aiohttp.InvalidURL:
            raise NoAnswer(End.UNREACHED, f"it is not an address{way}") from None
        except self._proxy_errors as error:
            raise NoAnswer(End.UNREACHED, f"{error or type(error).__name__}{way}") from None
        except (aiohttp.ClientError, OSError) as error:
            raise NoAnswer(End.BROKEN, f"{error or type(error).__name__}{way}") from None

    def _session_for(self, proxy: Proxy | None) -> ClientSession:
        """The connections through a proxy. Raises InputError where a SOCKS proxy cannot be used."""
        if proxy is None or not proxy.socks:
            return self._session
        if proxy not in self._through:
            self._through[proxy] = self._open(proxy.connector(KEEP_ALIVE_S))
            from aiohttp_socks import ProxyConnectionError, ProxyError, ProxyTimeoutError

            self._proxy_errors = (ProxyConnectionError, ProxyError, ProxyTimeoutError)
        return self._through[proxy]


def place_of(url: str) -> str:
    """An address for messages: without a user, a password or a query, any of which may be a secret."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}" if host else parts.path


def _redirect(method: str, url: str, reply: HttpReply) -> str | None:
    """Where to ask the same again; None where the reply is not a redirect, or leads to another server: neither to the
    same host and port, nor to the same host by a safer way."""
    follows = (307, 308) if method == "POST" else (301, 302, 303, 307, 308)
    if reply.status not in follows or not (location := reply.headers.get("location")):
        return None
    try:
        old, new = urlsplit(url), urlsplit(urljoin(url, location))
        ports = {"http": 80, "https": 443}
        was, now = ((parts.scheme, parts.port or ports.get(parts.scheme)) for parts in (old, new))
        same = old.hostname == new.hostname and (was == now or (was, now) == (("http", 80), ("https", 443)))
    except ValueError:  # no address, or no port
        return None
    if not same:
        return None
    user = old.netloc.rpartition("@")[0]
    host = new.netloc.rpartition("@")[2]
    return new._replace(netloc=f"{user}@{host}" if user else host, query=new.query or old.query).geturl()


async def _whole(content: StreamReader, patience: Patience, most: int = LONGEST_BODY) -> bytes:
    body = bytearray()
    async for piece in content.iter_any():
        patience.heard()
        body += piece
        check_length(len(body), most, "answer")
    return bytes(body)


def parse_retry_after(value: str, now_s: float) -> float | None:
    """Seconds that a `Retry-After` header asks to wait, never below 0; None where it says nothing that can be read.

    It holds seconds, or a date as HTTP writes it. `now_s`: seconds since 1970.
    """
    try:
        seconds = float(value)
    except ValueError:
        try:
            return max(0.0, parsedate_to_datetime(value).timestamp() - now_s)
        except (ValueError, OverflowError, OSError):
            return None
    return max(0.0, seconds) if math.isfinite(seconds) else None


def check_length(length: int, most: int, what: str) -> None:
    """Raises NoAnswer for more than `most` bytes."""
    if length > most:
        raise NoAnswer(End.BROKEN, f"the {what} is longer than {most / 2**20:g} MiB")
