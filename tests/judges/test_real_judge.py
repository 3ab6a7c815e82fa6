"""A real judge over real HTTP: vLLM's own OpenAI-compatible server with a model of 135M parameters, which cannot judge.

Everything between a recipe and the server is the real thing, so this shows that the path works (structured output,
log-probabilities, ledger, calibration), and that the gate keeps pairs from being built on verdicts that mean nothing.
"""

from __future__ import annotations

import contextlib
import http.client
import importlib.util
import json
import math
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple

import pytest

from stillroom.common.models.resolve import resolve_model
from stillroom.common.records import SamplingParams
from stillroom.errors import MissingExtra
from stillroom.judges.calibrate import calibrate, gate
from stillroom.judges.human_labels import load_labelled
from stillroom.judges.llm import Pointwise
from stillroom.judges.prompts import Form, pointwise_prompt, ratings_schema
from stillroom.judges.records import JudgeState
from stillroom.judges.rubric import load_rubric
from stillroom.pipeline.flows.audit import calibrate as calibrate_judge
from stillroom.pipeline.flows.audit import calibrate_verifier
from stillroom.pipeline.run.progress import Display
from stillroom.sampling.ledger import Ledger
from stillroom.sampling.requests import Asker
from stillroom.sampling.teachers.openai import OpenAISettings
from stillroom.sampling.teachers.openai.teacher import OpenAITeacher
from stillroom.sampling.teachers.vllm.watchdog import Guard, running
from stillroom.sampling.workers.child import descendants
from tests.conftest import stillroom
from tests.judges._asking import TASK, answered

pytestmark = [pytest.mark.slow, pytest.mark.vllm, pytest.mark.timeout(600)]

DATA = Path(os.environ.get("STILLROOM_DATA", Path(__file__).parents[3] / "shared" / "data")) / "llmbar"
PAIRS = 30  # the fewest that the gate looks at
MODEL, CONTEXT = "smollm2", 2048
QUIET = Display(quiet=True)
READY_WITHIN_S, GONE_WITHIN_S = 240.0, 20.0
GREEDY = SamplingParams(temperature=0, max_tokens=24)

CITIES = """
Paris, France; Rome, Italy; Madrid, Spain; Tokyo, Japan; Berlin, Germany; Cairo, Egypt; Lima, Peru; Havana, Cuba;
Athens, Greece; Oslo, Norway; Nairobi, Kenya; Warsaw, Poland; Vienna, Austria; Lisbon, Portugal; Moscow, Russia;
Beijing, China; Dublin, Ireland; Stockholm, Sweden; Budapest, Hungary; Ottawa, Canada
"""


@dataclass(frozen=True)
class Served:
    """A running server. `log`: a line for each request that reached it."""

    port: int
    log: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def asked(self) -> int:
        """Completions it was asked for since it began, refused ones included."""
        return self.log.read_text(errors="replace").count('"POST /v1/chat/completions')

    def post(self, body: dict[str, Any]) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        with contextlib.closing(connection):
            connection.request("POST", "/v1/chat/completions", json.dumps(body), {"content-type": "application/json"})
            return json.loads(connection.getresponse().read())


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The server, in a process group of its own, of which nothing is left afterwards."""
    for package in ("vllm", "gguf"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    try:
        folder = resolve_model("embedded:smollm2-135m-instruct").path
    except MissingExtra as missing:
        pytest.skip(str(missing))
    server = Served(_free_port(), tmp_path_factory.mktemp("server") / "log.txt")
    guard = Guard()  # ends the server should the tests be killed
    try:
        with server.log.open("wb") as log, guard.watching():
            process = _start(folder, server, log)
        yield server
        assert not _end(process)
    finally:
        guard.close()


def _start(folder: str, server: Served, log: IO[bytes]) -> subprocess.Popen[bytes]:
    """The server's process, once it answers."""
    command, environment = _command(folder, server.port), _environment()
    process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True)
    try:
        _wait_until_ready(process, server)
    except BaseException:
        _end(process)
        raise
    return process


def _command(folder: str, port: int) -> list[str]:
    settings = {"model": folder, "served-model-name": MODEL, "host": "127.0.0.1", "port": port}
    # In bfloat16 a probability depends on which requests share a batch: ratings differed by 0.09 on a CPU that has it.
    settings |= {"dtype": "float32", "max-model-len": CONTEXT, "max-num-seqs": 16}
    given = [word for name, value in settings.items() for word in (f"--{name}", str(value))]
    return ["nice", "-n", "5", sys.executable, "-m", "vllm.entrypoints.openai.api_server", *given, "--enforce-eager"]


def _environment() -> dict[str, str]:
    return os.environ | {"VLLM_CPU_KVCACHE_SPACE": "2", "VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1"}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_until_ready(process: subprocess.Popen[bytes], server: Served) -> None:
    deadline = time.monotonic() + READY_WITHIN_S
    while not _is_ready(server.port):
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.5)
            pytest.fail(f"the server ended with {process.returncode}:\n{server.log.read_text()[-3000:]}")
        if time.monotonic() > deadline:
            pytest.fail(f"no server after {READY_WITHIN_S:.0f} s:\n{server.log.read_text()[-3000:]}")


def _is_ready(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    with contextlib.closing(connection), contextlib.suppress(OSError):
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    return False


def _end(process: subprocess.Popen[bytes]) -> list[int]:
    """Asks the whole group to end, then makes it. The processes that are running even so."""
    group = [process.pid, *descendants(process.pid)]
    for order in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, order)
        deadline = time.monotonic() + GONE_WITHIN_S
        while any(map(running, group)) and time.monotonic() < deadline:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.1)
                time.sleep(0.1)
    process.wait()
    return [pid for pid in group if running(pid)]


@pytest.fixture(autouse=True)
def _no_detours(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine's keys, addresses and proxies stay out of it."""
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


# -- what is judged ------------------------------------------------------------------------------------------------


def labelled(folder: Path) -> Path:
    """Pairs in LLMBar's form: its own shortest ones where its data is there, else capitals, right and wrong. Short,
    because a processor reads long prompts slowly, and what is shown here does not depend on their length."""
    known = DATA / "LLMBar_Natural.json"
    rows = json.loads(known.read_text(encoding="utf-8")) if known.is_file() else _capitals()
    rows = sorted(rows, key=lambda row: sum(len(row[key]) for key in ("input", "output_1", "output_2")))[:PAIRS]
    path = folder / "LLMBar_Natural.json"
    path.write_text(json.dumps(rows), encoding="utf-8")
    return path


def _capitals() -> list[dict[str, Any]]:
    """Each country twice, the right answer first once; answers differ in length by a letter or two."""
    known = [tuple(word.strip().split(", ")) for word in CITIES.split(";")]
    rows = []
    for i, (city, country) in enumerate(known * 2):
        wrong, _ = known[(i + 7) % len(known)]
        right_first = (i + i // len(known)) % 2 == 0
        right, false = (f"The capital of {country} is {name}." for name in (city, wrong))
        outputs = {"output_1": right, "output_2": false} if right_first else {"output_1": false, "output_2": right}
        asked = f"What is the capital of {country}?"
        rows.append({"input": asked, **outputs, "label": 1 if right_first else 2})
    return rows


def write_recipe(folder: Path, served: Served, mode: str) -> Path:
    """Two prompts, two recorded answers to each, and a gate that the judge must pass."""
    prompts = ["Write a sentence about a boat.", "Write a sentence about a clock."]
    _jsonl(folder / "prompts.jsonl", [{"prompt": prompt} for prompt in prompts])
    for name in ("plain", "odd"):
        _jsonl(folder / f"{name}.jsonl", [{"prompt": p, "text": f"A {name} sentence: {p[8:]}"} for p in prompts])
    teacher = {"kind": "openai", "model": MODEL, "base_url": served.url, "concurrency": 16, "send_seed": False}
    teacher |= {"sampling": GREEDY.model_dump(include={"temperature", "max_tokens"}), "timeout_s": 120}
    judge = {"kind": "llm", "teacher": teacher, "mode": mode, "structured": True, "reasons": False}
    recipe = {
        "name": "judged",
        "tasks": {"source": "jsonl", "path": "prompts.jsonl", "prompt": "prompt", "reference": None},
        "candidates": [
            {"name": name, "teacher": {"kind": "recorded", "path": f"{name}.jsonl", "prompt": "prompt"}}
            for name in ("plain", "odd")
        ],
        "judge": judge,
        "gate": {"labelled": labelled(folder).name, "required": True},
    }
    path = folder / "recipe.yaml"
    path.write_text(json.dumps(recipe), encoding="utf-8")  # JSON is YAML
    return path


def _jsonl(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def asker(served: Served, ledger: Ledger) -> Asker:
    teacher = OpenAITeacher(
        OpenAISettings(
            kind="openai", model=MODEL, base_url=served.url, send_seed=False, concurrency=16, timeout_s=120
        )
    )
    return Asker(teacher, ledger, GREEDY, seed=0)


# -- the gate ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "refused_for"),
    [
        ("pointwise", {"kappa", "accuracy minus that of 'longer wins'"}),
        ("pairwise", {"kappa", "accuracy minus that of 'longer wins'", "consistency", "P(first)"}),
    ],
)
def test_the_gate_refuses_a_real_judge_that_cannot_judge(
    served: Served, tmp_path: Path, mode: str, refused_for: set[str]
) -> None:
    recipe, out, before = write_recipe(tmp_path, served, mode), tmp_path / "run", served.asked()
    found = calibrate_judge(recipe, out=out, display=QUIET)
    asked = served.asked() - before
    assert found.calibration.kind == mode
    assert found.calibration.judged == PAIRS  # refused for what it says, not for saying nothing
    assert not found.gate.passed
    assert {failure.split(":")[0] for failure in found.gate.failures} == refused_for
    with Ledger.read(out) as ledger:
        assert ledger.totals().attempts == asked
        assert ledger.totals().failures == 0
    assert PAIRS <= asked <= found.calibration.calls == 2 * PAIRS  # the same question twice is one request

    assert calibrate_judge(recipe, out=out, display=QUIET) == found
    ended = stillroom("run", recipe, "--out", out)
    said = " ".join(ended.stderr.split())
    assert ended.returncode == 1, said
    for failure in found.gate.failures:
        assert failure in said
    assert json.loads((out / "calibration.json").read_text()) == found.calibration.model_dump(mode="json")
    assert not (out / "dpo").exists()
    assert served.asked() == before + asked  # the second calibration and the run had all they needed on record


# -- what it said --------------------------------------------------------------------------------------------------


class Place(NamedTuple):
    """The rating as it was written, and the mean over the scale by the server's own probabilities."""

    written: int
    mean: float


def asked_directly(served: Served, text: str) -> Place:
    """The same question, asked and read without any of our code but the prompt's."""
    rubric = load_rubric("helpfulness")
    prompt = pointwise_prompt(rubric, TASK, answered(text), Form(structured=True))
    schema = {"name": "answer", "schema": json.loads(ratings_schema(rubric, reasons=False)), "strict": True}
    body = {"model": MODEL, "messages": [message.as_dict() for message in prompt.messages], "temperature": 0}
    body |= {"max_tokens": 24, "logprobs": True, "top_logprobs": 20}
    body |= {"response_format": {"type": "json_schema", "json_schema": schema}}
    choice = served.post(body)["choices"][0]
    token = next(each for each in choice["logprobs"]["content"] if each["token"].strip().isdigit())
    seen = [
        (int(each["token"]), math.exp(each["logprob"])) for each in token["top_logprobs"] if each["token"] in "12345"
    ]
    mean = sum(point * p for point, p in seen) / sum(p for _, p in seen)
    return Place(json.loads(choice["message"]["content"])["helpfulness"], mean)


async def test_its_ratings_are_means_of_the_servers_probabilities(served: Served, tmp_path: Path) -> None:
    texts = ["Hello!", "Good morning, how are you today?", "No.", "Hi there, it is good to see you again."]
    with Ledger.open(tmp_path) as ledger:
        judge = Pointwise(asker(served, ledger), load_rubric("helpfulness"), structured=True)
        ratings = [await judge.rate(TASK, answered(text)) for text in texts]
        await judge.close()
    assert [(rating.state, rating.expected, rating.calls) for rating in ratings] == [(JudgeState.OK, True, 1)] * 4
    direct = [asked_directly(served, text) for text in texts]
    assert [rating.score for rating in ratings] == pytest.approx([place.mean for place in direct], abs=0.05)
    assert any(abs(place.mean - place.written) > 0.2 for place in direct)  # it is not the rating as it was written


async def test_what_it_writes_in_no_form_is_counted_as_failed(served: Served, tmp_path: Path) -> None:
    pairs = load_labelled(labelled(tmp_path))[:6]
    with Ledger.open(tmp_path / "run") as ledger:
        ask = asker(served, ledger)
        judge = Pointwise(ask, load_rubric("helpfulness"), logprobs=False, reasons=False, max_unread=None)
        found = await calibrate(judge, pairs, seed=0)
        await judge.close()
        attempts = ledger.totals().attempts
    failed = {state: n for state, n in found.states.items() if state != "ok"}
    assert failed.keys() <= {"parse_failed", "refused", "truncated"}
    assert sum(found.states.values()) == 2 * len(pairs)
    assert sum(failed.values()) == sum(each.failed for each in found.failures.by_length.values()) > 0
    assert found.judged < len(pairs)
    assert found.calls >= 2 * len(pairs) + failed.get("parse_failed", 0)  # each of these was asked again
    assert 0 < attempts <= found.calls  # the same question twice is one request
    assert any(failure.startswith("judged pairs: ") for failure in gate(found).failures)


async def test_an_answer_too_long_for_the_server_is_no_judgement(served: Served, tmp_path: Path) -> None:
    with Ledger.open(tmp_path) as ledger:
        judge = Pointwise(asker(served, ledger), load_rubric("helpfulness"), structured=True)
        too_long = await judge.rate(TASK, answered("word " * CONTEXT))
        fits = await judge.rate(TASK, answered("Hello!"))
        await judge.close()
    assert (too_long.state, too_long.score, too_long.calls) == (JudgeState.OVERFLOW, None, 1)
    assert str(CONTEXT) in too_long.detail
    assert (fits.state, fits.expected) == (JudgeState.OK, True)


# -- a verifier ------------------------------------------------------------------------------------------------------


def test_the_gate_refuses_a_real_verifier_that_cannot_verify(served: Served, tmp_path: Path) -> None:
    """It is asked about sums, half of them wrong: whatever it says, it does not say it of the right ones alone."""
    sums = [(a, b) for a in range(11, 16) for b in range(3, 7)]
    rows = [
        {"gold": str(a + b), "pred": f"#### {a + b + wrong}", "expected": not wrong, "prompt": f"What is {a} + {b}?"}
        for a, b in sums
        for wrong in (0, 10)
    ]
    _jsonl(tmp_path / "labelled.jsonl", rows)
    _jsonl(tmp_path / "tasks.jsonl", [{"question": row["prompt"], "answer": row["gold"]} for row in rows[::2]])
    _jsonl(tmp_path / "said.jsonl", [{"question": row["prompt"], "text": row["pred"]} for row in rows[::2]])
    teacher = {"kind": "openai", "model": MODEL, "base_url": served.url, "concurrency": 16, "send_seed": False}
    teacher |= {"sampling": GREEDY.model_dump(include={"temperature", "max_tokens"}), "timeout_s": 120}
    gate_of = {"labelled": "labelled.jsonl"}
    verifier = {"kind": "verifier", "prompt": "compass", "max_unread": None, "teacher": teacher, "gate": gate_of}
    recipe, out = tmp_path / "recipe.yaml", tmp_path / "run"
    recipe.write_text(
        json.dumps(
            {
                "name": "verified",
                "tasks": {"source": "jsonl", "path": "tasks.jsonl", "test": 0},
                "teacher": {"kind": "recorded", "path": "said.jsonl", "prompt": "question"},
                "scorer": {"kind": "answer", "fallback": verifier},
                "filters": ["finished"],
            }
        )
    )
    before = served.asked()
    found = calibrate_verifier(recipe, tmp_path / "labelled.jsonl", out=out, display=QUIET)
    assert not found.gate.passed, found.calibration
    assert (found.calibration.answers, found.calibration.wrong) == (40, 20)
    assert found.calibration.tokens > 40 * 2 * 100
    asked = served.asked() - before
    ended = stillroom("run", recipe, "--out", out)
    said = " ".join(ended.stderr.split())
    assert ended.returncode == 1, said
    assert "the verifier fails the gate on 40 labelled answers" in said
    for failure in found.gate.failures:
        assert failure in said
    assert served.asked() == before + asked  # what the calibration had asked is on record
    assert not (out / "sft").exists()
