"""The batch API of a fake server: files, batches of them, and results with whatever faults it is given.

It knows no time: each look at a batch takes it one step further, until it has ended. What becomes of a line follows
from its `custom_id` and how often it was asked, so the same requests meet the same faults in every order, and one
that expired is answered when it is asked again. `paid` counts the answers by `custom_id`: above 1, somebody paid
twice.

>>> desk = Batches(BatchFaults(expired=0.05))
>>> desk.reply("GET", "batches", "", {}, b"", {}).status
200
"""

from __future__ import annotations

import json
import random
import re
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from stillroom.common.hashing import digest
from stillroom.common.outside import NotJson, read_json
from stillroom.sampling.fake_server.exchange import Piece, Reply, as_json, error

_STATES = ("validating", "in_progress", "finalizing")
_MOST_LISTED = 100


@dataclass(frozen=True)
class BatchFaults:
    """What goes wrong, as shares of the lines: `expired` and `failed` stand in the file of errors, `lost` nowhere,
    `twice` once more, `torn` ones cannot be read. `unknown`: lines about nothing that was asked, in each file.
    `shuffled`: in another order. `looks`: how often a batch is looked at before it has ended. `refuses`: a batch is
    refused as a whole, in these words. `too_many`: how many requests about files and batches get a 429 first.
    `mute`: how many batches are created first without a word to whoever asked for them."""

    expired: float = 0.0
    failed: float = 0.0
    lost: float = 0.0
    twice: float = 0.0
    torn: float = 0.0
    unknown: int = 0
    shuffled: bool = False
    looks: int = 3
    refuses: str = ""
    too_many: int = 0
    mute: int = 0


@dataclass
class _Batch:
    id: str
    input_file: str
    metadata: Any
    total: int
    created_s: int
    looks: int = 0
    status: str = "validating"
    output: str | None = None
    errors: str | None = None
    done: int = 0
    failed: int = 0
    said: list[dict[str, Any]] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """As OpenAI describes one."""
        return {
            "id": self.id,
            "object": "batch",
            "endpoint": "/v1/chat/completions",
            "errors": {"object": "list", "data": self.said} if self.said else None,
            "input_file_id": self.input_file,
            "completion_window": "24h",
            "status": self.status,
            "output_file_id": self.output,
            "error_file_id": self.errors,
            "created_at": self.created_s,
            "in_progress_at": self.created_s,
            "expires_at": self.created_s + 86_400,
            "request_counts": {"total": self.total, "completed": self.done, "failed": self.failed},
            "metadata": self.metadata,
        }


class _Results(NamedTuple):
    output: list[bytes]
    errors: list[bytes]


class Batches:
    """Files and batches of one server. `answer`: the body of the chat completion for a request; `clock`: seconds
    since 1970. `paid`: answers by `custom_id`; `uploads`, `created`: how often either was asked for and done."""

    def __init__(
        self,
        faults: BatchFaults | None = None,
        answer: Callable[[Mapping[str, Any]], Any] = lambda body: {},
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.faults = faults or BatchFaults()
        self.paid: Counter[str] = Counter()
        self.uploads = self.created = 0
        self._answer, self._clock = answer, clock
        self._files: dict[str, bytes] = {}
        self._batches: dict[str, _Batch] = {}
        self._asked: Counter[str] = Counter()
        self._refused = self._muted = 0

    def reply(
        self, method: str, path: str, rest: str, query: Mapping[str, str], body: bytes, headers: Mapping[str, str]
    ) -> Reply:
        """The reply to a request about `files` or `batches`; `rest`: what stands behind that in the path."""
        if self._refused < self.faults.too_many:
            self._refused += 1
            return error(429, "Too many requests about batches.", headers={"Retry-After": "0"}, wait_s=0.0)
        if path == "files":
            if method == "POST":
                return self._upload(body, headers.get("content-type", ""))
            found = self._files.get(rest.removesuffix("/content"))
            if found is None or not rest.endswith("/content"):
                return error(404, f"No such File object: {rest[:100]}")
            return Reply(200, {"Content-Type": "application/octet-stream"}, (Piece(found),))
        if method == "POST":
            return self._create(body)
        return self._look(rest) if rest else self._list(query)

    def _upload(self, body: bytes, kind: str) -> Reply:
        found = re.search(r"boundary=\"?([^\";,]{1,100})", kind)
        parts = body.split(b"--" + found[1].encode()) if found else []
        held = next((part for part in parts if b'name="file"' in part.partition(b"\r\n\r\n")[0]), None)
        if held is None or not any(b'name="purpose"' in part and b"batch" in part for part in parts):
            return error(400, "a form with the fields file, and purpose: batch")
        self.uploads += 1
        name = f"file-{self.uploads:04}"
        self._files[name] = held.partition(b"\r\n\r\n")[2].removesuffix(b"\r\n")
        return as_json({"id": name, "object": "file", "purpose": "batch", "bytes": len(self._files[name])})

    def _create(self, body: bytes) -> Reply:
        try:
            asked = read_json(body)
        except NotJson as bad:
            return error(400, f"the body is not JSON: {bad}")
        name = asked.get("input_file_id") if isinstance(asked, dict) else None
        if name not in self._files:
            return error(400, f"no such file: {str(name)[:100]}", param="input_file_id")
        self.created += 1
        total = self._files[name].count(b"\n")
        batch = _Batch(f"batch_{self.created:04}", name, asked.get("metadata"), total, int(self._clock()))
        self._batches[batch.id] = batch
        if self._muted < self.faults.mute:
            self._muted += 1
            return Reply(0, after="reset")
        return as_json(batch.as_dict())

    def _list(self, query: Mapping[str, str]) -> Reply:
        """The newest first, a page at a time."""
        ids = list(reversed(self._batches))
        after, limit = query.get("after"), query.get("limit", "")
        most = min(_MOST_LISTED, int(limit)) if limit.isdecimal() else 20
        start = ids.index(after) + 1 if after in ids else 0
        page = ids[start : start + most]
        data = [self._batches[name].as_dict() for name in page]
        return as_json({"object": "list", "data": data, "has_more": start + most < len(ids)})

    def _look(self, name: str) -> Reply:
        batch = self._batches.get(name)
        if batch is None:
            return error(404, f"No such batch: {name[:100]}")
        batch.looks += 1
        if batch.output is None and batch.errors is None and batch.status not in ("failed", "completed"):
            if self.faults.refuses:
                batch.status, batch.said = "failed", [{"code": "refused", "message": self.faults.refuses}]
            elif batch.looks < self.faults.looks:
                batch.status = _STATES[min(batch.looks, len(_STATES) - 1)]
                batch.done = batch.total * batch.looks // self.faults.looks
            else:
                self._end(batch)
        return as_json(batch.as_dict())

    def _end(self, batch: _Batch) -> None:
        requests = [read_json(line) for line in self._files[batch.input_file].splitlines() if line.strip()]
        results, expired = _Results([], []), False
        for request in requests:
            expired |= self._one(request, results)
        batch.done, batch.failed = len(results.output), len(results.errors)
        results.output.extend(
            _line(f"sr-{i:032x}", 200, self._answer({"messages": []})) for i in range(self.faults.unknown)
        )
        if self.faults.shuffled:
            for lines in results:
                random.Random(batch.id).shuffle(lines)
        for lines, what in ((results.output, "output"), (results.errors, "errors")):
            if lines:
                name = f"file-{batch.id}-{what}"
                self._files[name] = b"\n".join(lines) + b"\n"
                setattr(batch, what, name)
        batch.status = "expired" if expired else "completed"

    def _one(self, request: Mapping[str, Any], results: _Results) -> bool:
        """Adds what becomes of a request; whether it expired."""
        name, faults = str(request["custom_id"]), self.faults
        asked = self._asked[name]
        self._asked[name] += 1
        chance = int(digest([name, asked], 8), 16) / 2**32
        if chance < faults.expired:
            said = {
                "code": "batch_expired",
                "message": "This request could not be executed before the window expired.",
            }
            results.errors.append(json.dumps({"custom_id": name, "response": None, "error": said}).encode())
            return True
        chance -= faults.expired
        if chance < faults.failed:
            said = {"message": "The server had an error while processing your request.", "type": "server_error"}
            results.errors.append(_line(name, 500, {"error": said}))
            return False
        chance -= faults.failed
        if chance < faults.lost:
            return False
        chance -= faults.lost
        line = _line(name, 200, self._answer(request["body"]))
        if chance < faults.torn:
            results.output.append(line[: len(line) // 2])
            return False
        self.paid[name] += 1
        results.output.extend([line] * (2 if chance - faults.torn < faults.twice else 1))
        return False


def _line(name: str, status: int, body: Any) -> bytes:
    response = {"status_code": status, "request_id": f"req-{name[:12]}", "body": body}
    return json.dumps(
        {"id": f"batch_req_{name[:12]}", "custom_id": name, "response": response, "error": None}
    ).encode()
