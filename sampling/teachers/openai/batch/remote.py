"""The batch API of a server: uploads a file, creates a batch of it, looks how it does, finds it again, fetches all.

`POST /files` (purpose `batch`), `POST /batches`, `GET /batches/{id}`, `GET /batches`, `GET /files/{id}/content`, as
OpenAI documents them (https://platform.openai.com/docs/guides/batch and the reference of batches and files); Azure,
Novita, DeepInfra and LiteLLM offer the same paths. A batch is `validating`, `in_progress`, `finalizing`, and then
`completed`, `failed` (refused as a whole), `expired` or `cancelled`; of the last two there are results, too.

It asks again where a server is busy or does not answer, unless that may cost money: a batch is created once,
and whoever got no reply looks it up by the file that it was made of. Replies are read with suspicion, and no message
holds a key. Results are written to a disk line by line, without keys, and put in place when they are whole.

    remote = Remote(http, server, settings.retry, refusal)
    seen = await remote.create(await remote.upload(path, "b0001.jsonl"), "24h", "b0001")
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from stillroom.common.files import replaced
from stillroom.common.outside import NotJson, read_json, tokens_in
from stillroom.errors import InputError, RequestFailed, StillroomError
from stillroom.sampling.rate_limit import End
from stillroom.sampling.requests import with_retries
from stillroom.sampling.teachers.base import RetrySettings
from stillroom.sampling.teachers.openai.batch.lines import ENDPOINT, LONGEST_LINE, clean_line
from stillroom.sampling.teachers.openai.http import Http, HttpReply, NoAnswer, Patience, check_length
from stillroom.sampling.teachers.openai.waits import when_again

if TYPE_CHECKING:
    from aiohttp import StreamReader

ENDED = frozenset({"completed", "failed", "expired", "cancelled"})
"""Words for a batch that nothing more becomes of."""
_STATES = ENDED | {"validating", "in_progress", "finalizing", "cancelling"}
LONGEST_RESULTS = 64 * 2**30
"""Bytes of a file of results: 50,000 answers of more than a megabyte."""
_ID = re.compile(r"[A-Za-z0-9_.:=-]{1,200}")
_PAGE, _MOST_PAGES = 100, 1000
_MARK = "stillroom"
_LOOKED_AT = 65_536
_MOST_ERRORS = 3


class Seen(NamedTuple):
    """A batch as its server describes it. `done`: requests that are answered or failed, of `total`; both None where
    it does not count. `output`, `errors`: ids of files, None where there is none. `said`: what is wrong with the
    batch as a whole, as the server wrote it. Times are seconds since 1970, None where it does not say."""

    id: str
    status: str
    total: int | None
    done: int | None
    output: str | None
    errors: str | None
    said: tuple[dict[str, Any], ...]
    began_s: float | None
    expires_s: float | None

    @property
    def ended(self) -> bool:
        """Whether nothing more becomes of it."""
        return self.status in ENDED


class Refusal(Protocol):
    """How a teacher turns a reply without an answer into an error. `after_s`: seconds that it asks to wait."""

    def __call__(self, reply: HttpReply, after_s: float | None, before: str) -> StillroomError: ...


class Unknown(Exception):
    """Nobody knows whether a batch was created: the request had left, and no reply came."""


class Remote:
    """The batch API of one server. `url`: gives the address of a path; `refusal`: the error for a reply that is none;
    `name`: how messages call the server."""

    def __init__(
        self, http: Http, url: Callable[[str], str], retry: RetrySettings, refusal: Refusal, name: str
    ) -> None:
        self._http, self._url, self._retry, self._refusal, self._name = http, url, retry, refusal, name

    async def upload(self, file: Path, name: str) -> str:
        """The id of a file of requests at the server. An upload costs nothing, so it is repeated until it is done."""
        url = self._url("files")
        reply = await self._ask(
            lambda: self._http.upload(url, {"purpose": "batch"}, name, file), "the file of a batch"
        )
        return _id_in(_read(reply, self._name), self._name)

    async def create(self, file_id: str, window: str, mark: str) -> Seen:
        """Creates a batch of a file. It is asked once. Raises Unknown where no reply came."""
        body = {
            "input_file_id": file_id,
            "endpoint": ENDPOINT,
            "completion_window": window,
            "metadata": {_MARK: mark},
        }

        async def once() -> HttpReply:
            try:
                reply = await self._http.ask(self._url("batches"), json.dumps(body).encode())
            except NoAnswer as none:
                if none.end is End.UNREACHED:  # it never left
                    raise
                raise Unknown from None
            if reply.status >= 500:  # of a proxy, perhaps, behind which it was created all the same
                raise Unknown
            return reply

        return _seen(_read(await self._ask(once, "a batch"), self._name), self._name)

    async def look(self, batch_id: str) -> Seen:
        """A batch as it is now."""
        reply = await self._ask(lambda: self._http.ask(self._url(f"batches/{batch_id}")), f"the batch {batch_id}")
        return _seen(_read(reply, self._name), self._name)

    async def find(self, file_id: str, mark: str) -> Seen | None:
        """The batch that was created of a file, or under a mark; None where the server has none. Raises InputError
        where the server does not list its batches."""
        after = ""
        for _ in range(_MOST_PAGES):
            # Only the values are encoded: an id that the server gave holds no other character.
            url = self._url("batches")
            url += f"{'&' if '?' in url else '?'}limit={_PAGE}" + (f"&after={after}" if after else "")
            found = _read(await self._ask(partial(self._http.ask, url), "the list of batches"), self._name)
            listed = found.get("data")
            for each in listed if isinstance(listed, list) else []:
                if not isinstance(each, dict):
                    continue
                about = each.get("metadata")
                marked = isinstance(about, dict) and about.get(_MARK) == mark
                if marked or each.get("input_file_id") == file_id:
                    return _seen(each, self._name)
            last = (
                listed[-1].get("id") if isinstance(listed, list) and listed and isinstance(listed[-1], dict) else None
            )
            if found.get("has_more") is not True or not isinstance(last, str) or not _ID.fullmatch(last):
                return None
            after = last
        return None

    async def fetch(self, file_id: str, into: Path) -> None:
        """Writes a file of results to `into`, whole. Raises RunError where the disk is full."""
        url = self._url(f"files/{file_id}/content")

        async def once() -> HttpReply:
            with replaced(into) as file:

                async def read(content: StreamReader, patience: Patience) -> bytes:
                    rest, length = b"", 0
                    async for piece in content.iter_any():
                        length += len(piece)
                        check_length(length, LONGEST_RESULTS, "file of results")
                        *lines, rest = (rest + piece).split(b"\n")
                        check_length(len(rest), LONGEST_LINE, "line of a result")
                        file.writelines(clean_line(line) + b"\n" for line in lines)
                    file.write(clean_line(rest))
                    return b""

                reply = await self._http.fetch(url, read)
                if reply.status >= 300:
                    raise _NotThere(reply)
            return reply

        await self._ask(once, f"the results {file_id}")

    async def _ask(self, ask: Callable[[], Any], what: str) -> HttpReply:
        """The reply, asked for again while the server is busy or does not answer."""

        async def once() -> HttpReply:
            try:
                reply: HttpReply = await ask()
            except NoAnswer as none:
                if none.fix:
                    raise InputError(f"{self._name} is not asked: {none}: {none.fix}") from None
                raise RequestFailed(f"{what}: {none}", retryable=True) from None
            except _NotThere as found:
                reply = found.reply
            if reply.status < 300:
                return reply
            said = reply.body[:_LOOKED_AT].decode("utf-8", "replace")
            after_s = when_again(reply.headers, said, time.time(), resets=reply.status == 429)
            raise self._refusal(reply, after_s, f"{what}: ")

        return await with_retries(once, self._retry)


class _NotThere(Exception):
    """A file of results that the server did not give: its reply."""

    def __init__(self, reply: HttpReply) -> None:
        super().__init__(f"HTTP {reply.status}")
        self.reply = reply


def _read(reply: HttpReply, server: str) -> dict[str, Any]:
    """The object in a reply. Raises RequestFailed where there is none."""
    try:
        found = read_json(reply.body)
    except NotJson as error:
        raise RequestFailed(f"{server}: no JSON about a batch ({error})", retryable=False) from None
    if not isinstance(found, dict):
        raise RequestFailed(f"{server}: a {type(found).__name__} in the place of a batch", retryable=False)
    return found


def _id_in(found: Mapping[str, Any], server: str) -> str:
    """The id in a reply, which goes into addresses. Raises RequestFailed where there is none that can."""
    if (known := _id(found.get("id"))) is None:
        raise RequestFailed(
            f"{server}: what it says about a batch or a file has no id that can be used", retryable=False
        )
    return known


def _id(value: Any) -> str | None:
    return value if isinstance(value, str) and _ID.fullmatch(value) and not value.startswith(".") else None


def _seen(found: Mapping[str, Any], server: str) -> Seen:
    counts, errors = found.get("request_counts"), found.get("errors")
    counts = counts if isinstance(counts, dict) else {}
    listed = errors.get("data") if isinstance(errors, dict) else None
    total, parts = tokens_in(counts.get("total")), [tokens_in(counts.get(name)) for name in ("completed", "failed")]
    began, expires = _time(found.get("in_progress_at")), _time(found.get("expires_at"))
    return Seen(
        id=_id_in(found, server),
        status=status if (status := str(found.get("status"))[:40]) in _STATES else "of a status that is not known",
        total=total,
        done=None if total is None else min(total, sum(part or 0 for part in parts)),
        output=_id(found.get("output_file_id")),
        errors=_id(found.get("error_file_id")),
        said=tuple(
            each for each in (listed if isinstance(listed, list) else [])[:_MOST_ERRORS] if isinstance(each, dict)
        ),
        began_s=began,
        expires_s=expires,
    )


def _time(value: Any) -> float | None:
    """A time in seconds since 1970; None for what cannot be one."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if number and 0 < value < 1e11 else None
