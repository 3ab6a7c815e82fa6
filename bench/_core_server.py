"""A chat completions server on loopback that answers from recorded solutions, after seeded latencies, with faults.

    python bench/_core_server.py DATA --tasks 500 --draws 4 --median 0.5 --sigma 0.8 [--faults] [--truncate 0.03]

Prints its port. One process and a bare protocol, so that the server is not part of what is measured: the draw is
known
by the request's `seed`, and nothing else of the request is looked at but `max_tokens`. `GET /bench/log` says what was
asked since `POST /bench/reset`. With `--faults`, of all requests 5 % get 429, 2 % get 500, 1 % lose the connection in
mid body, 0.5 % stand still for a minute. With `--truncate`, that share of the draws is cut off, whoever asks and
however often, unless more tokens are allowed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple, cast

sys.path.append(str(Path(__file__).resolve().parents[1]))

from bench._core_work import MORE_DRAWS, Draw, Load, by_seed, latency_s, problems

STALL_S = 60.0
ENOUGH_TOKENS = 2048
"""Cut-off draws end by themselves from this limit on."""


class Fault(NamedTuple):
    """A fault of the server and its share of the requests."""

    name: str
    share: float


FAULTS = (Fault("429", 0.05), Fault("500", 0.02), Fault("drop", 0.01), Fault("stall", 0.005))


def fault_of(draw: Draw, asked: int) -> str:
    """The fault that a request meets, "" for none. `asked`: how often this draw was asked for before."""
    dice = random.Random(f"fault:{draw.task}:{draw.place}:{asked}").random()
    for fault in FAULTS:
        if dice < fault.share:
            return fault.name
        dice -= fault.share
    return ""


class Answers:
    """What the server answers, and the log of what it was asked."""

    def __init__(self, data: Path, load: Load, *, faults: bool, truncate: float) -> None:
        self.load, self.faults, self.truncate = load, faults, truncate
        self._problems = problems(data)
        self._draws = by_seed(load.tasks, load.draws + MORE_DRAWS)
        self.reset()

    def reset(self) -> None:
        """Forgets the log."""
        self.asked: Counter[Draw] = Counter()
        self.answered: Counter[Draw] = Counter()
        self.closed: Counter[Draw] = Counter()
        self.met: Counter[str] = Counter()
        self.busy_s = 0.0
        self.first_s = self.last_s = self.last_asked_s = 0.0
        self.in_flight = self.peak = 0
        self.slot_s = self.fed_s = 0.0
        self._seen_s = 0.0

    def move(self, change: int) -> None:
        """A request came (1) or went (-1): counts those in flight and the time they were there, in slot seconds."""
        now = time.monotonic()
        self.first_s, self._seen_s = self.first_s or now, self._seen_s or now
        self.slot_s += self.in_flight * (now - self._seen_s)
        self._seen_s = self.last_s = now
        self.in_flight += change
        self.peak = max(self.peak, self.in_flight)
        if change > 0:
            self.fed_s = self.slot_s
            self.last_asked_s = now

    @property
    def fed(self) -> float:
        """Requests in flight from the first request to the last, on average."""
        return self.fed_s / max(1e-9, self.last_asked_s - self.first_s)

    def draw(self, request: dict[str, Any]) -> Draw:
        """The draw that a request asks for."""
        return self._draws[request["seed"]]

    def body(self, draw: Draw, max_tokens: int) -> bytes:
        """The chat completion of a draw."""
        found = self._problems[draw.task % len(self._problems)]
        text, finish = found.solutions[draw.place % len(found.solutions)], "stop"
        tokens = len(text.split())
        if self.cut(draw) and max_tokens < ENOUGH_TOKENS:
            text, finish, tokens = text[: len(text) // 2], "length", max_tokens
        usage = {"prompt_tokens": len(found.question.split()), "completion_tokens": tokens}
        usage["total_tokens"] = sum(usage.values())
        message = {"role": "assistant", "content": text}
        choice = {"index": 0, "message": message, "finish_reason": finish, "logprobs": None}
        whole = {"id": "x", "object": "chat.completion", "created": 0, "model": "recorded", "choices": [choice]}
        return json.dumps(whole | {"usage": usage}).encode()

    def cut(self, draw: Draw) -> bool:
        """Whether a draw is cut off by its limit."""
        return random.Random(f"cut:{draw.task}:{draw.place}").random() < self.truncate

    def log(self) -> bytes:
        """What was asked and answered, as JSON: [task, draw, times] each."""
        counters = {"asked": self.asked, "answered": self.answered, "closed": self.closed}
        rows = {name: [[*draw, times] for draw, times in counter.items()] for name, counter in counters.items()}
        numbers = {"busy_s": self.busy_s, "span_s": self.last_s - self.first_s, "peak": self.peak, "faults": self.met}
        return json.dumps(rows | numbers | {"fed": self.fed, "cpu_s": time.process_time()}).encode()


class Connection(asyncio.Protocol):
    """One kept-alive connection. Requests on it come one after the other."""

    def __init__(self, answers: Answers) -> None:
        self._answers = answers
        self._buffer = b""
        self._timer: asyncio.TimerHandle | None = None
        self._asked: Draw | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._asked is not None:
            self._answers.closed[self._asked] += 1
            self._over()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, found, rest = self._buffer.partition(b"\r\n\r\n")
        length = _length(head) if found else 0
        if found and len(rest) >= length:
            self._buffer = rest[length:]
            self._take(head, rest[:length])

    def _take(self, head: bytes, body: bytes) -> None:
        target = head.split(b" ", 2)[1]
        if target.endswith(b"/chat/completions"):
            self._complete(json.loads(body))
        elif target == b"/bench/log":
            self._send(self._answers.log())
        else:
            if target == b"/bench/reset":
                self._answers.reset()
            self._send(b'{"object": "list", "data": [{"id": "recorded", "object": "model"}]}')

    def _complete(self, request: dict[str, Any]) -> None:
        answers, draw = self._answers, self._answers.draw(request)
        fault = fault_of(draw, answers.asked[draw]) if answers.faults else ""
        answers.asked[draw] += 1
        answers.met[fault] += 1
        answers.move(1)
        self._asked = draw
        wait = latency_s(answers.load, draw) + STALL_S * (fault == "stall")
        answers.busy_s += wait
        due = wait if fault not in ("429", "500") else 0.005
        self._timer = asyncio.get_running_loop().call_later(due, self._answer, request, draw, fault)

    def _answer(self, request: dict[str, Any], draw: Draw, fault: str) -> None:
        self._over()
        if fault == "429":
            self._send(b'{"error": {"message": "slow down"}}', b"429 Too Many Requests", b"Retry-After: 1\r\n")
        elif fault == "500":
            self._send(b'{"error": {"message": "oops"}}', b"500 Internal Server Error")
        else:
            body = self._answers.body(draw, request["max_tokens"])
            if fault != "drop":
                self._answers.answered[draw] += 1
            self._send(body, keep=len(body) if fault != "drop" else len(body) // 2)

    def _over(self) -> None:
        self._asked, self._timer = None, None
        self._answers.move(-1)

    def _send(self, body: bytes, status: bytes = b"200 OK", more: bytes = b"", keep: int | None = None) -> None:
        """Sends an answer; of its body only the first `keep` bytes where that is not all, and hangs up then."""
        assert self._transport is not None
        head = b"HTTP/1.1 %b\r\nContent-Type: application/json\r\n%bContent-Length: %d\r\n\r\n"
        self._transport.write(head % (status, more, len(body)) + body[:keep])
        if keep is not None and keep < len(body):
            self._transport.close()


def _length(head: bytes) -> int:
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0


async def serve(answers: Answers) -> None:
    """Serves until killed, or until whoever started it closes its standard input."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(answers), "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--tasks", type=int, default=500)
    parser.add_argument("--draws", type=int, default=4)
    parser.add_argument("--median", type=float, default=0.5, help="of the latencies, in seconds")
    parser.add_argument("--sigma", type=float, default=0.8)
    parser.add_argument("--faults", action="store_true")
    parser.add_argument("--truncate", type=float, default=0.0, help="share of the draws that are cut off")
    o = parser.parse_args()
    load = Load(o.tasks, o.draws, 0, o.median, o.sigma)
    asyncio.run(serve(Answers(o.data, load, faults=o.faults, truncate=o.truncate)))


if __name__ == "__main__":
    main()
