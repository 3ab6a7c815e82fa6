"""Accidents and misuse: what is done again, what is refused, and that a finished command stays finished."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import random
import signal
import sqlite3
import stat
import subprocess
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import stillroom
from stillroom.common.models import resolve as models
from stillroom.common.records import (
    Attempt,
    Completion,
    Outcome,
    Request,
    SamplingParams,
    State,
    Task,
    Verdict,
    user,
)
from stillroom.errors import InputError, LedgerError, MissingFile, RecipeError, RequestFailed, RunFolderError
from stillroom.pipeline.config.load import load_any
from stillroom.pipeline.flows.run import run
from stillroom.pipeline.planning.plan import Plan
from stillroom.pipeline.planning.status import attempts, status
from stillroom.pipeline.run.folder import RunFolder
from stillroom.pipeline.run.progress import Display
from stillroom.sampling.core import Core
from stillroom.sampling.draws import MAX_FAILED_DRAWS
from stillroom.sampling.ledger import Ledger
from stillroom.sampling.limits import Prices
from stillroom.sampling.policy import Budget, Fixed, Policy, Until
from stillroom.sampling.scorers.base import TRIES, Scorer
from stillroom.sampling.teachers.base import RetrySettings
from stillroom.sampling.teachers.scripted import ScriptedTeacher
from stillroom.sampling.workers.pool import Worker, WorkerTimeout
from stillroom.traces.answers import AnswerChecker, Reason
from tests.conftest import ModelServer, command, served_by, sums_until, write_sums

QUIET = Display(quiet=True)
ONCE = RetrySettings(attempts=1, base_s=0)
PRICES = Prices(prompt=1000, completion=1000)


# -- a finished command, run again and again ------------------------------------------------------------------------


class Grader:
    """Accepts `right`, rejects `wrong`; anything else is unscored."""

    identity = "grader"

    async def score(self, task: Task, attempt: Attempt) -> Verdict:
        state = {"right": State.ACCEPTED, "wrong": State.REJECTED}.get(attempt.text, State.UNSCORED)
        return Verdict(state, attempt.text)

    async def close(self) -> None:
        """Nothing to free."""


POLICIES: tuple[Callable[[dict[str, Any]], Policy], ...] = (
    lambda more: Until(per_task=2, max_attempts=5, **more),
    lambda more: Until(per_task=1, max_attempts=6, give_up_after=3, **more),
    lambda more: Until(per_task=3, max_attempts=8, give_up_below=0.2, **more),
    lambda more: Fixed(policy="fixed", attempts=4, per_task=2, **more),
    lambda more: Budget(policy="budget", tokens=400, per_task=2, max_attempts=5, **more),
    lambda more: Budget(policy="budget", tokens=60, per_task=2, max_attempts=5, **more),
    lambda more: Budget(policy="budget", tokens=700, spend="difficulty", max_attempts=6, **more),
    lambda more: Budget(policy="budget", usd=0.5, per_task=3, max_attempts=5, **more),
)
MORE: tuple[dict[str, Any], ...] = ({}, {"order": "arrival"}, {"max_unscored": 2}, {"escalate": (8, 64)})


def mixed(seed: int, failing: float) -> Callable[[Request], Completion]:
    """Answers of all sorts, which depend on the draw and the limit alone; a share of the draws fails for good."""

    def answer(request: Request) -> Completion:
        dice = random.Random(f"{seed}:{request.task_id}:{request.index}")
        if dice.random() < failing:
            raise RequestFailed("no", retryable=False)
        text = dice.choices(("right", "wrong", "odd"), (3, 4, 1))[0]
        tokens = dice.randint(1, 30)
        limit = request.sampling.max_tokens
        return Completion(text, "stop" if tokens <= limit else "length", 3, min(tokens, limit))

    return answer


def waiting(seed: int) -> Callable[[Request], float]:
    """Milliseconds that differ from draw to draw, so that answers overtake each other."""
    return lambda request: random.Random(f"wait:{seed}:{request.task_id}:{request.index}").random() / 500


async def called(
    folder: Path, teacher: ScriptedTeacher, policy: Policy, n: int, scorer: Scorer | None = None
) -> tuple[dict[str, Any], Core]:
    """One call of the command: how each task ended, and what was counted."""
    found: dict[str, Outcome] = {}
    tasks = [Task(str(i), user(f"question {i}"), "1", "test") for i in range(n)]
    with Ledger.open(folder) as ledger:
        core = Core(
            teacher, scorer or Grader(), policy, ledger, sampling=SamplingParams(), seed=0, retry=ONCE, prices=PRICES
        )
        await core.run(tasks, lambda outcome: found.update({outcome.task.id: outcome}))
    assert len(found) == n
    ended = {i: (o.kept, o.stop, [s.attempt.index for s in o.attempts], o.failed) for i, o in found.items()}
    return ended, core


@pytest.mark.parametrize(("number", "more"), [*itertools.product(range(len(POLICIES)), range(len(MORE)))])
async def test_a_finished_command_stays_finished_under_every_policy(tmp_path: Path, number: int, more: int) -> None:
    """Three calls more: the same outcomes, no request, and so nothing spent; though draws had failed. Only a task that
    was given up because nobody answered is asked for again."""
    policy = POLICIES[number](MORE[more])
    for seed, slots, failing in ((1, 1, 0.0), (2, 5, 0.0), (3, 3, 0.12)):
        folder = tmp_path / str(seed)
        teacher = ScriptedTeacher(mixed(seed, failing), concurrency=slots, latency_s=waiting(seed))
        first, _ = await called(folder, teacher, policy, 12)
        given_up = {task for task, ended in first.items() if ended[-1] >= MAX_FAILED_DRAWS}
        for _ in range(3):
            again = ScriptedTeacher(mixed(seed, failing), concurrency=slots)
            ended, _ = await called(folder, again, policy, 12)
            assert all(ended[task][:-1] == first[task][:-1] for task in first.keys() - given_up)
            assert {request.task_id for request in again.calls} <= given_up


KEEPS: tuple[dict[str, Any], ...] = (
    {"per_task": 2, "max_attempts": 4},
    {"policy": "fixed", "attempts": 3},
    {"policy": "budget", "tokens": 60, "per_task": 2},
    {"policy": "budget", "tokens": 10_000, "per_task": 2, "max_attempts": 6},
    {"policy": "budget", "usd": 0.3, "spend": "difficulty"},
)


def rows_of(folder: Path) -> dict[str, bytes]:
    """What a run wrote for a student, byte for byte."""
    return {path.name: path.read_bytes() for path in sorted((folder / "sft").rglob("*")) if path.is_file()}


@pytest.mark.parametrize("keep", KEEPS, ids=lambda keep: "-".join(map(str, keep.values())))
def test_the_rows_of_a_finished_run_never_change_and_nobody_is_asked(
    tmp_path: Path, model_server: ModelServer, keep: dict[str, Any]
) -> None:
    model_server.script = sums_until(model_server, 10_000)
    prices = {"prompt": 1000.0, "completion": 1000.0}
    recipe = write_sums(tmp_path, teacher=served_by(model_server), keep=keep, prices=prices)
    out = tmp_path / "run"
    run(recipe, out=out, display=QUIET)
    asked, rows = len(model_server.bodies), rows_of(out)
    for _ in range(3):
        planned = status(out).plan
        assert isinstance(planned, Plan)
        assert planned.asked == 0
        run(recipe, out=out, display=QUIET)
        assert (len(model_server.bodies), rows_of(out)) == (asked, rows)


def test_a_higher_budget_spends_the_difference(tmp_path: Path, model_server: ModelServer) -> None:
    """Ten tokens are answered at most beyond it, by the requests that were in flight."""
    model_server.script = sums_until(model_server, 10_000)
    teacher, out = served_by(model_server), tmp_path / "run"
    for tokens in (60, 60, 90, 90, 120):
        recipe = write_sums(tmp_path, teacher=teacher, keep={"policy": "budget", "tokens": tokens, "max_attempts": 9})
        run(recipe, out=out, display=QUIET)
        assert tokens <= 3 * len(model_server.bodies) <= tokens + 12


# -- what a stage made is gone, or is not what it was ----------------------------------------------------------------


class Told(Display):
    """Keeps what a run says."""

    def __init__(self) -> None:
        super().__init__(quiet=True)
        self.said: list[str] = []

    def note(self, text: str) -> None:
        self.said.append(text)

    def line(self, label: str, text: str) -> None:
        self.said.append(f"{label}: {text}")


def halved(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def one_byte_changed(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def deleted(path: Path) -> None:
    path.unlink()


DAMAGES = (halved, emptied, one_byte_changed, deleted)


def contents(folder: Path) -> dict[str, bytes]:
    """All files of a run that a user would use."""
    names = ("sft", "student", "controls", "eval.json", "plots", "forgetting")
    files = [file for name in names for file in (folder / name).rglob("*") if file.is_file()]
    files += [path for name in names if (path := folder / name).is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@pytest.mark.slow
def test_a_stage_is_done_only_while_what_it_made_is_there(tmp_path: Path, tiny_model: Path) -> None:
    """Files that a finished run made are halved, emptied, changed or deleted in turn: the next call makes each again,
    byte for byte (a record of times apart), and says so."""
    recipe, out = write_sums(tmp_path, **trained_on(tiny_model)), tmp_path / "run"
    recipe.write_text(recipe.read_text().replace('"path": "tasks.jsonl"', '"path": "tasks.jsonl", "test": 3'))
    run(recipe, out=out, display=QUIET)
    whole = contents(out)
    weights = [name for name in whole if name.endswith(".safetensors")]
    assert len(weights) == 4
    others = ["sft/train.parquet", "eval.json", "forgetting/student_after.json", "student/merged/tokenizer.json"]
    for name, damage in zip([*weights, *others], itertools.cycle(DAMAGES), strict=False):
        damage(out / name)
        told = Told()
        run(recipe, out=out, display=told)
        again = contents(out)
        assert {n: c for n, c in again.items() if not timed(n)} == {n: c for n, c in whole.items() if not timed(n)}
        told_of = "read for perplexity" if name.startswith("forgetting/") and damage is deleted else name
        assert any(told_of in said for said in told.said), (name, damage, told.said)
        whole = again


@pytest.fixture(scope="module")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a random model of two layers, which reads bytes."""
    import torch

    from stillroom.common.models.quiet import quiet_transformers

    folder = tmp_path_factory.mktemp("models") / "tiny"
    with quiet_transformers() as transformers:
        tokenizer = byte_tokenizer(transformers)
        torch.manual_seed(0)
        config = transformers.LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=512,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
        transformers.LlamaForCausalLM(config).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    return folder


CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def byte_tokenizer(transformers: Any) -> Any:
    """Bytes, and the tokens of a chat template."""
    import tokenizers
    from tokenizers import decoders, models, pre_tokenizers

    special = ["<|im_end|>", "<|im_start|>"]
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    raw = tokenizers.Tokenizer(models.BPE(vocab={t: i for i, t in enumerate([*special, *letters])}, merges=[]))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    raw.add_special_tokens(special)
    ends = {"eos_token": special[0], "pad_token": special[0]}
    return transformers.PreTrainedTokenizerFast(tokenizer_object=raw, chat_template=CHATML, **ends)


def trained_on(model: Path) -> dict[str, Any]:
    """The parts of a recipe of sums that train a tiny student and measure all there is."""
    text = "".join(json.dumps({"text": f"The boat number {n} lay in the harbour."}) + "\n" for n in range(3))
    (model.parent / "texts.jsonl").write_text(text)
    forgotten = {"texts": {"path": str(model.parent / "texts.jsonl")}}
    return {
        "student": {"model": str(model), "method": "sft", "epochs": 1, "learning_rate": 1e-3, "lora": {"r": 2}},
        "evaluate": {
            "baselines": ["student_before", "control_wrong_answers"],
            "max_tokens": 4,
            "plots": False,
            "retention": forgotten,
        },
    }


def timed(name: str) -> bool:
    """Whether a file says how long something took."""
    return name.endswith("training.json")


# -- run.json and the ledger ---------------------------------------------------------------------------------------


def finished_run(folder: Path, server: ModelServer) -> tuple[Path, Path]:
    """A recipe, and the folder of its finished run."""
    server.script = sums_until(server, 10_000)
    recipe = write_sums(folder, teacher=served_by(server))
    run(recipe, out=folder / "run", display=QUIET)
    return recipe, folder / "run"


def garbage(seed: int) -> bytes:
    """A `run.json` that no run has written."""
    dice = random.Random(seed)
    deep = dice.choice((5, 2_000, 100_000))
    kinds: tuple[Callable[[], bytes], ...] = (
        lambda: b"",
        lambda: dice.randbytes(dice.randint(1, 200)),
        lambda: b"[" * deep,
        lambda: b'{"a":' * deep + b"1" + b"}" * deep,
        lambda: b'{"name": ' + b"9" * 5_000 + b"}",
        lambda: json.dumps(dice.choice([None, 1, "sums", [], [1], True])).encode(),
        lambda: json.dumps({"name": dice.choice([1, [], {}, True])}).encode(),
        lambda: json.dumps({"name": "sums", dice.choice(FACTS): dice.choice([5, "x", [1], [[]]])}).encode(),
        lambda: json.dumps(
            {"name": "sums", dice.choice(FACTS): {"student": dice.choice([[], {"a": 1}, 7])}}
        ).encode(),
        lambda: b'{"name": "sums", "started": "\\ud800"}',
        lambda: "\ufeff{}".encode("utf-16"),
    )
    return kinds[seed % len(kinds)]()


FACTS = (
    "stages",
    "made",
    "teacher",
    "sources",
    "recipe",
    "attempts",
    "rows",
    "finished",
    "parts",
    "seconds",
    "hashes",
    "dtypes",
)


def test_a_run_json_that_cannot_be_read_stops_no_run(tmp_path: Path, model_server: ModelServer) -> None:
    """It is set aside and made again, or is good enough; nobody is asked again and the rows are the same. Who only
    reads says what is wrong."""
    recipe, out = finished_run(tmp_path, model_server)
    asked, rows, kept = len(model_server.bodies), rows_of(out), 0
    for seed in range(44):
        (out / "run.json").write_bytes(content := garbage(seed))
        with contextlib.suppress(RunFolderError):
            status(out)
        told = Told()
        run(recipe, out=out, display=told)
        assert (len(model_server.bodies), rows_of(out)) == (asked, rows)
        assert json.loads((out / "run.json").read_text())["attempts"] > 0
        aside = [path for path in out.glob("run.json.unreadable*") if path.read_bytes() == content]
        assert bool(aside) == any("could not be read" in said for said in told.said)
        kept += bool(aside)
        for path in aside:
            path.unlink()
    assert kept > 22


def test_another_recipe_does_not_take_over_a_folder_whose_run_json_cannot_be_read(
    tmp_path: Path, model_server: ModelServer
) -> None:
    _, out = finished_run(tmp_path, model_server)
    (out / "run.json").write_text("{")
    other = write_sums(tmp_path / "other", name="others", teacher=served_by(model_server))
    with pytest.raises(RunFolderError, match="of recipe 'sums', not of 'others'"):
        run(other, out=out, display=QUIET)
    assert (out / "run.json").read_text() == "{"


def without_ledger(out: Path) -> None:
    for path in out.glob("ledger.sqlite*"):
        path.unlink()


def without_some_attempts(out: Path) -> None:
    with contextlib.closing(sqlite3.connect(out / "ledger.sqlite", isolation_level=None)) as db:
        db.execute("DELETE FROM attempts WHERE id % 3 = 0")


def with_another_ledger(out: Path) -> None:
    without_ledger(out)
    Ledger.open(out).close()


@pytest.mark.parametrize("lose", [without_ledger, without_some_attempts, with_another_ledger])
def test_attempts_that_are_gone_are_not_paid_for_again_silently(
    tmp_path: Path, model_server: ModelServer, lose: Callable[[Path], None]
) -> None:
    recipe, out = finished_run(tmp_path, model_server)
    asked, rows = len(model_server.bodies), rows_of(out)
    lose(out)
    for _ in range(2):
        with pytest.raises(LedgerError, match=r"run\.json says that there were .*status .* --salvage"):
            run(recipe, out=out, display=QUIET)
    assert len(model_server.bodies) == asked
    status(out, salvage=True)  # the way on that the message names
    run(recipe, out=out, display=QUIET)
    assert asked < len(model_server.bodies) <= 2 * asked
    assert rows_of(out) == rows


def test_a_log_that_is_deleted_after_a_kill_is_missed(tmp_path: Path, model_server: ModelServer) -> None:
    """Killed while it samples, `ledger.sqlite-wal` holds all that was answered."""
    model_server.script = sums_until(model_server, 9)
    recipe, out = write_sums(tmp_path, teacher=served_by(model_server)), tmp_path / "run"
    with subprocess.Popen(command("run", recipe, "--out", out), stderr=subprocess.DEVNULL) as process:
        assert model_server.wait_for(waiting=4)
        process.kill()
    model_server.release()
    (out / "ledger.sqlite-wal").unlink()
    with pytest.raises(LedgerError, match="would be paid for again"):
        run(recipe, out=out, display=QUIET)


def test_facts_are_on_disk_when_the_call_returns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file before it takes its place, and its folder after."""
    done: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def noted(handle: int) -> None:
        done.append("folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else "file")
        fsync(handle)

    def replaced(self: Path, target: Path) -> Path:
        done.append("replace")
        return replace(self, target)

    folder = RunFolder(tmp_path / "run", "sums")
    monkeypatch.setattr(os, "fsync", noted)
    monkeypatch.setattr(Path, "replace", replaced)
    folder.note(started="now")
    assert done == ["file", "replace", "folder"]


# -- a worker of the checker is killed -------------------------------------------------------------------------------

PAIR = (r"\tan(x/2)", r"\boxed{\frac{1-\cos x}{\sin x}}")
"""A pair that needs a worker."""
FATAL = [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT]


class Saboteur:
    """Kills a worker that was asked something, the first `times` times, before it can answer."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, times: int, by: signal.Signals) -> None:
        self.left, self.by = times, by
        ask = Worker.ask

        def killed(worker: Worker, job: dict[str, Any], limit_s: float) -> dict[str, Any]:
            if self.left:
                self.left -= 1
                os.kill(worker.pid, signal.SIGSTOP)  # it is asked, and does not come to answer
                with contextlib.suppress(WorkerTimeout):
                    ask(worker, job, 0.01)
                os.kill(worker.pid, self.by)
                os.kill(worker.pid, signal.SIGCONT)
                return worker._reply(60)
            return ask(worker, job, limit_s)

        monkeypatch.setattr(Worker, "ask", killed)


@pytest.mark.parametrize(("by", "times"), [*itertools.product(FATAL, (1, 2))])
def test_a_right_answer_is_right_though_its_worker_is_killed(
    monkeypatch: pytest.MonkeyPatch, by: signal.Signals, times: int
) -> None:
    saboteur = Saboteur(monkeypatch, times, by)
    with AnswerChecker(workers=1, timeout_s=60) as checker:
        assert checker.check(*PAIR).reason == Reason.EQUAL
    assert saboteur.left == 0


def test_a_worker_that_is_killed_while_it_starts_is_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    left, started = 2, Worker._started

    def killed(worker: Worker) -> subprocess.Popen[bytes]:
        nonlocal left
        child = started(worker)
        if left:
            left -= 1
            child.kill()
        return child

    monkeypatch.setattr(Worker, "_started", killed)
    with AnswerChecker(workers=1, timeout_s=60) as checker:
        assert checker.check(*PAIR).reason == Reason.EQUAL
    assert left == 0


class Accident:
    """A scorer that meets accidents: it comes to its verdict at the try that `luck` names, 0 for never."""

    identity = "accident"
    accidents = frozenset({"timeout"})

    def __init__(self, luck: Callable[[str], int]) -> None:
        self.luck = luck
        self.tried: Counter[str] = Counter()

    async def score(self, task: Task, attempt: Attempt) -> Verdict:
        what = f"{task.id}:{attempt.index}"
        self.tried[what] += 1
        if self.luck(what) != self.tried[what]:
            return Verdict(State.UNSCORED, "timeout")
        return Verdict(*(State.ACCEPTED, "equal") if attempt.text == "right" else (State.REJECTED, "different"))

    async def close(self) -> None:
        """Nothing to free."""


@pytest.mark.parametrize("number", range(len(POLICIES)))
async def test_an_accident_is_scored_again_a_bounded_number_of_times(tmp_path: Path, number: int) -> None:
    """By the next calls, three times in all. Where a verdict changes, the policy may want other draws; in the end
    nothing changes any more."""
    policy = POLICIES[number]({})
    for seed in range(3):
        scorer = Accident(lambda what: random.Random(what).choice((1, 1, 2, 3, 4, 0)))
        rows, asked = [], []
        for _ in range(12):
            teacher = ScriptedTeacher(mixed(seed, 0.0), concurrency=4)
            rows.append((await called(tmp_path / str(seed), teacher, policy, 8, scorer))[0])
            asked.append(len(teacher.calls))
        assert all(n <= TRIES for n in scorer.tried.values())
        assert any(n == TRIES for n in scorer.tried.values())
        assert rows[-3] == rows[-2] == rows[-1]
        assert asked[-3:] == [0, 0, 0]


def test_the_answers_of_a_run_whose_workers_were_killed_are_right_in_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The very rows of a run that nobody disturbed."""
    golds = [rf"\tan({k}x/2)" for k in range(3, 7)]
    answers = [rf"It is \boxed{{\frac{{1-\cos {k}x}}{{\sin {k}x}}}}" for k in range(3, 7)]
    folder = tmp_path / "sums"
    recipe = write_sums(folder, keep={"per_task": 1, "max_attempts": 1}, filters=["finished"])
    (folder / "tasks.jsonl").write_text(
        "".join(json.dumps({"question": f"q{i}", "answer": gold}) + "\n" for i, gold in enumerate(golds))
    )
    (folder / "recording.jsonl").write_text(
        "".join(json.dumps({"question": f"q{i}", "text": text}) + "\n" for i, text in enumerate(answers))
    )
    run(recipe, out=tmp_path / "whole", display=QUIET)
    with monkeypatch.context() as patch:
        Saboteur(patch, 3, signal.SIGKILL)  # the first answer, and both further tries
        run(recipe, out=tmp_path / "run", display=QUIET)
    assert rows_of(tmp_path / "run") != rows_of(tmp_path / "whole")
    run(recipe, out=tmp_path / "run", display=QUIET)
    assert rows_of(tmp_path / "run") == rows_of(tmp_path / "whole")


# -- a clock that is set back, a folder that cannot be written, a loop that runs already -------------------------------


@pytest.mark.parametrize("clock", [[3.0, 2.0, 1.0], [1.0, 1.0, 1.0], [2.0, 3.0, 1.0], [9e9, -1.0, 0.0]])
def test_the_latest_verdict_is_the_last_that_was_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: list[float]
) -> None:
    """Whatever the clock said, whoever scored, and also where an earlier scorer scored again."""
    states = (State.ACCEPTED, State.REJECTED, State.UNSCORED)
    with Ledger.open(tmp_path) as ledger:
        row = ledger.add_attempt("k", 64, Attempt("t", 0, "4", None, "stop", 7, 5, None, 0.1, "teacher"))
        for scorers in itertools.product("abc", repeat=3):
            for scorer, state, now in zip(scorers, states, clock, strict=True):
                monkeypatch.setattr("time.time", lambda now=now: now)
                ledger.add_verdict(row, scorer, Verdict(state, state.value))
                assert ledger.last_state(row) is state
                assert ledger.verdict_counts() == {state.value: 1}
                assert [found["state"] for found in ledger.rows()] == [state.value]


@contextlib.contextmanager
def unwritable(folder: Path) -> Iterator[None]:
    """The folder and all in it can be read and not written, by root neither."""
    paths = [folder, *folder.rglob("*")]
    modes = [path.stat().st_mode for path in paths]
    root = os.geteuid() == 0
    for path in paths:
        path.chmod(0o555 if path.is_dir() else 0o444)
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)
        for path, mode in zip(paths, modes, strict=True):
            path.chmod(mode)


@pytest.mark.skipif(not hasattr(os, "seteuid"), reason="needs users")
@pytest.mark.parametrize("killed", [False, True])
def test_a_folder_that_cannot_be_written_is_read(model_server: ModelServer, killed: bool) -> None:
    """Finished, or killed with all that it had in the log."""
    with tempfile.TemporaryDirectory() as name:  # not below tmp_path, which other users cannot enter
        folder = Path(name)
        folder.chmod(0o755)
        model_server.script = sums_until(model_server, 9)
        recipe, out = write_sums(folder, teacher=served_by(model_server)), folder / "run"
        with subprocess.Popen(command("run", recipe, "--out", out), stderr=subprocess.DEVNULL) as process:
            assert model_server.wait_for(waiting=4)
            if killed:
                process.kill()
            model_server.release()
        assert (out / "ledger.sqlite-wal").exists() == killed
        expected, count = status(out), len(attempts(out, out=folder / "expected.jsonl"))
        assert count >= 9
        (out / "ledger.sqlite-shm").unlink(missing_ok=True)  # as in a copy of the folder
        before = sorted(out.rglob("*"))
        with unwritable(out):
            assert status(out).as_dict() == expected.as_dict()
            with Ledger.read(out) as ledger:
                assert len(list(ledger.rows())) == count
        assert sorted(out.rglob("*")) == before


async def test_calls_work_where_an_event_loop_runs(tmp_path: Path, model_server: ModelServer) -> None:
    """As in a notebook: the whole run, its status and its attempts, again and again."""
    model_server.script = sums_until(model_server, 10_000)
    recipe, out = write_sums(tmp_path, teacher=served_by(model_server)), tmp_path / "run"
    for _ in range(2):
        found = stillroom.run(recipe, out=out, display=QUIET)
        assert found.as_dict()["rows"] > 0
        assert stillroom.status(out).totals.attempts == len(stillroom.attempts(out)) > 0
    with pytest.raises(MissingFile):
        stillroom.run(tmp_path / "none.yaml")


MISUSES: dict[str, Callable[[Ledger], object]] = {
    "closed": lambda ledger: [call() for call in (ledger.close, ledger.totals)],
    "another thread": lambda ledger: in_a_thread(ledger.totals),
    "write, another thread": lambda ledger: in_a_thread(lambda: ledger.clear_outcomes()),
    "no value": lambda ledger: ledger.add_failure("k", 0, "t", object()),  # type: ignore[arg-type]
    "nothing": lambda ledger: ledger.add_failure("k", 0, None, "x"),  # type: ignore[arg-type]
}


def in_a_thread(call: Callable[[], object]) -> object:
    with ThreadPoolExecutor(1) as threads:
        return threads.submit(call).result()


@pytest.mark.parametrize("misuse", MISUSES.values(), ids=MISUSES)
def test_an_error_of_use_is_not_called_damage(tmp_path: Path, misuse: Callable[[Ledger], object]) -> None:
    with Ledger.open(tmp_path) as ledger, pytest.raises(LedgerError) as caught:
        misuse(ledger)
    assert "damaged" not in str(caught.value)
    assert "salvage" not in str(caught.value)


# -- what a user can write wrong ----------------------------------------------------------------------------------------


def bomb(levels: int, width: int, form: str) -> str:
    """Aliases of aliases: `width ** levels` values in a few lines of YAML."""
    lines = ["a0: &a0 " + ("{x: 1}" if form == "merge" else "[1]")]
    for n in range(1, levels):
        names = ", ".join([f"*a{n - 1}"] * width)
        pairs = ", ".join(f"k{i}: *a{n - 1}" for i in range(width))
        body = {"list": f"[{names}]", "mapping": f"{{{pairs}}}", "merge": f"{{<<: [{names}]}}"}[form]
        lines.append(f"a{n}: &a{n} {body}")
    return "\n".join(lines)


def in_one(text: str) -> str:
    """A bomb as one value."""
    return "{" + ", ".join(text.splitlines()) + "}"


BOMBS = [
    *(bomb(levels, width, form) for levels in (9, 30, 200) for width in (4, 9) for form in ("list", "mapping", "merge")),
    *(opened * depth + "1" + closed * depth for depth in (60, 400, 10_000) for opened, closed in (("[", "]"), ("{a: ", "}"))),
    *(f"a: {form}" for form in ("&a [*a]", "&a {b: *a}", "&a [[*a]]", "&a {<<: *a}")),
    *(f"a: {sign}{digits}" for sign in ("", "-", "0x", "1.") for digits in ("7" * 5_000, "3" * 200_000)),
    *(f"a: {text}" for text in ("2026-99-99", "2026-02-30", "!!python/object:os.system {}", "!!binary '*'", "*none")),
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(BOMBS)))
def test_yaml_without_end_is_one_clear_message(tmp_path: Path, number: int) -> None:
    """In a recipe's file and in the value of a `--set`."""
    text = BOMBS[number]
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    with pytest.raises(RecipeError) as caught:
        load_any(path)
    assert len(str(caught.value)) < 2_000
    whole = write_sums(tmp_path / "sums")
    value = text.removeprefix("a: ") if text.startswith("a: ") else in_one(text) if "\n" in text else text
    with pytest.raises(RecipeError) as caught:
        load_any(whole, [f"teacher.extra={value}"])
    assert len(str(caught.value)) < 2_000


@pytest.mark.parametrize("depth", [51, 1_000, 10_000, 100_000])
def test_a_key_of_set_has_an_end(tmp_path: Path, depth: int) -> None:
    with pytest.raises(RecipeError, match="no recipe is so deep"):
        load_any(write_sums(tmp_path), [".".join(["a"] * depth) + "=1"])


@pytest.mark.parametrize("length", [256, 300, 5_000, 100_000])
@pytest.mark.parametrize("nested", [False, True])
def test_a_path_that_cannot_be_is_one_clear_message(tmp_path: Path, length: int, nested: bool) -> None:
    """As `--out`, as a recipe, as the folder of a run, as a file that a recipe names."""
    recipe, name = write_sums(tmp_path), f"{tmp_path}/{'n' * length}" + ("/below/it" if nested else "")
    calls: tuple[Callable[[], object], ...] = (
        lambda: run(recipe, out=name, display=QUIET),
        lambda: stillroom.run(recipe, out=name, display=QUIET),
        lambda: stillroom.run(name),
        lambda: status(name),
        lambda: attempts(name),
        lambda: stillroom.lint(recipe, out=name),
        lambda: run(recipe, out=tmp_path / "run", set=[f"tasks.path={name}"], display=QUIET),
        lambda: run(recipe, out=tmp_path / "run", set=[f"teacher.path={name}"], display=QUIET),
    )
    for call in calls:
        with pytest.raises(InputError) as caught:
            call()
        assert caught.value.exit_code == 2


def test_a_home_that_is_not_there_is_one_clear_message(tmp_path: Path) -> None:
    recipe = write_sums(tmp_path)
    for key in ("tasks.path", "teacher.path"):
        with pytest.raises(InputError, match=r"~nouser|there is no file"):
            run(recipe, out=tmp_path / "run", set=[f"{key}=~nouser/x.jsonl"], display=QUIET)
    for model in ("~nouser", "~nouser/model"):
        with pytest.raises(InputError, match="no home folder for ~nouser"):
            models.fingerprint(model)
        with pytest.raises(InputError, match="no home folder for ~nouser"):
            models.resolve_model(model)


ADDRESSES = [
    *(f"http://{host}/v1" for host in ("[::1", "::1]", "[::g]", "[]", "[1.2.3.4]", "[v1]", "", ":80", "a b", "a\tb")),
    *(f"http://h:{port}/v1" for port in ("x", "99999", "-1", "0", "1e3", "٣")),
    "http://\x00/",
    "http://h\x7f/",
]


@pytest.mark.parametrize("address", ADDRESSES)
def test_an_address_that_is_none_is_one_clear_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    """In the recipe, and in the environment where one can be put there."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    teacher = {"kind": "openai", "model": "m", "retry": {"attempts": 1}}
    with pytest.raises(RecipeError, match="base_url"):
        load_any(write_sums(tmp_path, teacher={**teacher, "base_url": address}))
    if "\x00" in address:
        return
    monkeypatch.setenv("OPENAI_BASE_URL", address)
    with pytest.raises(InputError, match="OPENAI_BASE_URL is not an address"):
        run(write_sums(tmp_path, teacher=teacher), out=tmp_path / "run", display=QUIET)


@pytest.mark.parametrize("pause", [0.0005, 0.002, 0.01, 0.05, 0.2])
def test_quick_presses_of_ctrl_c_end_without_a_traceback(
    tmp_path: Path, model_server: ModelServer, pause: float
) -> None:
    """While requests wait, and one after the other until the process has ended."""
    model_server.script = sums_until(model_server, 3)
    recipe = write_sums(tmp_path, teacher=served_by(model_server))
    given: dict[str, Any] = {"stderr": subprocess.PIPE, "stdout": subprocess.DEVNULL, "text": True}
    with subprocess.Popen(command("run", recipe, "--out", tmp_path / "run"), **given) as process:
        assert model_server.wait_for(waiting=4)
        while process.poll() is None:
            process.send_signal(signal.SIGINT)
            threading.Event().wait(pause)
        _, said = process.communicate(timeout=60)
    assert process.returncode in (1, -signal.SIGINT)  # by the signal itself where Python was ending already
    assert "Traceback" not in said
    assert "Exception ignored" not in said
    model_server.release()
    run(recipe, out=tmp_path / "run", display=QUIET)
