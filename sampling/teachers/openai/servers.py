"""The servers of one teacher: their addresses, how they are named in messages, and the greeting.

The greeting asks each for its list of models. The first that is there lets the run begin; those where nobody answers
are taken out. Many servers have no such list, which says nothing; a refused key says that asking is pointless.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from urllib.parse import urlsplit

from stillroom.common.outside import NotJson, read_json
from stillroom.common.secrets import keep_address
from stillroom.errors import StillroomError, TeacherDown
from stillroom.sampling.rate_limit.limiter import End, Pace
from stillroom.sampling.teachers.openai.errors import Key
from stillroom.sampling.teachers.openai.http import Http, NoAnswer, place_of


class Server:
    """One address. `name`: how messages call it, without a user, a password or a query, any of which may be a secret.
    `has_user`: whether the address says who asks."""

    def __init__(self, base_url: str) -> None:
        keep_address(base_url)
        self._parts = urlsplit(base_url)
        self.name = place_of(base_url)
        self.has_user = "@" in self._parts.netloc

    def url(self, path: str) -> str:
        """The address of `path` on it; what it holds behind a question mark stays behind."""
        return self._parts._replace(path=f"{self._parts.path.rstrip('/')}/{path}").geturl()


async def greet(servers: Sequence[Server], http: Http, pace: Pace, key: Key) -> None:
    """Returns when one server is there. Raises TeacherDown when nobody is anywhere, MissingKey when one refuses."""
    greetings = [asyncio.create_task(_greet(i, server, http, pace, key)) for i, server in enumerate(servers)]
    error: StillroomError | None = None
    try:
        for greeting in asyncio.as_completed(greetings):
            try:
                return await greeting
            except TeacherDown as down:
                error = error or down
    finally:
        # Those still silent stay in use: their first request will tell.
        for task in greetings:
            task.cancel()
        await asyncio.gather(*greetings, return_exceptions=True)
    assert error is not None, "a greeting returns or raises"
    raise error


async def _greet(index: int, server: Server, http: Http, pace: Pace, key: Key) -> None:
    try:
        reply = await http.get(server.url("models"))
    except NoAnswer as none:
        if none.end is End.BROKEN:
            return
        pace.take_out(index)
        if none.end is End.TIMED_OUT:
            raise TeacherDown(f"{server.name} did not answer: {none}") from None
        raise TeacherDown(
            f"nothing answers at {server.name} ({key.blot(str(none))}): start the server, or correct teacher.base_url"
        ) from None
    if reply.status == 401:
        raise key.refused(server.name, reply.status)


async def offered(server: Server, http: Http, key: Key) -> str:
    """Names of models that the server offers; "" where it does not say."""
    try:
        reply = await http.get(server.url("models"))
        names = [str(model["id"]) for model in read_json(reply.body)["data"][:5]]
    except (NoAnswer, NotJson, LookupError, TypeError):
        return ""  # no such list, or one of another shape: the message does without it
    return key.blot(", ".join(names))
