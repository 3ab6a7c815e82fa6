"""Habits about what goes over the wire: bodies of a wrong length, broken connections, redirects, bombs."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable
from dataclasses import replace
from functools import cache

from stillroom.sampling.fake_server.exchange import Asked, Piece, Reply
from stillroom.sampling.fake_server.habits import Habit, at_first

_BOMB = 96 * 2**20
_SLOW_S, _DRIP_S = 5.0, 0.25
OTHER_HOST = "http://127.0.0.2:9/v1"
"""Where nobody listens."""


def _once(send: Callable[[Reply], Reply]) -> Callable[[Reply, Asked], Reply]:
    """Does it once for each request."""
    return lambda reply, asked: reply if asked.again else send(reply)


def _raw(data: bytes) -> Callable[[Asked], Reply]:
    return lambda asked: Reply(headers={"Content-Type": "application/json"}, pieces=(Piece(data),))


def _half(reply: Reply) -> Reply:
    """Half the body, and the end of the connection."""
    body = reply.body
    return replace(reply, pieces=(Piece(body[: len(body) // 2]),), length=len(body), chunked=False, after="close")


def _cut(reply: Reply) -> Reply:
    """Half the body, with its true length: the JSON is cut off."""
    body = reply.body
    return replace(reply, pieces=(Piece(body[: len(body) // 2]),), chunked=False)


def _longer(reply: Reply) -> Reply:
    """Claims a few bytes more than there are."""
    return replace(reply, pieces=(Piece(reply.body),), length=len(reply.body) + 7, chunked=False, after="close")


def _reset(reply: Reply) -> Reply:
    return Reply(after="reset")


def _reset_midway(reply: Reply) -> Reply:
    return replace(_half(reply), after="reset")


def _drip(reply: Reply, asked: Asked) -> Reply:
    """A few bytes at a time, with pauses."""
    body, step = reply.body, max(1, len(reply.body) // 16)
    pieces = tuple(Piece(body[i : i + step], asked.wait(_DRIP_S)) for i in range(0, len(body), step))
    return replace(reply, pieces=pieces, length=None if reply.chunked else len(body))


def _stalls_midway(reply: Reply, asked: Asked) -> Reply:
    """Half the body, then nothing; the next time it comes whole."""
    return reply if asked.again else replace(_half(reply), after="hang")


def _silent(asked: Asked) -> Reply:
    """Not a byte, and an open connection."""
    return Reply(status=0, after="hang")


def _redirect(status: int, location: Callable[[Asked], str]) -> Callable[[Asked], Reply | None]:
    def refuse(asked: Asked) -> Reply | None:
        target = location(asked)
        return Reply(status, {"Location": target}) if target else None

    return refuse


def _within(asked: Asked) -> str:
    """To the same path with another query, once."""
    return "" if "again" in asked.query else f"/v1/{asked.path}?again=1"


def _gzip(reply: Reply, asked: Asked) -> Reply:
    headers = {**reply.headers, "Content-Encoding": "gzip"}
    return replace(reply, headers=headers, pieces=(Piece(gzip.compress(reply.body)),))


@cache
def _bomb() -> bytes:
    packer, zeros = zlib.compressobj(wbits=31), bytes(2**20)
    return b"".join([packer.compress(zeros) for _ in range(_BOMB // 2**20)] + [packer.flush()])


def _bombed(asked: Asked) -> Reply:
    return Reply(headers={"Content-Type": "application/json", "Content-Encoding": "gzip"}, pieces=(Piece(_bomb()),))


def _padded(reply: Reply, asked: Asked) -> Reply:
    blanks = [Piece(b"         \n", asked.wait(1)) for _ in range(3)]
    return reply if reply.chunked else replace(reply, pieces=(*blanks, *reply.pieces))


def _typed(content_type: str) -> Callable[[Reply, Asked], Reply]:
    return lambda reply, asked: replace(reply, headers={**reply.headers, "Content-Type": content_type})


def _then_done(reply: Reply, asked: Asked) -> Reply:
    """The whole body, and then what ends a stream; every second time under the type of a stream."""
    if reply.chunked or reply.status != 200:
        return reply
    headers = {**reply.headers, **({} if asked.number % 2 else {"Content-Type": "text/event-stream"})}
    return replace(reply, headers=headers, pieces=(*reply.pieces, Piece(b"\n\ndata: [DONE]\n\n")))


def _without_length(reply: Reply, asked: Asked) -> Reply:
    """The end of the connection is the end of the body, as HTTP/1.0 has it."""
    return replace(reply, chunked=False, length=-1, after="close")


HABITS = (
    Habit(
        "body_not_json", "words in the place of JSON, once for each request", at_first(_raw(b"upstream said nothing"))
    ),
    Habit("body_empty", "an empty body, once for each request", at_first(_raw(b""))),
    Habit("body_null", "`null`, once for each request", at_first(_raw(b"null"))),
    Habit("body_cut", "half the JSON, with its true length, once for each request", send=_once(_cut)),
    Habit(
        "body_broken_off", "the connection ends in the middle of the body, once for each request", send=_once(_half)
    ),
    Habit("wrong_content_length", "a length of a few bytes too many, once for each request", send=_once(_longer)),
    Habit("connection_reset", "the connection is reset, once for each request", send=_once(_reset)),
    Habit(
        "connection_reset_midway", "it is reset in the middle of the body, once for each", send=_once(_reset_midway)
    ),
    Habit(
        "closes_keep_alive",
        "the connection ends after each reply, without a word about it",
        send=lambda reply, asked: replace(
            reply, headers={**reply.headers, "Connection": "keep-alive"}, after="close"
        ),
    ),
    Habit(
        "stalls", "half the body and then nothing, once for each request", send=_stalls_midway, recipe="timeout_s: 30"
    ),
    Habit("silent", "not a byte, once for each request", at_first(_silent), recipe="timeout_s: 30"),
    Habit(
        "slow_first_byte",
        f"the first byte comes after {_SLOW_S:g} s",
        send=lambda reply, asked: replace(reply, wait_s=asked.wait(_SLOW_S)),
    ),
    Habit("drip", "a few bytes at a time, with pauses", send=_drip),
    Habit("redirect_same_host", "307 to another path of the same server", _redirect(307, _within)),
    Habit(
        "redirect_other_host",
        "307 to another server",
        _redirect(307, lambda asked: f"{OTHER_HOST}/{asked.path}"),
    ),
    Habit("redirect_loop", "307 to the same path, without end", _redirect(307, lambda asked: f"/v1/{asked.path}")),
    Habit("gzip_answer", "the reply is compressed", send=_gzip),
    Habit("gzip_bomb", f"{_BOMB // 2**20} MiB of zeros in 100 KiB", _bombed),
    Habit(
        "bom",
        "a byte order mark before the JSON",
        send=lambda reply, asked: replace(reply, pieces=(Piece(b"\xef\xbb\xbf"), *reply.pieces)),
    ),
    Habit("json_padded", "blanks before the JSON, to keep the connection open (OpenRouter)", send=_padded),
    Habit(
        "json_then_done",
        "`data: [DONE]` after the whole JSON, every second time sent as a stream (9router)",
        send=_then_done,
    ),
    Habit("text_plain", "JSON with the type text/plain", send=_typed("text/plain; charset=utf-8")),
    Habit("no_content_type", "no type at all", send=_typed("")),
    Habit("without_length", "neither a length nor chunks: the body ends with the connection", send=_without_length),
)
