"""The lines of batch files: a request as it is written, a result as it is read.

One JSON object a line. A request has a `custom_id`, and its result comes back under it, in any order, in one of two
files, perhaps twice or not at all. The form is OpenAI's
(https://platform.openai.com/docs/api-reference/batch/request-input and request-output); vLLM's `run-batch` reads and
writes the same (https://docs.vllm.ai/en/v0.8.3/getting_started/examples/openai.html), but puts the words of a failure
into `error` where OpenAI puts them into the body of the response.

What is read is hostile: a line that is too long, no JSON, or without an id is not a result, and is counted.

>>> said = read_result(b'{"custom_id": "sr-1", "response": null, "error": {"code": "batch_expired"}}')
>>> said.custom_id, said.status, said.answered
('sr-1', 408, False)
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, NamedTuple

from stillroom.common.files import storable
from stillroom.common.hashing import digest
from stillroom.common.outside import NotJson, read_json
from stillroom.common.records import Request
from stillroom.common.secrets import named
from stillroom.errors import InputError
from stillroom.sampling.ledger import request_key
from stillroom.sampling.teachers.openai.faults import status_of

ENDPOINT = "/v1/chat/completions"
LONGEST_LINE = 64 * 2**20
"""Bytes of a line; a longer one is not read."""
_ID = re.compile(rb'\{"custom_id":"(sr-[0-9a-f]{32})"')
_MOST_ID = 512
# What becomes of a line that the server did not get to: it was not billed, and may be asked again.
_PUT_OFF = ("batch_expired", "batch_cancelled", "batch_canceled", "expired", "cancelled")


def custom_id(identity: str, request: Request) -> str:
    """The name of a request in files: the same for the same draw of the same request of the same teacher, in every
    process; another for another limit of tokens."""
    key = request_key(request.messages, request.sampling, identity, request.seed)
    return f"sr-{digest([key, request.task_id, request.index, request.sampling.max_tokens])}"


def request_line(name: str, body: Mapping[str, Any]) -> bytes:
    """A request as a line. Raises InputError where it holds a key or a value of the environment, which would be
    written to a disk."""
    line = {"custom_id": name, "method": "POST", "url": ENDPOINT, "body": body}
    text = json.dumps(line, ensure_ascii=True, separators=(",", ":"))
    if named(text) != text:
        raise InputError(
            "a request holds a key, or a value of the environment, and batch files lie on the disk: leave it out of "
            "extra_body and of the prompts, or set teacher.batch: false"
        )
    return text.encode() + b"\n"


def ids_in(requests: Path) -> list[str]:
    """The names in a file of requests that `request_line` wrote, in order. Raises OSError."""
    with requests.open("rb") as file:
        return [found[1].decode() for line in file if (found := _ID.match(line))]


class Result(NamedTuple):
    """What came back for a request. `status`: an HTTP status, or what the error amounts to; `body`: what the server
    replied."""

    custom_id: str
    status: int
    body: bytes

    @property
    def answered(self) -> bool:
        """Whether there is an answer, which was paid for."""
        return self.status < 300


def read_result(raw: bytes) -> Result | None:
    """The result in a line; None where it is not one."""
    try:
        line = read_json(raw)
    except NotJson:
        return None
    name = line.get("custom_id") if isinstance(line, dict) else None
    if not isinstance(name, str) or not 0 < len(name) <= _MOST_ID:
        return None
    response, error = line.get("response"), line.get("error")
    response = response if isinstance(response, dict) else {}
    body, status = response.get("body"), response.get("status_code", 200 if response else None)
    inner = error.get("error") if isinstance(error, dict) and isinstance(error.get("error"), dict) else error
    if inner:
        code = str(inner.get("code", "")) if isinstance(inner, dict) else ""
        told = isinstance(status, int) and status >= 400
        status = 408 if code in _PUT_OFF else status if told else status_of(inner)
        body = {"error": inner}
    if type(status) is not int or not 100 <= status <= 599 or body is None:
        return None
    return Result(name, status, json.dumps(body).encode())


class Place(NamedTuple):
    """Where a line stands in a file, in bytes."""

    start: int
    length: int


class Found(NamedTuple):
    """A line of a results file: where it is, and what it says; None where it cannot be read."""

    place: Place
    result: Result | None


def results_in(path: Path) -> Iterator[Found]:
    """Every line of a file of results that is not empty. Raises OSError."""
    start = 0
    with path.open("rb") as file:
        while raw := file.readline(LONGEST_LINE + 1):
            length = len(raw)
            if length > LONGEST_LINE and not raw.endswith(b"\n"):
                length += _skip_line(file)
                yield Found(Place(start, length), None)
            elif raw.strip():
                yield Found(Place(start, length), read_result(raw))
            start += length


def result_at(path: Path, place: Place) -> Result | None:
    """The result that stands there. Raises OSError."""
    with path.open("rb") as file:
        file.seek(place.start)
        return read_result(file.read(place.length))


def clean_line(raw: bytes) -> bytes:
    """A line of a server as it is written to a disk: without keys, and as UTF-8."""
    return storable(raw.decode("utf-8", "replace")).encode()


def _skip_line(file: IO[bytes]) -> int:
    skipped = 0
    while piece := file.readline(2**20):
        skipped += len(piece)
        if piece.endswith(b"\n"):
            break
    return skipped
