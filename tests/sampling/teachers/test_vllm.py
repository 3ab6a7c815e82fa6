"""The vLLM teacher: its settings without vLLM, and real traces with it."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from stillroom.common.models import resolve as models
from stillroom.common.records import Completion, Message, Request, SamplingParams, TokenChoice, Usage, user
from stillroom.errors import InputError, RequestFailed, RunError
from stillroom.sampling.teachers.vllm import teacher as module
from stillroom.sampling.teachers.vllm.teacher import (
    Loaded,
    Pieces,
    VllmTeacher,
    engine_settings,
    sampling_params,
)
from stillroom.sampling.teachers.vllm.watchdog import Guard, running, start_time
from stillroom.sampling.workers.child import descendants

SMOLLM2 = "embedded:smollm2-135m-instruct"


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if vLLM were installed: constructing a teacher does not import it."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())


def output(text: str, ids: list[int], reason: str | None = None, logprobs: Any = None) -> Any:
    piece = SimpleNamespace(text=text, token_ids=ids, finish_reason=reason, logprobs=logprobs)
    return SimpleNamespace(outputs=[piece])


def test_settings_for_a_cpu_are_set_only_there() -> None:
    there = engine_settings("m", None, 8, {}, on_cpu=True)
    assert there["enforce_eager"] is True
    assert there["enable_prefix_caching"] is True
    assert "enforce_eager" not in engine_settings("m", None, 8, {}, on_cpu=False)


def test_given_settings_come_last() -> None:
    given = {"max_model_len": 512, "enforce_eager": False}
    settings = engine_settings("m", None, 8, given, on_cpu=True)
    assert (settings["max_model_len"], settings["enforce_eager"]) == (512, False)


@pytest.mark.parametrize("wanted", ["auto", *models.DTYPES])
@pytest.mark.parametrize("flags", [(), ("avx2", "fma"), ("avx2", "avx512f"), ("avx512_bf16",), ("amx_bf16",)])
@pytest.mark.parametrize("on_cpu", [True, False])
def test_the_engine_computes_in_what_the_machine_does_fast_or_the_user_names(
    monkeypatch: pytest.MonkeyPatch, wanted: str, flags: tuple[str, ...], on_cpu: bool
) -> None:
    monkeypatch.setattr(models, "cpu_flags", lambda: frozenset(flags))
    found = engine_settings("m", None, 8, {}, on_cpu=on_cpu, dtype=wanted)["dtype"]
    assert wanted in ("auto", found)
    if on_cpu:
        assert found == models.pick_dtype("cpu", wanted)
    if on_cpu and wanted == "auto":
        assert (found == "float32") is not bool({"avx512_bf16", "amx_bf16"} & set(flags))


def test_what_is_said_to_the_engine_itself_comes_last() -> None:
    assert engine_settings("m", None, 8, {"dtype": "half"}, on_cpu=True)["dtype"] == "half"


@pytest.mark.parametrize(("rank", "room"), [(4, 8), (16, 16), (24, 32)])
def test_an_adapter_is_given_room_for_its_rank(tmp_path: Path, rank: int, room: int) -> None:
    (tmp_path / "adapter_config.json").write_text(json.dumps({"r": rank}))
    assert engine_settings("base", tmp_path, 8, {}, on_cpu=False)["max_lora_rank"] == room


@pytest.mark.usefixtures("installed")
def test_identity_names_what_changes_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "fingerprint", lambda name: "sha256:00")
    plain = VllmTeacher("m").identity
    assert plain == "vllm:sha256:00"
    assert VllmTeacher("m", concurrency=4, engine={"gpu_memory_utilization": 0.5}).identity == plain
    assert VllmTeacher("m", engine={"quantization": "fp8"}).identity != plain


@pytest.mark.usefixtures("installed")
async def test_closing_what_never_started() -> None:
    teacher = VllmTeacher("m")
    await teacher.close()
    await teacher.close()
    with pytest.raises(RunError, match="closed"):
        await teacher.sample(Request("t", 0, user("x"), SamplingParams(), 0), Usage())


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(("waiting", "cancelled"), [(False, True), (True, False)])
def test_nobody_listens_to_an_engine_that_is_about_to_end_unless_requests_wait(
    waiting: bool, cancelled: bool
) -> None:
    """vLLM logs a traceback where the task that waits for outputs sees the engine end."""
    stopped: list[bool] = []
    engine = SimpleNamespace(
        output_handler=SimpleNamespace(cancel=lambda: stopped.append(True)),
        output_processor=SimpleNamespace(has_unfinished_requests=lambda: waiting),
    )
    loaded: Any = Loaded(engine, None, [], 1, False, None, None, "float32")  # type: ignore[arg-type]
    loaded.stop_listening()
    assert bool(stopped) is cancelled


async def test_an_engine_whose_asker_was_cancelled_is_still_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    go, closed = threading.Event(), []
    engine = SimpleNamespace(close=lambda: closed.append(1), stop_listening=lambda: None)

    def start(*args: Any) -> Any:
        go.wait()
        return engine

    monkeypatch.setattr(module, "_start", start)
    teacher = VllmTeacher("m")
    asked = asyncio.create_task(teacher.sample(Request("t", 0, user("x"), SamplingParams(), 0), Usage()))
    await asyncio.sleep(0)
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    go.set()
    await teacher.close()
    assert closed == [1]


@pytest.mark.usefixtures("installed")
def test_concurrency_must_be_positive() -> None:
    with pytest.raises(InputError, match="at least 1"):
        VllmTeacher("m", concurrency=0)


def test_pieces_become_a_completion() -> None:
    pieces = Pieces()
    sure, unsure = SimpleNamespace(logprob=-1.0), SimpleNamespace(logprob=-2.0)
    pieces.add(output("<think>hm", [1, 2], logprobs=[{1: sure}, {2: unsure}]))
    pieces.add(output("</think>\n\n4", [3], "stop", logprobs=[{3: SimpleNamespace(logprob=-0.5)}]))
    assert pieces.completion(7, opened=False) == Completion("4", "stop", 7, 3, "hm", (-1.0, -2.0, -0.5))


def test_the_most_likely_tokens_come_sorted_and_without_the_one_that_was_drawn_beside_them() -> None:
    def at(logprob: float, token: str | None) -> Any:
        return SimpleNamespace(logprob=logprob, decoded_token=token)

    drawn = {7: at(-3.0, "seven"), 1: at(-0.5, "one"), 2: at(-1.0, None)}
    pieces = Pieces(top=2)
    pieces.add(output("seven", [7], "stop", logprobs=[drawn]))
    done = pieces.completion(3, opened=False)
    assert done.choices == (TokenChoice("seven", -3.0, (("one", -0.5), ("", -1.0))),)
    assert done.logprobs == (-3.0,)


@pytest.mark.vllm
@pytest.mark.parametrize(
    ("params", "logprobs", "schema"),
    [
        (SamplingParams(), None, None),
        (SamplingParams(logprobs=True), 0, None),
        (SamplingParams(top_logprobs=5), 5, None),
        (SamplingParams(json_schema='{"type": "object"}'), None, '{"type": "object"}'),
    ],
)
def test_settings_in_the_form_of_vllm(params: SamplingParams, logprobs: int | None, schema: str | None) -> None:
    pytest.importorskip("vllm")
    theirs = sampling_params(params, [2], 7)
    assert theirs.logprobs == logprobs
    assert (theirs.structured_outputs and theirs.structured_outputs.json) == schema


@pytest.mark.parametrize(("reason", "expected"), [("length", "length"), ("abort", "unknown"), (None, "unknown")])
def test_reasons_to_finish(reason: str | None, expected: str) -> None:
    pieces = Pieces()
    pieces.add(output("x", [1], reason))
    assert pieces.completion(1, opened=False).finish_reason == expected


def test_a_dead_engine_ends_the_run() -> None:
    class EngineDeadError(Exception):
        pass

    assert isinstance(module._translated(EngineDeadError(), "m"), RunError)
    assert not isinstance(module._translated(EngineDeadError(), "m"), RequestFailed)
    other = module._translated(ValueError("bad"), "m")
    assert isinstance(other, RequestFailed)
    assert not other.retryable


proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="the guard needs /proc")
SLEEPER = "import sys; sys.stdin.read()"


@proc
def test_the_guard_kills_what_is_left_on_closing() -> None:
    guard = Guard()
    with guard.watching():
        child = subprocess.Popen([sys.executable, "-S", "-c", SLEEPER], stdin=subprocess.PIPE)
    assert child.pid in descendants(os.getpid())
    guard.close()
    assert not running(child.pid)
    child.communicate()
    guard.close()


@proc
def test_the_guard_kills_what_is_left_when_its_owner_is_killed() -> None:
    owner = (
        "import subprocess, sys, os\n"
        "from stillroom.sampling.teachers.vllm.watchdog import Guard\n"
        "guard = Guard()\n"
        "with guard.watching():\n"
        f"    child = subprocess.Popen([sys.executable, '-S', '-c', {SLEEPER!r}], stdin=subprocess.PIPE,\n"
        "                             start_new_session=True, pass_fds=())\n"
        "    os.set_inheritable(child.stdin.fileno(), True)\n"
        "keeper = subprocess.Popen([sys.executable, '-S', '-c', 'import sys; sys.stdin.read()'],\n"
        "                          stdin=sys.stdin, close_fds=False, start_new_session=True)\n"
        "print(child.pid, keeper.pid, flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    ended = subprocess.Popen([sys.executable, "-c", owner], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert ended.stdout is not None
    child, _ = map(int, ended.stdout.readline().split())
    assert ended.wait() == -9
    while running(child):  # the keeper holds its input open: nothing but the guard can end it
        pass
    ended.communicate()


@proc
def test_the_guard_spares_a_number_that_was_given_anew() -> None:
    guard = Guard()
    child = subprocess.Popen([sys.executable, "-S", "-c", SLEEPER], stdin=subprocess.PIPE)
    guard._told[child.pid] = "1"  # as if the process it was told of had started long ago
    guard.close()
    assert running(child.pid)
    child.communicate()
    assert start_time(child.pid) is None


@pytest.mark.slow
@pytest.mark.vllm
@pytest.mark.timeout(600)
@pytest.mark.filterwarnings("ignore")  # what vLLM leaves behind is not ours to fix
async def test_real_traces_from_smollm2() -> None:
    pytest.importorskip("gguf")
    if importlib.util.find_spec("vllm") is None:
        pytest.skip("vLLM is not installed")
    before = set(descendants(os.getpid()))
    teacher = VllmTeacher(SMOLLM2, concurrency=16)
    greedy = SamplingParams(temperature=0, max_tokens=24, logprobs=True)
    examples = Message("system", "You answer questions about capitals in one short sentence. " * 8)

    def ask(text: str, params: SamplingParams, index: int = 0) -> Request:
        return Request("t", index, (examples, Message("user", text)), params, index)

    question = "What is the capital of France?"
    first = await teacher.sample(ask(question, greedy), Usage())
    assert "Paris" in first.text
    assert first.finish_reason == "stop"
    assert teacher.dtype == models.pick_dtype(models.pick_device())
    assert first.logprobs is not None
    assert len(first.logprobs) == first.completion_tokens

    rating = '{"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}'
    held = greedy.model_copy(update={"json_schema": rating, "top_logprobs": 3, "max_tokens": 32})
    as_json = await teacher.sample(ask(f"{question} Answer in JSON.", held), Usage())
    assert "Paris" in json.loads(as_json.text)["city"]
    assert as_json.choices is not None
    assert len(as_json.choices) == as_json.completion_tokens
    for choice in as_json.choices:
        assert [p for _, p in choice.top] == sorted((p for _, p in choice.top), reverse=True)
        assert len(choice.top) == 3

    cities = ["Italy", "Spain", "Japan", "Germany"] * 3
    warm = SamplingParams(temperature=0.7, max_tokens=24)
    sampled = [ask(f"What is the capital of {city}?", warm, k) for k, city in enumerate(cities)]
    many = await asyncio.gather(*(teacher.sample(each, Usage()) for each in sampled))
    assert sum("Rome" in each.text for each in many[::4]) >= 2

    cut = await teacher.sample(ask(question, greedy.model_copy(update={"stop": ("Paris",)})), Usage())
    assert (cut.finish_reason, cut.text) == ("stop", first.text[: first.text.index("Paris")])

    usage = Usage()
    endless = SamplingParams(temperature=1, max_tokens=4000, stop=())
    story = asyncio.create_task(teacher.sample(ask("Write a very long story.", endless), usage))
    while not usage.completion_tokens:  # noqa: ASYNC110  nothing tells of a first token
        await asyncio.sleep(0)
    story.cancel()
    with pytest.raises(asyncio.CancelledError):
        await story
    assert (await teacher._load()).engine.get_num_unfinished_requests() == 0

    with pytest.raises(RequestFailed, match="context"):
        await teacher.sample(ask("x " * 9000, greedy), Usage())
    started = set(descendants(os.getpid())) - before
    assert started
    await teacher.close()
    assert not [pid for pid in started if running(pid)]
