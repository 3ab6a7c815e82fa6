"""A model server on loopback that follows a script: what real servers do to a client, over real HTTP."""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from stillroom.common import secrets
from stillroom.common.records import Attempt, FinishReason, ScoredAttempt, State, Verdict
from stillroom.sampling.teachers.openai import learned
from tests import tiny as tiny

Body = dict[str, Any]

# Deadlines would fail tests for nothing but a busy machine.
hypothesis.settings.register_profile("patient", deadline=None)
hypothesis.settings.load_profile("patient")

# Where several processes share the tests out (pytest-xdist), each computes with one thread, and so do those it starts:
# threads of several processes on the same cores wait for each other most of the time. Read when torch is imported.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests first: one that comes last would keep a single process busy while the others idle."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(autouse=True)
def _nothing_kept_secret() -> Iterator[None]:
    """What one test kept secret is not hidden from the next, nor known what one learned of a server."""
    secrets.forget()
    learned.forget()
    yield
    secrets.forget()


@dataclass(frozen=True)
class Reply:
    """What to answer. `body`: bytes as they are, anything else as JSON. `length`: a Content-Length other than the
    true one. `drop`: closes the connection without a word. `wait`: holds the answer back until `ModelServer.release`,
    or until the client goes away."""

    body: Any = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    length: int | None = None
    drop: bool = False
    wait: bool = False


def completion(text: str | None = "4", finish: str = "stop", **message: Any) -> Body:
    """The body of a chat completion, as OpenAI writes it."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text, **message}, "finish_reason": finish}
    usage = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
    return {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": usage}


class ModelServer:
    """Answers `/v1/chat/completions` with `script(body)`: a text, or a Reply; and `/v1/models` with `models`.

    `bodies`, `headers` and `paths` hold what was asked, in order of arrival; `peak` the most that was in flight at once.
    """

    def __init__(self) -> None:
        self.script: Callable[[Body], str | Reply] = lambda body: "4"
        self.models: Reply = Reply({"object": "list", "data": [{"id": "m", "object": "model"}]})
        self.bodies: list[Body] = []
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []
        self.peak = 0
        self._in_flight = self._waiting = self._gone = 0
        self._news = threading.Condition()
        self._released = threading.Event()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._http.daemon_threads = True
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    @property
    def url(self) -> str:
        """What goes into `base_url`."""
        return f"http://127.0.0.1:{self._http.server_address[1]}/v1"

    def wait_for(self, *, waiting: int = 0, gone: int = 0, timeout_s: float = 60) -> bool:
        """Whether so many requests are held back, or were given up by their client, before the time is over."""
        with self._news:
            return self._news.wait_for(lambda: self._waiting >= waiting and self._gone >= gone, timeout_s)

    def release(self) -> None:
        """Answers what is held back, and holds nothing back any more."""
        self._released.set()

    def close(self) -> None:
        """Frees the port."""
        self.release()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def answer(self, body: Body, headers: dict[str, str]) -> Reply:
        """The script's reply to a request, which is put on record."""
        with self._news:
            self.bodies.append(body)
            self.headers.append(headers)
        said = self.script(body)
        return Reply(completion(said)) if isinstance(said, str) else said

    def count(self, **changes: int) -> None:
        """Notes that so many more (or fewer) requests are in flight, waiting, gone."""
        with self._news:
            for name, by in changes.items():
                setattr(self, f"_{name}", getattr(self, f"_{name}") + by)
            self.peak = max(self.peak, self._in_flight)
            self._news.notify_all()

    def hold(self, connection: Any) -> bool:
        """Waits for the release; whether the client is still there then."""
        self.count(waiting=1)
        try:
            while not self._released.wait(0.01):
                if select.select([connection], [], [], 0)[0]:  # readable without a request: it was closed
                    self.count(gone=1)
                    return False
            return True
        finally:
            self.count(waiting=-1)


def _handler(server: ModelServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # headers and body are two writes: 40 ms between them otherwise

        def do_GET(self) -> None:
            self._send(server.models)

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            server.count(in_flight=1)
            server.paths.append(self.path)
            try:
                reply = server.answer(body, {k.lower(): v for k, v in self.headers.items()})
                there = not reply.wait or server.hold(self.connection)
            finally:
                # Before the answer is sent: the client may ask the next thing before this thread gets on.
                server.count(in_flight=-1)
            self._send(reply if there else Reply(drop=True))

        def _send(self, reply: Reply) -> None:
            if reply.drop:
                self.close_connection = True
                return
            data = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
            self.send_response(reply.status)
            for name, value in {"content-type": "application/json", **reply.headers}.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(data) if reply.length is None else reply.length))
            self.end_headers()
            self.wfile.write(data)
            self.close_connection = reply.length is not None

        def log_message(self, *_: object) -> None:
            """Says nothing."""

        def handle_one_request(self) -> None:
            try:
                super().handle_one_request()
            except ConnectionError:  # a client that was killed or gave up is what these tests are about
                self.close_connection = True

    return Handler


@pytest.fixture
def model_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModelServer]:
    """A server of its own for each test; the machine's keys, addresses and proxies stay out of it."""
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    server = ModelServer()
    yield server
    server.close()


# -- a small run: sums, with answers that a seed decides ----------------------------------------------------------


def sum_answer(question: str, seed: int) -> str:
    """A worked answer to "What is A + B?", right for two seeds in five."""
    a, b = (int(part) for part in question.removeprefix("What is ").removesuffix("?").split(" + "))
    said = a + b + (0 if seed % 5 < 2 else 1 + seed % 3)
    return f"First take {a}, then add {b} to it in thought number {seed % 1000}: that makes {said}.\n#### {said}"


def write_sums(folder: Path, tasks: int = 16, draws: int = 4, **changes: Any) -> Path:
    """Writes tasks, a recording of `draws` attempts at each, and a recipe, whose path is given. `changes` replace
    its top-level keys."""
    folder.mkdir(parents=True, exist_ok=True)
    questions = {f"What is {3 * i + 2} + {7 * i + 1}?": 10 * i + 3 for i in range(tasks)}
    rows = [{"question": q, "answer": str(a)} for q, a in questions.items()]
    said = [
        {"question": q, "text": (text := sum_answer(q, 31 * i + 17 * draw)), "right": text.endswith(f" {a}")}
        for i, (q, a) in enumerate(questions.items())
        for draw in range(draws)
    ]
    for name, lines in (("tasks.jsonl", rows), ("recording.jsonl", said)):
        (folder / name).write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    recipe = {
        "name": "sums",
        "tasks": {"source": "jsonl", "path": "tasks.jsonl"},
        "teacher": {"kind": "recorded", "path": "recording.jsonl", "prompt": "question"},
        "scorer": {"workers": 1},
        "keep": {"per_task": 2, "max_attempts": 4},
        "filters": ["finished", "one_final_answer", "dedup"],
    }
    path = folder / "recipe.yaml"
    path.write_text(json.dumps(recipe | changes), encoding="utf-8")  # JSON is YAML
    return path


def served_by(server: ModelServer, **more: Any) -> Body:
    """The `teacher` of a recipe that asks `server`."""
    return {
        "kind": "openai",
        "model": "m",
        "base_url": server.url,
        "concurrency": 4,
        "retry": {"attempts": 1},
        **more,
    }


def sums_until(server: ModelServer, answered: int) -> Callable[[Body], Reply]:
    """A script that answers sums; all but the first `answered` requests wait for the release."""

    def script(body: Body) -> Reply:
        text = sum_answer(body["messages"][-1]["content"], body["seed"])
        return Reply(completion(text), wait=len(server.bodies) > answered)

    return script


def command(*args: object) -> list[str]:
    """The command line as a process of its own."""
    return [sys.executable, "-m", "stillroom", *map(str, args)]


def stillroom(*args: object, **options: Any) -> subprocess.CompletedProcess[str]:
    """Runs the command line to its end."""
    return subprocess.run(command(*args), capture_output=True, text=True, timeout=120, check=False, **options)


def install_packages(folder: Path, requirements: Sequence[str]) -> Path:
    """Puts packages into a folder, without what they need: what is installed here stands in for that.

    The folder goes on the path of the process that uses them. Skips the test where they cannot be fetched.
    """
    uv = shutil.which("uv") or shutil.which("uv", path=str(Path(sys.executable).parent))
    pip = [uv, "pip", "install", "--python", sys.executable] if uv else [sys.executable, "-m", "pip", "install"]
    ended = subprocess.run(
        [*pip, "--quiet", "--no-deps", "--target", str(folder), *requirements],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    if ended.returncode:
        pytest.skip(f"{', '.join(requirements)} cannot be installed: {ended.stderr[-300:]}")
    return folder


# -- tiny students and scored answers ----------------------------------------------------------------------------


@pytest.fixture(scope="session")
def chatml() -> str:
    return tiny.CHATML


@pytest.fixture(scope="session")
def make_tokenizer() -> Callable[..., Any]:
    return tiny.make_tokenizer


@pytest.fixture(scope="session")
def make_model() -> Callable[..., Any]:
    return tiny.make_model


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    return tiny.make_tokenizer()


@pytest.fixture(scope="session", name="tiny")
def tiny_student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the tiny student."""
    return tiny.save_tiny(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def row() -> Callable[..., dict[str, Any]]:
    """row("2 + 2?", "4") as the data sets hold it."""

    def make(prompt: str, completion: str, **more: Any) -> dict[str, Any]:
        return {
            "prompt": [{"role": "user", "content": prompt}],
            "completion": [{"role": "assistant", "content": completion}],
        } | more

    return make


@pytest.fixture(scope="session")
def pair() -> Callable[..., dict[str, Any]]:
    """pair("2 + 2?", "4", "no idea") as the data sets hold it."""

    def make(prompt: str, chosen: str, rejected: str, **more: Any) -> dict[str, Any]:
        return {
            "prompt": [{"role": "user", "content": prompt}],
            "chosen": [{"role": "assistant", "content": chosen}],
            "rejected": [{"role": "assistant", "content": rejected}],
        } | more

    return make


Scored = dict[str, ScoredAttempt]


def _scored(
    accepted: Iterable[object] = (),
    rejected: Iterable[object] = (),
    unscored: Iterable[object] = (),
    *,
    finish: FinishReason = "stop",
    tokens: int = 20,
) -> Scored:
    given = {State.ACCEPTED: accepted, State.REJECTED: rejected, State.UNSCORED: unscored}
    return {
        str(task): ScoredAttempt(
            Attempt(str(task), 0, "", None, finish, 10, tokens, None, 0.1, "teacher"), Verdict(state, f"was_{state}")
        )
        for state, tasks in given.items()
        for task in tasks
    }


@pytest.fixture(scope="session")
def scored() -> Callable[..., Scored]:
    """scored(accepted=range(3), rejected=[7]): one attempt a task, by the verdict it got."""
    return _scored
